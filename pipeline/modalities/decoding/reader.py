"""Reading what only decoder processes may decode: sound, films, documents."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from pipeline.errors import MissingExtra, PermanentRowError
from pipeline.modalities.base import Decoded, Encoder, Modality, Reader, ReadOptions
from pipeline.modalities.decoding.pool import DecoderPool
from pipeline.modalities.decoding.task import Answer, Decode, Prepare, Task

_COPIES_OF_FILE = 3
_COPIES_OF_ANSWER = 3
_HEADROOM = 256 * 2**20
# At most 3 bytes of 10 bits: 17 reference frames, 8 candidates; two copies in RGB; and some spare.
BYTES_PER_FRAME_PIXEL = 100


def require(module: str, what: str, extra: str) -> None:
    """See that a part of the package is there before a process is started that wants it.

    Raises:
        PermanentRowError: ``missing_extra``.
    """
    if find_spec(module) is None:
        raise PermanentRowError("missing_extra", str(MissingExtra(what, extra)))


def media_task(
    module: str,
    noun: str,
    options: ReadOptions,
    task_options: dict[str, Any],
    pixels: int = 0,
    prepare: Prepare | None = None,
) -> Task:
    """The task of a modality that is limited by the settings for sound, films and documents.

    Args:
        module: has a function ``decoding``.
        pixels: that its largest frame or page has while it is decoded.
    """
    needed = (
        BYTES_PER_FRAME_PIXEL * pixels
        + _COPIES_OF_FILE * options.max_bytes
        + _COPIES_OF_ANSWER * options.max_decoded_bytes
        + _HEADROOM
    )
    return Task(
        module=module,
        function="decoding",
        noun=noun,
        max_bytes=options.max_bytes,
        memory_bytes=options.decode_memory_bytes or needed,
        answer_bytes=options.max_decoded_bytes + 2**20,
        cpu_seconds=options.media_cpu_seconds,
        timeout_seconds=options.media_timeout_seconds,
        options=task_options,
        prepare=prepare,
        cpu_setting="PIPELINE_MEDIA_CPU_SECONDS",
    )


def here(task: Task) -> Decode:
    """The same task in this process: for content of our own."""
    decode: Decode = import_module(task.module).decoding(dict(task.options), task.prepare)
    return decode


class ProcessReader(Reader):
    """Decodes in processes of its own, which are started with the first content."""

    def __init__(
        self, modality: Modality, encoder: Encoder, options: ReadOptions, task: Task
    ) -> None:
        super().__init__(modality, encoder, options)
        self._pool = DecoderPool(task, options.decode_processes)

    def decode(self, data: bytes) -> Decoded:
        return self.decoded(self._pool.decode(data))

    def decoded(self, answer: Answer) -> Decoded:
        """What came back, as the modality's parts are made of it."""
        raise NotImplementedError

    def kept_notes(self, notes: Any) -> None:
        """Its items are parts, each with notes of its own: it is decoded again."""
        return

    def close(self) -> None:
        self._pool.close()
