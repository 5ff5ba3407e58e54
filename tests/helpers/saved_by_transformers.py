"""Folders as ``save_pretrained`` of transformers writes them, with random weights."""

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from open_clip.tokenizer import SimpleTokenizer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoTokenizer,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    MetaClip2Config,
    MetaClip2Model,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)

from tests.helpers.checkpoints import save_tokenizer

VISION = {
    "hidden_size": 64,
    "intermediate_size": 250,  # no whole multiple
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": 48,
    "intermediate_size": 190,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
}
RENAMED = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """transformers tells of ids outside a small vocabulary, and draws a bar for one file."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with contextlib.redirect_stderr(io.StringIO()):
        yield
    logger.setLevel(level)


def randomised(model: Any) -> Any:
    """With weights that tell every part of it apart: what is initialised to 0 or 1 would not."""
    generator = torch.Generator().manual_seed(7)
    for name, parameter in model.named_parameters():
        if name not in ("logit_scale", "logit_bias"):
            around = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            noise = torch.randn(parameter.shape, generator=generator)
            # Of matrices enough that two images are far apart: a sum keeps the size of its terms.
            scale = 1.5 / parameter.shape[-1] ** 0.5 if parameter.ndim > 1 else 0.1
            parameter.data = around + scale * noise
    return model.eval()


def save_clip(
    folder: Path, *, text: dict[str, Any] | None = None, vision: dict[str, Any] | None = None
) -> Any:
    """A CLIP with OpenAI's vocabulary, as ``CLIPModel.save_pretrained`` alone writes it."""
    config = CLIPConfig(
        text_config=TEXT | (text or {}), vision_config=VISION | (vision or {}), projection_dim=32
    )
    with quiet():
        model = randomised(CLIPModel(config))
        model.save_pretrained(folder)
    return model


def save_clip_processor(folder: Path, **changes: Any) -> Any:
    """Its tokenizer and image processor, by transformers; returns the tokenizer."""
    save_clip_vocabulary(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(folder)
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    CLIPImageProcessor(**{**sizes, **changes}).save_pretrained(folder)
    return tokenizer


def save_clip_vocabulary(folder: Path) -> None:
    """OpenAI's, as the first releases of transformers wrote a tokenizer."""
    own = SimpleTokenizer()
    vocabulary = {RENAMED.get(token, token): number for token, number in own.encoder.items()}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    merges = "\n".join(" ".join(pair) for pair in own.bpe_ranks)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    end = "<|endoftext|>"
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}
    settings |= {"bos_token": "<|startoftext|>", "eos_token": end, "pad_token": end}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "unk_token": end}))


def save_siglip(
    folder: Path, *, text: dict[str, Any] | None = None, vision: dict[str, Any] | None = None
) -> Any:
    """A SigLIP with a small tokenizer of its class."""
    config = SiglipConfig(
        text_config={**TEXT, "vocab_size": 512, "projection_size": 64, **(text or {})},
        vision_config=VISION | (vision or {}),
    )
    with quiet():
        model = randomised(SiglipModel(config))
        model.save_pretrained(folder)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    save_tokenizer(folder)
    change(folder / "tokenizer_config.json", tokenizer_class="SiglipTokenizer")
    return model


def save_metaclip(folder: Path) -> Any:
    """A MetaCLIP 2, whose end of text is 2, and its tokenizer in the manner of XLM-V's."""
    config = MetaClip2Config(
        text_config={**TEXT, "vocab_size": 300, "eos_token_id": 2, "bos_token_id": 0},
        vision_config=VISION,
        projection_dim=32,
    )
    with quiet():
        model = randomised(MetaClip2Model(config))
        model.save_pretrained(folder)
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "\u2581"]
    pieces += [chr(code) for code in range(33, 127)]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "XLMRobertaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    sizes: dict[str, Any] = {"size": {"shortest_edge": 32}, "crop_size": 32}
    CLIPImageProcessor(**sizes).save_pretrained(folder)
    return model


def change(file: Path, **values: Any) -> None:
    """Set values of a JSON file; None takes one away."""
    document = json.loads(file.read_text()) | values
    kept = {name: value for name, value in document.items() if value is not None}
    file.write_text(json.dumps(kept))
