"""An OpenCLIP model as a checkpoint of `transformers`: the same weights, tokens and pixels.

For ViT-B-32 and its like: a plain CLIP with one width per tower, GELU and OpenAI's tokens. The
layout of the keys is that of `transformers`' CLIPModel; nothing is fetched.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
)

ALONE = {  # not in a layer of a transformer
    "logit_scale": "logit_scale",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final": "text_model.final_layer_norm",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre": "vision_model.pre_layrnorm",  # spelt so
    "visual.ln_post": "vision_model.post_layernorm",
}
PROJECTIONS = {  # applied from the right, in `transformers` from the left
    "text_projection": "text_projection.weight",
    "visual.proj": "visual_projection.weight",
}
TOWERS = {
    "transformer.resblocks": "text_model.encoder.layers",
    "visual.transformer.resblocks": "vision_model.encoder.layers",
}
LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def save(model: Any, architecture: str, folder: Path) -> None:
    """Write what ``CLIPModel.from_pretrained`` and ``CLIPProcessor.from_pretrained`` read."""
    tokenizer = _tokenizer(SimpleTokenizer())
    converted = CLIPModel(_config(open_clip.get_model_config(architecture), tokenizer))
    converted.load_state_dict(dict(_converted(model.state_dict())))
    converted.save_pretrained(folder)
    # 224 pixels, bicubic, OpenAI's mean and standard deviation: its defaults and ViT-B-32's.
    processor: Any = CLIPProcessor  # untyped
    processor(CLIPImageProcessor(), tokenizer).save_pretrained(folder)


def _converted(weights: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    for key, tensor in weights.items():
        module, _, parameter = key.rpartition(".")
        if key in ALONE:
            yield ALONE[key], tensor
        elif module in ALONE:
            yield f"{ALONE[module]}.{parameter}", tensor
        elif key in PROJECTIONS:
            yield PROJECTIONS[key], tensor.T.contiguous()
        else:
            tower = next(tower for tower in TOWERS if key.startswith(tower))
            number, _, inner = key.removeprefix(f"{tower}.").partition(".")
            layer = f"{TOWERS[tower]}.{number}"
            if inner.startswith("attn.in_proj_"):  # query, key and value in one
                kind = inner.removeprefix("attn.in_proj_")
                for name, part in zip("qkv", tensor.chunk(3), strict=True):
                    yield f"{layer}.self_attn.{name}_proj.{kind}", part.clone()
            else:
                yield f"{layer}.{LAYER[inner.removesuffix(f'.{parameter}')]}.{parameter}", tensor


def _config(config: Mapping[str, Any], tokenizer: CLIPTokenizer) -> CLIPConfig:
    text, vision = config["text_cfg"], config["vision_cfg"]
    activation = "quick_gelu" if config.get("quick_gelu") else "gelu"  # CLIPConfig's is quick_gelu
    return CLIPConfig(
        projection_dim=config["embed_dim"],
        text_config={
            "hidden_size": text["width"],
            "intermediate_size": text["width"] * 4,
            "num_hidden_layers": text["layers"],
            "num_attention_heads": text["heads"],
            "max_position_embeddings": text["context_length"],
            "vocab_size": text["vocab_size"],
            "projection_dim": config["embed_dim"],
            "hidden_act": activation,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,  # where the text is pooled
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "hidden_size": vision["width"],
            "intermediate_size": vision["width"] * 4,
            "num_hidden_layers": vision["layers"],
            "num_attention_heads": vision["width"] // 64,  # OpenCLIP's head_width
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "projection_dim": config["embed_dim"],
            "hidden_act": activation,
        },
    )


def _tokenizer(bundled: SimpleTokenizer) -> CLIPTokenizer:
    """From the vocabulary inside the OpenCLIP package, its two marks under their other names."""
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(token, token): number for token, number in bundled.encoder.items()}
    return CLIPTokenizer(
        vocab=vocabulary,
        merges=list(bundled.bpe_ranks),
        model_max_length=bundled.context_length,
    )
