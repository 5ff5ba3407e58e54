"""Reading sounds for one encoder, at its sampling rate."""

from pipeline.modalities.base import Decoded, Encoder, Modality, ReadOptions
from pipeline.modalities.decoding.reader import ProcessReader, media_task, require
from pipeline.modalities.decoding.task import Answer, Task

USUAL_RATE = 48_000  # of an encoder that does not say


def require_audio() -> None:
    """Raises PermanentRowError: ``missing_extra``."""
    for module in ("soundfile", "av"):
        require(module, "decoding sound", "audio")


def rate_of(encoder: Encoder | None) -> int:
    """Samples per second that the encoder takes."""
    return int(getattr(encoder, "sampling_rate", USUAL_RATE))


def task(options: ReadOptions, encoder: Encoder | None) -> Task:
    """What decodes sounds within these limits."""
    limits = {
        "sampling_rate": rate_of(encoder),
        "max_media_seconds": options.max_media_seconds,
        "max_decoded_bytes": options.max_decoded_bytes,
    }
    return media_task("pipeline.modalities.audio.task", "audio", options, limits)


def sound(answer: Answer, rate: int) -> Decoded:
    """Its content: mono samples, float32."""
    (samples,) = answer.arrays
    return Decoded(samples, {**answer.notes, "sampling_rate": rate})


class AudioReader(ProcessReader):
    """See :meth:`Modality.decode` of sounds."""

    def __init__(self, modality: Modality, encoder: Encoder, options: ReadOptions) -> None:
        super().__init__(modality, encoder, options, task(options, encoder))
        self._rate = rate_of(encoder)

    def decode(self, data: bytes) -> Decoded:
        require_audio()
        return super().decode(data)

    def decoded(self, answer: Answer) -> Decoded:
        return sound(answer, self._rate)
