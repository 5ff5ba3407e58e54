"""ImageBind on its device. Imports torch and ImageBind."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from imagebind.models import imagebind_model

from pipeline.embedders.local.device import DTYPES
from pipeline.embedders.local.device_model import DeviceModel
from pipeline.errors import ModelError
from pipeline.modalities import Input
from pipeline.vectors import Vectors, unit_rows


class Model(DeviceModel):
    """The model of a checkpoint.

    Args:
        weights: as ``torch.save`` of a state dictionary wrote it.
        precision: float32 or bfloat16.

    Attributes:
        dimensions: of a vector.

    Raises:
        ModelError: the file holds something else.
    """

    def __init__(
        self, weights: Path, device: torch.device, precision: str, batch_size: int
    ) -> None:
        super().__init__(device, batch_size)
        state = _read(weights)
        # pretrained=True would download.
        module = imagebind_model.imagebind_huge(pretrained=False)
        try:
            module.load_state_dict(state, strict=True)
        except (RuntimeError, TypeError, AttributeError) as exc:
            reason = " ".join(str(exc).split())[:200]
            raise ModelError(f"{weights} is no checkpoint of ImageBind: {reason}") from exc
        for name, tensor in module.named_parameters():
            if not torch.isfinite(torch.stack(torch.aminmax(tensor))).all():
                raise ModelError(f"{weights}: {name} holds values that are not finite")
        self.use(module.eval().requires_grad_(False).to(DTYPES[precision]), precision)
        self.dimensions = self._count_dimensions()

    def embed(self, key: str, inputs: Sequence[Input]) -> Vectors:
        """Unit vectors of what is prepared alike, shape (n, dimensions).

        Args:
            key: which of ImageBind's towers, in its own word.
        """
        if not len(inputs):
            return np.empty((0, self.dimensions), dtype=np.float32)

        def encode(batch: Sequence[Input]) -> torch.Tensor:
            stacked = torch.from_numpy(np.stack(batch)).to(self.device)
            if stacked.is_floating_point():
                stacked = stacked.to(self.dtype)
            found: torch.Tensor = self.module({key: stacked})[key]
            return found

        rows: list[Vectors] = []
        begin = 0
        while begin < len(inputs):
            some = inputs[begin : begin + self.batch_size]
            rows.append(self.forward(encode, some))
            begin += len(some)
        return unit_rows(np.concatenate(rows))

    def _count_dimensions(self) -> int:
        heads: Any = self.module.modality_heads
        return int(heads[imagebind_model.ModalityType.VISION][-1].out_features)


def _read(weights: Path) -> dict[str, torch.Tensor]:
    try:  # mapped: the file and the model do not have to fit into the memory both
        state = torch.load(weights, map_location="cpu", weights_only=True, mmap=True)
    except Exception as exc:  # torch raises nearly anything for a file that is wrong
        reason = (str(exc).strip().splitlines() or [type(exc).__name__])[0][:200]
        raise ModelError(f"{weights} cannot be read as weights alone: {reason}") from exc
    if not isinstance(state, dict) or not all(
        isinstance(value, torch.Tensor) for value in state.values()
    ):
        raise ModelError(f"{weights} holds something else than a state dictionary of tensors")
    return state
