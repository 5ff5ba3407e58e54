"""OpenCLIP's module on its device, with the quick way through its text tower. Imports torch."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from pipeline.embedders.local.device_model import DeviceModel
from pipeline.embedders.openclip.text_towers import CausalTextTower, causal_text_tower


class OpenClipModel(DeviceModel):
    """A module of OpenCLIP's.

    Attributes:
        text_tower: the quick way through its text tower; None: every position has to be seen.
        images_at_once: images per forward pass, which may be fewer than other inputs.
    """

    def __init__(self, device: torch.device, batch_size: int) -> None:
        super().__init__(device, batch_size)
        self.images_at_once = batch_size
        self.text_tower: CausalTextTower | None

    def use(self, module: torch.nn.Module, precision: str) -> None:
        super().use(module, precision)
        self.text_tower = causal_text_tower(self.module)

    def stacked(self, arrays: Sequence[npt.NDArray[np.uint8]]) -> torch.Tensor:
        """The arrays, all of one shape, as one tensor on the device, (n, ...).

        A GPU copies them by itself from memory that cannot be paged out, while its next kernels are
        being launched. Such memory is kept and used again.
        """
        pinned = self.device.type == "cuda"
        together = torch.empty(
            (len(arrays), *arrays[0].shape), dtype=torch.uint8, pin_memory=pinned
        )
        np.stack(arrays, out=together.numpy())
        return together.to(self.device, non_blocking=pinned)

    def _move(self, module: torch.nn.Module) -> torch.nn.Module:
        moved = super()._move(module)
        if self.device.type == "cuda":
            moved = moved.to(memory_format=torch.channels_last)
        return moved

    def _take_less(self) -> None:
        super()._take_less()
        self.images_at_once = max(1, self.images_at_once // 2)
