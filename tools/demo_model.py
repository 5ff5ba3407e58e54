"""The model of the demonstration in training: its shape, its vocabulary, its loss."""

from __future__ import annotations

import copy
import json
import math
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import open_clip
import torch
from demo_captions import CaptionWriter
from demo_scenes import scene_phrases
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.attention import SDPBackend, sdpa_kernel

if TYPE_CHECKING:
    from demo_training import Batch

START, END = 49406, 49407

CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 192,
        "vision_cfg": {
            "image_size": 48,
            "timm_model_name": "regnetx_002",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "linear",
        },
        "text_cfg": {
            "context_length": 32,
            "vocab_size": 49408,
            "width": 128,
            "heads": 4,
            "layers": 3,
        },
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "interpolation": "bicubic",
        "resize_mode": "longest",
        "fill_color": 255,
    },
}


class CompactVocabulary:
    """The token ids that occur in the world's texts, and one id for every other word.

    Only these rows of the 49,408-row table are trained; ``unknown`` stands in for random words
    of training captions, so that a word never seen shifts a query little.
    """

    def __init__(self, seen: set[int]) -> None:
        self.ids = sorted(seen | {START, END})
        self.unknown = len(self.ids)
        self.position = {token: row for row, token in enumerate(self.ids)}

    def full_table(self, rows: Tensor) -> Tensor:
        """The table for export: trained rows in place, the unknown row everywhere else."""
        table = rows[self.unknown].repeat(CONFIG["model_cfg"]["text_cfg"]["vocab_size"], 1)
        table[self.ids] = rows[: len(self.ids)]
        return table


class Texts:
    """Captions to padded rows of compact token ids."""

    def __init__(self, writer: CaptionWriter, context_length: int, seed: int) -> None:
        self.tokenizer = open_clip.SimpleTokenizer(context_length=context_length)
        self.context_length = context_length
        self.concepts = writer.concepts
        self.memory: dict[str, list[int]] = {}
        rng = random.Random(seed)
        seen: set[int] = set()
        for number in range(len(writer.concepts)):
            for _ in range(200):
                colours = [
                    rng.choice(
                        (
                            "red",
                            "orange",
                            "yellow",
                            "green",
                            "blue",
                            "purple",
                            "pink",
                            "brown",
                            "black",
                            "white",
                            "grey",
                        )
                    )
                ]
                seen.update(self.words(writer.write(number, colours, rng).text))
        for phrase in scene_phrases(writer.concepts):
            seen.update(self.words(phrase))
        self.vocabulary = CompactVocabulary(seen)

    def words(self, text: str) -> list[int]:
        if text not in self.memory:
            self.memory[text] = self.tokenizer.encode(text)[: self.context_length - 2]
        return self.memory[text]

    def rows(self, texts: list[str], rng: random.Random | None = None) -> Tensor:
        """``(n, longest)`` compact ids; with ``rng`` some words become unknown ones."""
        compact = self.vocabulary
        found = []
        for text in texts:
            ids = [compact.position.get(token, compact.unknown) for token in self.words(text)]
            if rng is not None and rng.random() < 0.12:
                at = rng.randrange(len(ids) + 1)
                ids[at:at] = [compact.unknown] * rng.randint(1, 2)
            ids = [compact.position[START], *ids[: self.context_length - 2], compact.position[END]]
            found.append(ids)
        longest = max(map(len, found))
        # Zero is an ordinary row; causal attention never looks past the end of the text.
        return torch.tensor([ids + [0] * (longest - len(ids)) for ids in found])


class Learner(nn.Module):
    """OpenCLIP's towers, a compact vocabulary, and one prototype vector a concept.

    The prototypes are scaffolding: both towers also learn to find their concept's prototype
    among all concepts, which shows every negative at every step. They are not exported.
    """

    def __init__(self, texts: Texts, concepts: int) -> None:
        super().__init__()
        config = CONFIG["model_cfg"]
        self.clip = open_clip.CLIP(**config)
        self.end = texts.vocabulary.position[END]
        width = config["text_cfg"]["width"]
        self.clip.token_embedding = nn.Embedding(len(texts.vocabulary.ids) + 1, width)
        nn.init.normal_(self.clip.token_embedding.weight, std=0.02)
        self.prototypes = nn.Parameter(torch.randn(concepts, config["embed_dim"]) * 0.1)
        self.prototype_scale = nn.Parameter(torch.tensor(math.log(16.0)))

    def images(self, pixels: Tensor) -> Tensor:
        return F.normalize(self.clip.visual(pixels).float(), dim=-1)

    def texts(self, rows: Tensor) -> Tensor:
        """As ``CLIP.encode_text`` does it, on rows cut to their longest text."""
        clip, length = self.clip, rows.shape[1]
        x = clip.token_embedding(rows) + clip.positional_embedding[:length]
        with sdpa_kernel(SDPBackend.MATH):  # for texts this short, the fused kernel is slower
            x = clip.transformer(x, attn_mask=clip.attn_mask[:length, :length])
        ends = (rows == self.end).int().argmax(dim=1)
        x = clip.ln_final(x[torch.arange(len(x), device=x.device), ends])
        return F.normalize((x @ clip.text_projection).float(), dim=-1)


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy against rows of probabilities; rows of zeros do not count."""
    counts = target.sum(dim=1) > 0
    losses = -(target * logits.log_softmax(dim=1)).sum(dim=1)
    return losses[counts].mean()


def loss_of(learner: Learner, images: Tensor, texts: Tensor, batch: Batch) -> Tensor:
    """Contrastive loss with all true pairs as positives, plus both prototype losses."""
    smoothing = 0.05
    prototypes = F.normalize(learner.prototypes, dim=-1)
    scale = learner.prototype_scale.exp().clamp(max=60)

    def smooth(target: Tensor) -> Tensor:
        return target * (1 - smoothing) + smoothing / target.shape[1]

    loss = soft_cross_entropy(scale * images @ prototypes.T, smooth(batch.shown))
    loss = loss + soft_cross_entropy(scale * texts @ prototypes.T, smooth(batch.meanings))
    by_text = batch.pairs / batch.pairs.sum(dim=1, keepdim=True).clamp(min=1e-9)
    by_image = batch.pairs.T / batch.pairs.T.sum(dim=1, keepdim=True).clamp(min=1e-9)
    logits = learner.clip.logit_scale.exp().clamp(max=60) * texts @ images.T
    logits = logits.masked_fill(batch.open, -1e4)
    return loss + soft_cross_entropy(logits, by_text) + soft_cross_entropy(logits.T, by_image)


@torch.no_grad()
def blend(average: nn.Module, learner: nn.Module, decay: float) -> None:
    """Exponential moving average of weights and of batch-norm statistics."""
    old, new = average.state_dict(), learner.state_dict()
    floats = [key for key in old if old[key].is_floating_point()]
    torch._foreach_lerp_([old[k] for k in floats], [new[k] for k in floats], 1 - decay)


def export(learner: Learner, texts: Texts, target: Path, size: int) -> None:
    """Write config and float16 weights as OpenCLIP's ``local-dir:`` schema reads them."""
    target.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu() for name, value in learner.clip.state_dict().items()}
    weights["token_embedding.weight"] = texts.vocabulary.full_table(
        weights["token_embedding.weight"]
    )
    halved = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in weights.items()
    }
    fresh = target / "open_clip_model.safetensors.new"
    save_file(halved, fresh)
    config = copy.deepcopy(CONFIG)
    config["model_cfg"]["vision_cfg"]["image_size"] = size
    (target / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    fresh.chmod(0o644)
    fresh.replace(target / "open_clip_model.safetensors")


@torch.no_grad()
def resume(learner: Learner, texts: Texts, start: Path) -> None:
    """Take the towers from exported weights, and each concept's name as its prototype."""
    weights = {k: v.float() for k, v in load_file(start / "open_clip_model.safetensors").items()}
    table = weights["token_embedding.weight"]
    compact = texts.vocabulary
    stranger = next(i for i in range(len(table)) if i not in compact.position)
    weights["token_embedding.weight"] = table[[*compact.ids, stranger]]
    learner.clip.load_state_dict(weights)
    device = learner.prototypes.device
    names = texts.rows([concept.name for concept in texts.concepts]).to(device)
    learner.prototypes.copy_(torch.cat([learner.texts(part) for part in names.split(256)]))
