"""EmbeddingGemma 2 on its device, each tower once it is wanted. Imports torch and transformers.

Every tensor comes from the checkpoint, each where it belongs: ``from_pretrained`` only warns of one
that is missing, and fills it with random numbers.
"""

import copy
import threading
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModel
from transformers.models.embedding_gemma2.modeling_embedding_gemma2 import (
    EmbeddingGemma2Model,
    EmbeddingGemma2MultimodalEmbedder,
)

from pipeline.embedders.embeddinggemma.checkpoint import GemmaCheckpoint
from pipeline.embedders.local.device import DTYPES
from pipeline.embedders.local.device_model import DeviceModel
from pipeline.errors import ModelError


class Tower(Enum):
    """A part beside the language model, by transformers' word for it."""

    SEES = "vision"
    HEARS = "audio"


class GemmaModel(DeviceModel):
    """The language model; the towers that see and hear are loaded when their first input comes.

    Args:
        dimensions: of a vector that are kept.

    Attributes:
        config: of the whole model.
        dimensions: of a vector.

    Raises:
        ModelError: the weights are cut short, not finite, or of another model.
    """

    def __init__(
        self,
        checkpoint: GemmaCheckpoint,
        config: Any,
        device: torch.device,
        precision: str,
        batch_size: int,
        dimensions: int,
    ) -> None:
        super().__init__(device, batch_size)
        self.config = config
        self._checkpoint = checkpoint
        self.dimensions = dimensions
        self._loading = threading.Lock()
        without = copy.deepcopy(config)
        without.vision_config = without.audio_config = None
        module = EmbeddingGemma2Model(without)
        self._fill({"": module}, DTYPES[precision])
        self.use(module, precision)

    def need(self, tower: Tower) -> None:
        """Load a tower, unless it is there. Raises ModelError."""
        with self._loading:
            if getattr(self.module, f"{tower.value}_tower") is not None:
                return
            config = getattr(self.config, f"{tower.value}_config")
            embedder = EmbeddingGemma2MultimodalEmbedder(config, self.config.text_config)
            built = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
            parts = {f"{tower.value}_tower.": built, f"embed_{tower.value}.": embedder}
            self._fill(parts, self.dtype)
            placed = {prefix: self.placed(part) for prefix, part in parts.items()}
            setattr(self.module.config, f"{tower.value}_config", config)
            for prefix, part in placed.items():
                setattr(self.module, prefix.rstrip("."), part)

    def embed(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The mean over the tokens, shape (n, dimensions), float32, not normalised.

        Args:
            inputs: as the processor of transformers gives them.
        """
        moved = {
            name: value.to(self.device, self.dtype if value.is_floating_point() else value.dtype)
            for name, value in inputs.items()
        }
        states = self.module(**moved).last_hidden_state.float()
        mask = moved["attention_mask"][..., None].float()
        mean: torch.Tensor = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        return mean[:, : self.dimensions]

    def _fill(self, parts: Mapping[str, torch.nn.Module], dtype: torch.dtype) -> None:
        file = self._checkpoint.weights
        try:
            with safe_open(file, framework="pt") as tensors:
                for prefix, module in parts.items():
                    module.load_state_dict(
                        _read(tensors, prefix, module, dtype, str(file)), strict=True, assign=True
                    )
                    module.eval().requires_grad_(False)
        except (SafetensorError, OSError) as exc:
            raise ModelError(f"{file} cannot be read: {exc}; download it again") from exc


def _read(
    tensors: Any, prefix: str, module: torch.nn.Module, dtype: torch.dtype, file: str
) -> dict[str, torch.Tensor]:
    """Every tensor of the module, in ``dtype`` where it is of floating point."""
    there = set(tensors.keys())
    own = module.state_dict()
    missing = sorted(name for name in own if prefix + name not in there)
    if missing:
        raise ModelError(
            f"{file} lacks {len(missing)} tensors of the model ({prefix}{missing[0]}); it is of "
            "another one, or was saved in part"
        )
    state = {}
    for name, like in own.items():
        tensor = tensors.get_tensor(prefix + name)
        if tensor.shape != like.shape:
            raise ModelError(
                f"{file}: {prefix}{name} has the shape {tuple(tensor.shape)}, and config.json "
                f"says {tuple(like.shape)}"
            )
        if like.is_floating_point():
            tensor = tensor.to(dtype, copy=True)  # the file may be replaced while the model runs
            _check_finite(tensor, f"{file}: {prefix}{name}", dtype)
        state[name] = tensor
    return state


def _check_finite(tensor: torch.Tensor, name: str, dtype: torch.dtype) -> None:
    # The bounds of what a layer lets through are stored as well, and may be infinite.
    if tensor.numel() > 1 and not torch.isfinite(torch.stack(torch.aminmax(tensor))).all():
        raise ModelError(f"{name} holds values that are not finite in {dtype}; download it again")


def padded(rows: Sequence[Sequence[int]], pad: int) -> dict[str, torch.Tensor]:
    """Token ids, filled up on the right, with the mask that leaves out what was filled up."""
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), pad, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[number, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}
