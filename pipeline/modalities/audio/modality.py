"""Sound as a modality. What needs libsndfile or PyAV is imported by the method that needs it."""

import hashlib
from typing import Protocol

from pipeline.errors import PermanentRowError
from pipeline.modalities.audio.windows import windows
from pipeline.modalities.base import Decoded, Encoder, Modality, Part, Reader, ReadOptions
from pipeline.modalities.containers.sniff import is_sound, played_as

_SILENT = 2 / 2**15  # the last bits of 16, as dither fills them


class AudioEncoder(Encoder, Protocol):
    """An encoder of sounds says what it hears at once. It takes mono samples, float32, (n,).

    Attributes:
        sampling_rate: samples per second.
        seconds: of a window; what is longer is cut.
    """

    @property
    def sampling_rate(self) -> int: ...
    @property
    def seconds(self) -> float: ...


class Audio(Modality):
    """Speech, music, noises: parts are windows of what a model hears at once."""

    name = "audio"
    media = "audio"
    description = "A sound: a file, an object or a URL of one."
    suffixes = frozenset(
        f".{name}"
        for kinds in ("wav wave flac ogg oga opus mp3", "aif aiff au snd caf w64", "m4a m4b aac")
        for name in kinds.split()
    ) | {".wma", ".amr", ".mka", ".weba"}
    columns = ("audio", "audio_path", "audio_url")

    def sniff(self, head: bytes) -> bool:
        return is_sound(head)

    def decode(self, data: bytes, options: ReadOptions) -> Decoded:
        """In this process: for bytes of our own. :meth:`reader` is for everybody else's."""
        from pipeline.modalities.audio import reader
        from pipeline.modalities.decoding.reader import here

        reader.require_audio()
        return reader.sound(here(reader.task(options, None))(data), reader.USUAL_RATE)

    def parts(self, decoded: Decoded, encoder: Encoder, options: ReadOptions) -> list[Part]:
        """Windows with ``start`` and ``end`` in seconds; silent ones are left out.

        Raises:
            PermanentRowError: ``silence``: all of them; ``too_many_parts``.
        """
        of_sound: AudioEncoder = encoder  # type: ignore[assignment]  # what a sound's encoder is
        rate = of_sound.sampling_rate
        samples, notes = decoded.content, dict(decoded.notes)
        if notes.pop("sampling_rate", rate) != rate:  # decoded for nobody in particular
            from pipeline.modalities.audio.resampling import resampled_whole

            samples = resampled_whole(samples, decoded.notes["sampling_rate"], rate)
        length = max(1, round(of_sound.seconds * rate))
        parts: list[Part] = []
        for start, end in windows(
            len(samples), length, round(options.audio_overlap_seconds * rate)
        ):
            heard = samples[start:end]
            if abs(heard).max(initial=0.0) <= _SILENT:
                continue
            if len(parts) == options.max_parts:
                raise PermanentRowError(
                    "too_many_parts",
                    f"it has more than {options.max_parts:,} windows (PIPELINE_MAX_PARTS)",
                )
            span = {"start": round(start / rate, 3), "end": max(round(end / rate, 3), 0.001)}
            digest = hashlib.sha256(b"%d\n" % rate + heard.tobytes()).digest()
            parts.append(Part(heard, {**notes, **span}, sha256=digest))
        if not parts:
            raise PermanentRowError("silence", "nothing in it is louder than the last bits of 16")
        return parts

    def reader(self, encoder: Encoder, options: ReadOptions) -> Reader:
        from pipeline.modalities.audio.reader import AudioReader

        return AudioReader(self, encoder, options)

    def played_as(self, data: bytes) -> str | None:
        return played_as(data)

    def probes(self) -> list[bytes]:
        from pipeline.modalities.audio.probes import sounds

        return sounds()


AUDIO = Audio()
