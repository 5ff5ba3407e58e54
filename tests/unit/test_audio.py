"""Sounds: mono samples at the encoder's rate, in windows that it hears at once."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from pipeline import modalities
from pipeline.errors import PermanentRowError, RowError
from pipeline.modalities.audio import AUDIO
from pipeline.modalities.audio.windows import windows
from pipeline.modalities.base import Decoded, Part, Reader, ReadOptions
from pipeline.modalities.decoding import reader as decoding_reader
from tests.helpers.media import (
    SoundEncoder,
    StillEncoder,
    encoded_sound,
    film,
    pdf,
    scene,
    sound,
    tone,
)

pytest.importorskip("av", reason="needs the extra [audio]")
pytest.importorskip("soundfile", reason="needs the extra [audio]")

RATE = SoundEncoder.sampling_rate
OPTIONS = ReadOptions(decode_processes=1, audio_overlap_seconds=0.5)


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with AUDIO.reader(SoundEncoder(), OPTIONS) as opened:  # type: ignore[arg-type]
        yield opened


def refused(data: bytes, **limits: Any) -> RowError:
    options = ReadOptions(decode_processes=1, **limits)
    with AUDIO.reader(SoundEncoder(), options) as opened, pytest.raises(RowError) as found:  # type: ignore[arg-type]
        opened.parts(opened.decode(data))
    return found.value


def spans(parts: list[Part]) -> list[tuple[float, float]]:
    return [(part.notes["start"], part.notes["end"]) for part in parts]


def error_of(samples: Any, pitch: float = 440.0) -> float:
    """Against the same tone at the encoder's rate, apart from the ends."""
    wanted = tone(RATE, len(samples) / RATE, pitch)[:, 0]
    return float(np.abs(samples - wanted)[500:-500].max())


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_any_rate_becomes_the_encoders(reader: Reader, rate: int) -> None:
    decoded = reader.decode(sound(tone(rate, 3), rate, subtype="FLOAT"))
    assert decoded.content.dtype == np.float32
    assert abs(len(decoded.content) - 3 * RATE) <= 1
    assert error_of(decoded.content) < 2e-4
    assert decoded.notes["seconds"] == 3.0
    assert decoded.notes["recorded_at_hz"] == rate


def test_what_the_encoders_rate_cannot_hold_is_filtered_and_not_folded(reader: Reader) -> None:
    """A tone of 13 kHz would be heard as one of 3 kHz."""
    samples = reader.decode(sound(tone(48_000, 2, 13_000), 48_000, subtype="FLOAT")).content
    assert np.abs(samples)[500:-500].max() < 1e-3


@pytest.mark.parametrize("channels", [1, 2, 6, 8])
def test_channels_are_mixed_by_their_mean(reader: Reader, channels: int) -> None:
    pitches = [440.0 * (n + 1) for n in range(channels)]
    each = [tone(RATE, 1, pitch)[:, 0] for pitch in pitches]
    decoded = reader.decode(sound(np.stack(each, axis=1), RATE, subtype="FLOAT"))
    assert np.abs(decoded.content - np.mean(each, axis=0)).max() < 1e-6
    assert decoded.notes["channels"] == channels


@pytest.mark.parametrize(
    ("make", "most"),
    [
        (lambda: sound(tone(44_100, 3), 44_100), 1e-4),
        (lambda: sound(tone(44_100, 3), 44_100, "WAV", "PCM_24"), 1e-4),
        (lambda: sound(tone(44_100, 3), 44_100, "WAV", "ULAW"), 0.03),
        (lambda: sound(tone(44_100, 3), 44_100, "RF64"), 1e-4),
        (lambda: sound(tone(44_100, 3), 44_100, "FLAC"), 1e-4),
        (lambda: sound(tone(44_100, 3), 44_100, "AIFF"), 1e-4),
        (lambda: sound(tone(44_100, 3), 44_100, "AU"), 1e-4),
        (lambda: sound(tone(44_100, 3), 44_100, "CAF"), 1e-4),
        (lambda: sound(tone(44_100, 3), 44_100, "W64"), 1e-4),
        (lambda: sound(tone(44_100, 3), 44_100, "OGG"), 0.03),
        (lambda: sound(tone(48_000, 3), 48_000, "OGG", "OPUS"), 0.03),
        (lambda: sound(tone(44_100, 3), 44_100, "MP3"), 0.03),
        (lambda: encoded_sound(tone(44_100, 3, channels=2), 44_100, "ipod", "aac"), 0.03),
        (lambda: encoded_sound(tone(44_100, 3), 44_100, "ipod", "alac"), 1e-4),
        (lambda: encoded_sound(tone(48_000, 3), 48_000, "matroska", "libopus"), 0.03),
        (lambda: encoded_sound(tone(44_100, 3), 44_100, "mpegts", "mp2"), None),
        (lambda: encoded_sound(tone(44_100, 3), 44_100, "adts", "aac"), None),
        (lambda: film([scene(1)] * 10, sound=True), None),
    ],
)
def test_every_format_gives_the_same_sound(
    reader: Reader, make: Callable[[], bytes], most: float | None
) -> None:
    decoded = reader.decode(make())
    if most is not None:  # else what an encoder puts before the first sample is heard too
        assert error_of(decoded.content) < most
    spectrum = np.abs(np.fft.rfft(decoded.content * np.hanning(len(decoded.content))))
    pitch = spectrum.argmax() * RATE / len(decoded.content)
    assert pitch == pytest.approx(440, abs=2)
    assert 0.9 <= decoded.notes["seconds"] <= 3.2


def test_a_long_sound_is_cut_into_windows_with_overlap(reader: Reader) -> None:
    noise = np.random.default_rng(1).standard_normal((6 * RATE, 1)) / 10
    decoded = reader.decode(sound(noise, RATE))
    parts = reader.parts(decoded)
    assert spans(parts) == [(0.0, 2.0), (1.5, 3.5), (3.0, 5.0), (4.0, 6.0)]
    for part, (start, end) in zip(parts, spans(parts), strict=True):
        assert np.array_equal(part.content, decoded.content[int(start * RATE) : int(end * RATE)])
    assert len({part.sha256 for part in parts}) == 4


def test_a_short_sound_is_one_part(reader: Reader) -> None:
    (part,) = reader.parts(reader.decode(sound(tone(RATE, 0.3), RATE)))
    assert spans([part]) == [(0.0, 0.3)]


def test_windows_of_silence_are_left_out(reader: Reader) -> None:
    samples = np.concatenate([tone(RATE, 2), np.zeros((4 * RATE, 1)), tone(RATE, 2)])
    assert spans(reader.parts(reader.decode(sound(samples, RATE)))) == [
        (0.0, 2.0), (1.5, 3.5), (4.5, 6.5), (6.0, 8.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("samples", "length", "overlap", "found"),
    [
        (5, 10, 2, [(0, 5)]),
        (10, 10, 2, [(0, 10)]),
        (11, 10, 2, [(0, 10), (1, 11)]),
        (26, 10, 2, [(0, 10), (8, 18), (16, 26)]),
        (27, 10, 2, [(0, 10), (8, 18), (16, 26), (17, 27)]),
        (20, 10, 99, [(0, 10), (5, 15), (10, 20)]),
        (3, 1, 5, [(0, 1), (1, 2), (2, 3)]),
    ],
)
def test_windows(samples: int, length: int, overlap: int, found: list[tuple[int, int]]) -> None:
    assert list(windows(samples, length, overlap)) == found


def claiming(seconds: int) -> bytes:
    """A WAV of one second whose header says something else."""
    data = bytearray(sound(tone(8000, 1), 8000))
    start = data.index(b"data") + 4
    data[start : start + 4] = (seconds * 16_000).to_bytes(4, "little")
    return bytes(data)


def test_a_header_that_claims_hours_is_bounded_by_what_is_there(reader: Reader) -> None:
    assert reader.decode(claiming(36_000)).notes["seconds"] == 1.0


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: b"", "empty_file"),
        (lambda: b"<!doctype html><html>", "not_audio"),
        (lambda: b"#EXTM3U\nfile:///etc/passwd\n", "not_audio"),
        (lambda: b"\x89PNG\r\n\x1a\n" + bytes(100), "not_audio"),
        (lambda: pdf(), "not_audio"),
        (lambda: film([scene(1)] * 3), "no_audio"),
        (lambda: sound(np.zeros((0, 1)), 8000), "zero_length"),
        (lambda: sound(np.zeros((8000, 2)), 8000), "silence"),
        (lambda: sound(np.full(8000, 1 / 2**15), 8000), "silence"),
        (lambda: sound(np.array([0.5, np.nan] * 99), 8000, subtype="FLOAT"), "bad_samples"),
        (lambda: sound(np.array([0.5, -np.inf] * 99), 8000, subtype="DOUBLE"), "bad_samples"),
        (lambda: sound(tone(8000, 1), 8000)[:30], "corrupt"),
        (lambda: b"fLaC" + bytes(500), "unsupported_format"),
        (lambda: b"OggS" + bytes(500), "corrupt"),
        (lambda: sound(tone(100, 1), 100), "corrupt"),
        (lambda: encoded_sound(tone(16_000, 1), 16_000, "ipod", "aac")[:4000], "corrupt"),
    ],
)
def test_what_is_no_sound_has_a_code(make: Callable[[], bytes], code: str) -> None:
    error = refused(make())
    assert error.code == code, error.message


@pytest.mark.parametrize(
    ("limits", "code", "says"),
    [
        ({"max_media_seconds": 5.0}, "too_long", "more than 5 s (PIPELINE_MAX_MEDIA_SECONDS)"),
        ({"max_decoded_bytes": 64_000 * 7}, "too_long", "7 s (PIPELINE_MAX_DECODED_BYTES)"),
        ({"max_parts": 3}, "too_many_parts", "3 windows (PIPELINE_MAX_PARTS)"),
    ],
)
def test_a_sound_beyond_a_limit_says_which(limits: dict[str, Any], code: str, says: str) -> None:
    error = refused(sound(tone(48_000, 9), 48_000), **limits)
    assert error.code == code
    assert says in error.message


def test_without_the_extra_a_sound_says_what_to_install(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding_reader, "find_spec", lambda name: None)
    with pytest.raises(PermanentRowError, match=r"pipeline\[audio\]") as found:
        reader.decode(sound(tone(8000, 1), 8000))
    assert found.value.code == "missing_extra"


def test_its_probes_are_sounds_at_whatever_rate_the_encoder_has(reader: Reader) -> None:
    probes = AUDIO.probes()
    assert probes == AUDIO.probes()
    for probe in probes:
        (here,) = AUDIO.parts(AUDIO.decode(probe, OPTIONS), SoundEncoder(), OPTIONS)  # type: ignore[arg-type]
        (there,) = reader.parts(reader.decode(probe))
        assert len(here.content) == len(there.content) == 2 * RATE
        assert np.abs(here.content - there.content)[500:-500].max() < 0.02  # twice resampled


def test_sounds_are_told_by_their_first_bytes() -> None:
    for kind in ("WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64"):
        assert AUDIO.sniff(sound(tone(44_100, 1), 44_100, kind)[:4096]), kind
    assert AUDIO.sniff(encoded_sound(tone(16_000, 1), 16_000, "ipod", "aac")[:4096])
    assert not AUDIO.sniff(film([scene(1)])[:4096])
    assert not AUDIO.sniff(b"RIFF\0\0\0\0WEBPVP8 ")
    assert not AUDIO.sniff(b"\xff\xd8\xff\xe0")  # JPEG begins as a frame of MPEG does


def test_it_is_known_by_its_name_and_its_suffixes() -> None:
    assert modalities.get("audio") is AUDIO
    assert modalities.of_suffix(".mp3") is AUDIO


def test_an_encoder_that_does_not_say_its_rate_gets_the_usual_one() -> None:
    with AUDIO.reader(StillEncoder(), OPTIONS) as opened:  # type: ignore[arg-type]
        decoded = opened.decode(sound(tone(8000, 1), 8000))
    assert isinstance(decoded, Decoded)
    assert len(decoded.content) == 48_000
