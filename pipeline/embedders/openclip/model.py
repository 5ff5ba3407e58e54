"""A model on its device: one batch at a time, smaller ones once one did not fit. Imports torch."""

import threading
from collections.abc import Callable
from typing import Any

import numpy.typing as npt
import torch

from pipeline.embedders.openclip.device import DTYPES, is_out_of_memory
from pipeline.embedders.openclip.text_towers import CausalTextTower, causal_text_tower
from pipeline.errors import ModelError, OutOfMemory
from pipeline.vectors import Vectors


class DeviceModel:
    """OpenCLIP's module, in one precision, and what a batch of it may hold.

    Attributes:
        module: what OpenCLIP built.
        text_tower: the quick way through its text tower; None: every position has to be seen.
        batch_size: inputs per forward pass. Halved, for good, whenever the device runs out of
            memory.
        images_at_once: the same for images, which may be fewer.
    """

    def __init__(self, device: torch.device, batch_size: int) -> None:
        self.device = device
        self.batch_size = batch_size
        self.images_at_once = batch_size
        self.module: Any
        self.dtype: torch.dtype
        self.text_tower: CausalTextTower | None
        self._lock = threading.Lock()

    def use(self, module: torch.nn.Module, precision: str) -> None:
        """Have the module, which is of this precision, do the work from now on."""
        self.dtype = DTYPES[precision]
        self.module = module.to(self.device)
        if self.device.type == "cuda":
            self.module = self.module.to(memory_format=torch.channels_last)
        self.text_tower = causal_text_tower(self.module)

    def forward(
        self, encode: Callable[[npt.NDArray[Any]], torch.Tensor], batch: npt.NDArray[Any]
    ) -> Vectors:
        """What ``encode`` makes of a batch, float32, shape (n, dimensions), not normalised.

        Raises:
            OutOfMemory: the batch does not fit; from now on they are smaller.
            ModelError: the device is broken.
        """
        try:
            with self._lock, torch.inference_mode():
                features = encode(batch)
                rows: Vectors = features.to(torch.float32).cpu().numpy()
                return rows
        except (MemoryError, RuntimeError) as exc:
            if "CUDA error" in str(exc):  # the context is lost: nothing will work any more
                raise ModelError(f"the device {self.device} failed ({exc}); restart") from exc
            if not is_out_of_memory(exc):
                raise
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self.batch_size = max(1, self.batch_size // 2)
            self.images_at_once = max(1, self.images_at_once // 2)
            raise OutOfMemory(
                f"{len(batch)} inputs do not fit into the memory of {self.device}; set a smaller "
                "PIPELINE_BATCH_SIZE"
            ) from exc
