"""What a pool of decoder processes does, and what comes back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy.typing as npt

Array: TypeAlias = "npt.NDArray[Any]"
Prepare = Callable[[Any], Any]
# What an array may consist of on its way back: bytes, 16-bit values, samples, times and counts.
DTYPES = ("|u1", "<u2", "<f4", "<f8", "<i8")


class Answer(NamedTuple):
    """Decoded content on its way out of a process.

    Attributes:
        arrays: each of one of :data:`DTYPES`, C-contiguous.
        notes: JSON, a few kilobytes of it at most.
    """

    arrays: list[Array]
    notes: dict[str, Any]


Decode = Callable[[bytes], Answer]


@dataclass(frozen=True)
class Task:
    """What the processes of one pool do.

    Attributes:
        module: imported in the process, before its memory is limited.
        function: of that module, called once with ``options`` and ``prepare``; it gives what is
            called with the bytes of each content, and raises RowError or MemoryError.
        noun: what is decoded, in messages: "image".
        options: JSON, for ``function``.
        prepare: can be pickled, knows no torch; runs in the process after decoding.
        max_bytes: of a content.
        memory_bytes: for one content, beyond what the process has when it starts.
        answer_bytes: most that the arrays of one answer may have in all.
        cpu_seconds: of the processor for one content, which fails for good beyond it.
        timeout_seconds: for one content, by the clock.
        cpu_setting: what raises ``cpu_seconds``, for the message.
    """

    module: str
    function: str
    noun: str
    max_bytes: int
    memory_bytes: int
    answer_bytes: int
    cpu_seconds: float
    timeout_seconds: float
    options: Mapping[str, Any] = field(default_factory=dict)
    prepare: Prepare | None = None
    cpu_setting: str = "PIPELINE_DECODE_CPU_SECONDS"
