"""Damaged sounds, films and documents: each is decoded or has a code, and costs nobody else."""

import collections
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.errors import RowError
from pipeline.modalities.audio import AUDIO
from pipeline.modalities.base import Modality, Reader, ReadOptions
from pipeline.modalities.document import DOCUMENT
from pipeline.modalities.video import VIDEO
from tests.helpers.media import (
    SoundEncoder,
    encoded_sound,
    film,
    panned,
    pdf,
    scene,
    sound,
    text_of,
    tone,
)
from tests.helpers.mutations import mutated

for package in ("av", "soundfile", "pypdfium2"):
    pytest.importorskip(package, reason="needs the extras [audio,video,documents]")

OPTIONS = ReadOptions(decode_processes=1, media_cpu_seconds=30)


@functools.cache
def good_film(kind: str, codec: str) -> bytes:
    return film(panned(scene(1), 8) + panned(scene(2), 8), kind=kind, codec=codec, rate=25)


GOOD: list[tuple[Modality, Callable[[], bytes]]] = [
    (VIDEO, lambda: good_film("mp4", "mpeg4")),
    (VIDEO, lambda: good_film("mp4", "libx264")),
    (VIDEO, lambda: good_film("matroska", "libvpx")),
    (VIDEO, lambda: good_film("avi", "mpeg4")),
    (VIDEO, lambda: good_film("mpegts", "mpeg2video")),
    (VIDEO, lambda: good_film("flv", "flv1")),
    (AUDIO, lambda: sound(tone(8000, 1), 8000)),
    (AUDIO, lambda: sound(tone(8000, 1), 8000, "WAV", "FLOAT")),
    (AUDIO, lambda: sound(tone(8000, 1), 8000, "FLAC")),
    (AUDIO, lambda: sound(tone(8000, 1), 8000, "OGG")),
    (AUDIO, lambda: sound(tone(16_000, 1), 16_000, "MP3")),
    (AUDIO, lambda: sound(tone(8000, 1), 8000, "AIFF")),
    (AUDIO, lambda: encoded_sound(tone(16_000, 1), 16_000, "ipod", "aac")),
    (AUDIO, lambda: encoded_sound(tone(48_000, 1), 48_000, "matroska", "libopus")),
    (DOCUMENT, lambda: pdf([text_of("one"), text_of("two")])),
    (DOCUMENT, lambda: DOCUMENT.probes()[1]),
]


@pytest.fixture(scope="module")
def readers() -> Iterator[dict[str, Reader]]:
    kinds = (VIDEO, AUDIO, DOCUMENT)
    opened = {m.name: m.reader(SoundEncoder(), OPTIONS) for m in kinds}  # type: ignore[arg-type]
    yield opened
    for reader in opened.values():
        reader.close()


def outcome(reader: Reader, data: bytes) -> str:
    try:
        parts = reader.parts(reader.decode(data))
    except RowError as exc:
        return exc.code
    for part in parts:
        if "end" in part.notes:
            assert 0 <= part.notes["start"] < part.notes["end"]
        assert part.sha256 is not None
    return "done"


def check(readers: dict[str, Reader], per_file: int, first: int) -> None:
    found: collections.Counter[str] = collections.Counter()
    for place, (modality, make) in enumerate(GOOD):
        good = make()
        for number in range(per_file):
            data = mutated(good, first + place * 10_000 + number)
            result = outcome(readers[modality.name], data)
            found[result] += 1
            assert result not in {"internal", "timeout", "out_of_memory"}, (place, number, result)
        assert outcome(readers[modality.name], good) == "done"  # its neighbours are decoded
    print(dict(found))
    decoders = [c for c in psutil.Process().children() if "decoding" in " ".join(c.cmdline())]
    assert len(decoders) <= 3
    for process in decoders:
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)
        assert peak < 2**20  # kilobytes


def test_damaged_files_are_decoded_or_have_a_code(readers: dict[str, Reader]) -> None:
    check(readers, 2, 0)


@pytest.mark.soak
def test_many_damaged_files_are_decoded_or_have_a_code(readers: dict[str, Reader]) -> None:
    check(readers, 40, 1_000_000)


@pytest.mark.parametrize("modality", [VIDEO, AUDIO, DOCUMENT], ids=lambda m: m.name)
@pytest.mark.parametrize(
    "data",
    [
        b"\0", b"RIFF", b"RIFF\xff\xff\xff\xffWAVE", b"OggS", b"ID3", b"fLaC", b"%PDF-", b"FLV\x01",
        b"\0\0\0\x08ftyp", b"\0\0\0\x01mdat" + b"\xff" * 8, b"\x1aE\xdf\xa3\xff",
        b"\xff\xfb\x90\x00",
        b"FORM\0\0\0\0AIFF", b"\0\0\x01\xba", b"#!AMR\n",
        b"G" + bytes(187) + b"G" + bytes(187) + b"G" * 9,
        b"#EXTM3U\n", b"ffconcat version 1.0\n", b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
        b"\x1f\x8b\x08",
    ],
)  # fmt: skip
def test_beginnings_of_files_have_a_code(
    readers: dict[str, Reader], modality: Modality, data: bytes
) -> None:
    assert outcome(readers[modality.name], data) in {
        *("corrupt", "truncated", "unsupported_format", "not_a_video", "not_audio", "zero_length"),
        *("not_a_document", "no_video", "no_audio", "no_pages"),
    }


def test_decoder_processes_of_media_are_light_and_know_no_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:secret@db/x")
    for modality, data in (
        (VIDEO, VIDEO.probes()[1]),
        (AUDIO, AUDIO.probes()[0]),
        (DOCUMENT, pdf()),
    ):
        encoder: Any = SoundEncoder()
        with modality.reader(encoder, OPTIONS) as reader:
            before = set(psutil.Process().children())
            reader.decode(data)
            name = f"pipeline.modalities.{modality.name}.task"
            (own,) = set(psutil.Process().children()) - before
            assert name in " ".join(own.cmdline())
            mapped = Path(f"/proc/{own.pid}/maps").read_text()
            assert not any(library in mapped for library in ("torch", "psycopg", "libpq"))
            assert "DATABASE_URL" not in own.environ()
            assert own.rlimit(psutil.RLIMIT_AS)[0] == own.rlimit(psutil.RLIMIT_AS)[1] > 0
            files = [file.path for file in own.open_files()]
            assert files == []
            assert not own.net_connections()
