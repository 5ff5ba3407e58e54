"""Which device a model runs on, and what that device multiplies fastest. Imports torch."""

from pathlib import Path

import torch

from pipeline.errors import ConfigurationError

# What lies between the layers; the weights as well, but for int8.
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.float32,
}


def choose_device(device: str) -> torch.device:
    """The device by name. Raises ConfigurationError when this machine does not have it."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as exc:
        reason = str(exc).splitlines()[0]
        raise ConfigurationError(
            f"device {device!r} cannot be used ({reason}); set auto, cpu, cuda, cuda:1 or mps"
        ) from exc
    return chosen


def check_int8(device: torch.device) -> None:
    """Raises ConfigurationError where 8-bit weights cannot be multiplied."""
    if device.type != "cpu":
        raise ConfigurationError(
            f"precision int8 is for CPUs and not for {device}; set PIPELINE_DEVICE=cpu, or create "
            "a space in another precision"
        )
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        raise ConfigurationError(
            "precision int8 needs a torch with oneDNN, which this one lacks; set "
            "PIPELINE_PRECISION=auto for a new space"
        )


def fastest_precision(device: torch.device) -> str:
    """What the device multiplies fastest.

    bfloat16 on a CPU without native support is slower than float32 (it is emulated).
    """
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    if device.type == "cpu" and {"avx512_bf16", "amx_bf16"} & cpu_flags():
        return "bfloat16"
    return "float32"


def cpu_flags() -> set[str]:
    """The instructions that the processor has; empty where that is not told."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:  # no Linux: float32 is always right
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def is_out_of_memory(exc: BaseException) -> bool:
    """Whether the device (or this machine) had no memory left for a batch."""
    if isinstance(exc, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(sign in str(exc) for sign in _NO_MEMORY)


# As torch's CPU allocator says it, what allocates on a GPU past torch's, and cuBLAS and cuDNN.
_NO_MEMORY = (
    "not enough memory",
    "can't allocate memory",
    "CUDA error: out of memory",
    "STATUS_ALLOC_FAILED",
)
