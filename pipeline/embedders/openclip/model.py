"""A model on its device: one batch at a time, smaller ones once one did not fit. Imports torch."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from pipeline.embedders.openclip.device import DTYPES, is_out_of_memory
from pipeline.embedders.openclip.text_towers import CausalTextTower, causal_text_tower
from pipeline.errors import ModelError, OutOfMemory
from pipeline.vectors import Vectors

Batch = TypeVar("Batch", bound=Sequence[Any] | npt.NDArray[Any])


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
        """Have the module, which is of this precision, do the work from now on.

        Raises:
            ModelError: it does not fit into the device's memory.
        """
        self.dtype = DTYPES[precision]
        try:
            self.module = module.to(self.device)
            if self.device.type == "cuda":
                self.module = self.module.to(memory_format=torch.channels_last)
        except (MemoryError, RuntimeError) as exc:
            if not is_out_of_memory(exc):
                raise
            raise ModelError(
                f"the model does not fit into the memory of {self.device}; end what else uses it, "
                "set PIPELINE_DEVICE=cpu, or take a smaller model"
            ) from exc
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

    def forward(self, encode: Callable[[Batch], torch.Tensor], batch: Batch) -> Vectors:
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
            if not is_out_of_memory(exc):
                if "CUDA error" in str(exc):  # the context is lost: nothing will work any more
                    reason = str(exc).splitlines()[0]
                    raise ModelError(
                        f"the device {self.device} failed ({reason}); restart"
                    ) from exc
                raise
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self.batch_size = max(1, self.batch_size // 2)
            self.images_at_once = max(1, self.images_at_once // 2)
            raise OutOfMemory(
                f"{len(batch)} inputs do not fit into the memory of {self.device}; set a smaller "
                "PIPELINE_BATCH_SIZE"
            ) from exc
