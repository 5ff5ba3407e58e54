"""A model on its device: one batch at a time, smaller ones once one did not fit. Imports torch."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy.typing as npt
import torch

from pipeline.embedders.local.device import DTYPES, is_out_of_memory
from pipeline.errors import ModelError, OutOfMemory
from pipeline.vectors import Vectors

Batch = TypeVar("Batch", bound=Sequence[Any] | npt.NDArray[Any])


class DeviceModel:
    """A module in one precision, and what a batch of it may hold.

    Attributes:
        module: what the family's library built.
        batch_size: inputs per forward pass. Halved, for good, whenever the device runs out of
            memory.
    """

    def __init__(self, device: torch.device, batch_size: int) -> None:
        self.device = device
        self.batch_size = batch_size
        self.module: Any
        self.dtype: torch.dtype
        self._lock = threading.Lock()

    def use(self, module: torch.nn.Module, precision: str) -> None:
        """Have the module, which is of this precision, do the work from now on.

        Raises:
            ModelError: it does not fit into the device's memory.
        """
        self.dtype = DTYPES[precision]
        self.module = self.placed(module)

    def placed(self, module: torch.nn.Module) -> torch.nn.Module:
        """The module on the device. Raises ModelError: it does not fit into its memory."""
        try:
            return self._move(module)
        except (MemoryError, RuntimeError) as exc:
            if not is_out_of_memory(exc):
                raise
            raise ModelError(
                f"the model does not fit into the memory of {self.device}; end what else uses it, "
                "set PIPELINE_DEVICE=cpu, or take a smaller model"
            ) from exc

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
            self._take_less()
            raise OutOfMemory(
                f"{len(batch)} inputs do not fit into the memory of {self.device}; set a smaller "
                "PIPELINE_BATCH_SIZE"
            ) from exc

    def _move(self, module: torch.nn.Module) -> torch.nn.Module:
        return module.to(self.device)

    def _take_less(self) -> None:
        self.batch_size = max(1, self.batch_size // 2)
