"""Model checkpoints with random weights, made on the spot: no model can be downloaded in a test.

The pipeline itself never runs random weights; these are files like any other to it.
"""

import json
import math
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

# A whole CLIP that builds and runs in milliseconds. Every width is odd enough to tell apart.
TINY_CLIP: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 48, "heads": 2, "layers": 2},
}
TINY_SIGLIP: dict[str, Any] = {
    "embed_dim": 48,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 48, "head_width": 24, "patch_size": 8},
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 512,
        "hf_tokenizer_name": "local",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 48,
        "heads": 2,
        "layers": 2,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "norm_kwargs": {"eps": 1e-6},
    },
}
SIGLIP_PREPROCESS = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "squash",
}


def model_of(config: dict[str, Any]) -> torch.nn.Module:
    """A model of OpenCLIP's with random weights, by the class that its configuration asks for."""
    arguments = json.loads(json.dumps(config))
    custom = arguments.pop("custom_text", False)
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    if "multimodal_cfg" in arguments:
        kind = open_clip.CoCa
    torch.manual_seed(7)
    model = kind(**arguments).eval()
    for name, parameter in model.named_parameters():
        if name == "text_decoder.text_projection":  # OpenCLIP leaves it as the memory was
            torch.nn.init.normal_(parameter, std=0.05)
    return model


def random_state(config: dict[str, Any], dtype: torch.dtype = torch.bfloat16) -> dict[str, Any]:
    """Random weights of the right names and shapes, of sensible size, quickly for a large model."""
    arguments = json.loads(json.dumps(config))
    custom = arguments.pop("custom_text", False)
    with torch.device("meta"):
        model = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**arguments)
    block = torch.randn(1 << 20, generator=torch.Generator().manual_seed(7))
    state = {}
    for name, tensor in model.state_dict().items():
        scale = 1 / math.sqrt(tensor.shape[-1]) if tensor.ndim > 1 else 0.1
        norm = name.endswith("weight") and tensor.ndim == 1
        # Few random numbers, repeated: 10^9 of them would take 10 s.
        values = (block[: tensor.numel()] * scale + norm).to(dtype)
        repeated = values.repeat(-(-tensor.numel() // len(values)))
        state[name] = repeated[: tensor.numel()].reshape(tensor.shape).clone()
    return state


def save_checkpoint(
    folder: Path,
    config: dict[str, Any],
    *,
    state: dict[str, Any] | None = None,
    preprocess: dict[str, Any] | None = None,
) -> Path:
    """A local model folder: configuration, weights and, where the model needs one, a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {"model_cfg": config, "preprocess_cfg": preprocess or {}}
    (folder / "open_clip_config.json").write_text(json.dumps(document))
    save_file(
        state if state is not None else model_of(config).state_dict(),
        folder / "open_clip_model.safetensors",
    )
    if config["text_cfg"].get("hf_tokenizer_name"):
        save_tokenizer(folder)
    return folder


def save_unbearable(folder: Path) -> Path:
    """A model that does not bear bfloat16.

    Image features of 1 around a common 1,000 that the projection takes away again.
    """
    state = model_of(TINY_CLIP).state_dict()
    state["visual.ln_post.bias"] = torch.full_like(state["visual.ln_post.bias"], 1000.0)
    state["visual.proj"] = state["visual.proj"] - state["visual.proj"].mean(dim=0)
    return save_checkpoint(folder, TINY_CLIP, state=state)


def save_tokenizer(folder: Path) -> None:
    """A small real tokenizer as SigLIP's is: subwords, an end token, padding with it, no start."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<pad>", "</s>", "<unk>"], show_progress=False
    )
    sentences = [
        "a photo of a red bicycle leaning against a wall",
        "two cats on a green sofa and one small dog",
        "the harbour at dawn with boats and gulls in the fog",
        "abcdefghijklmnopqrstuvwxyz 0123456789",
    ]
    tokenizer.train_from_iterator(sentences * 4, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "</s>",
        "pad_token": "</s>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def in_the_hubs_cache(cache: Path, name: str, folder: Path) -> None:
    """Put the files of ``folder`` where the hub's client would have downloaded them to."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc123")
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / "abc123").symlink_to(folder)
