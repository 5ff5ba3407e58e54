"""No file takes the worker down: each is decoded or fails with a code, in bounded time."""

import importlib
import json
import os
import shlex
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image

from pipeline.errors import (
    ROW_ERROR_CODES,
    ConfigurationError,
    PermanentRowError,
    RowError,
    TransientRowError,
)
from pipeline.modalities.base import ReadOptions
from pipeline.modalities.image.decoder import ImageDecoder
from tests.helpers.corpus import Malformed, good_pictures, handmade, mutated, truncated
from tests.helpers.images import ADOBE_RGB, difference, encode, png_chunk, rgb_profile, sample

SETTINGS = ReadOptions(decode_processes=1)
ANIMATED = ("gif-animated", "webp-animated", "png-animated")


@pytest.fixture(scope="module")
def decoder() -> Iterator[ImageDecoder]:
    with ImageDecoder(SETTINGS) as decoder:
        yield decoder


def outcome(decoder: ImageDecoder, data: bytes) -> str:
    """``done`` or the error's code; anything else is raised."""
    try:
        picture = decoder.decode(data)
    except RowError as exc:
        failure = exc
    else:
        assert picture.content.mode == "RGB"
        return "done"
    assert ROW_ERROR_CODES[failure.code] is failure.permanent
    assert 0 < len(failure.message) < 300
    return failure.code


# -- the corpus ----------------------------------------------------------------------------------


def test_the_corpus_is_large_and_always_the_same() -> None:
    files = [*truncated(), *mutated(), *handmade()]
    assert len(files) >= 300
    assert len({file.name for file in files}) == len(files)
    assert [file.data for file in mutated()] == [file.data for file in mutated()]


def test_every_good_picture_of_the_corpus_is_decoded(decoder: ImageDecoder) -> None:
    assert {outcome(decoder, data) for data in good_pictures().values()} == {"done"}


@pytest.mark.parametrize("file", handmade(), ids=lambda file: file.name)
def test_a_handmade_file_gets_its_code(decoder: ImageDecoder, file: Malformed) -> None:
    found = outcome(decoder, file.data)
    if file.code is None:
        assert found in {"truncated", "corrupt"}
    else:
        assert found == file.code


def test_a_cut_file_is_an_error_and_never_a_picture(decoder: ImageDecoder) -> None:
    whole = {name: decoder.decode(data).content for name, data in good_pictures().items()}
    for file in truncated():
        name = file.name.partition(" cut")[0]
        found = outcome(decoder, file.data)
        if found == "done":  # only where everything of the first frame was there
            assert name in ANIMATED, file.name
            assert difference(decoder.decode(file.data).content, whole[name]) == 0, file.name
        else:
            expected = {"truncated", "corrupt", "empty_file", "not_an_image"}
            assert found in expected, file.name


def test_every_mutated_file_is_decoded_or_fails_with_a_code(decoder: ImageDecoder) -> None:
    started, files = time.monotonic(), list(mutated())
    found = [outcome(decoder, file.data) for file in files]
    assert len(found) == len(files)
    assert "timeout" not in found
    assert time.monotonic() - started < 60
    assert outcome(decoder, encode(sample(), "PNG")) == "done"


def test_the_name_and_the_code_of_what_is_refused(decoder: ImageDecoder) -> None:
    expected = {
        "EPS": "EPS/PostScript",
        "SVG": "SVG",
        "PSD": "PSD",
        "FITS": "FITS",
        "PDF": "PDF",
        "an HTML page": "an HTML page",
        "an empty file": "empty file",
    }
    for file in handmade():
        if file.name in expected:
            with pytest.raises(PermanentRowError, match=expected[file.name]) as failure:
                decoder.decode(file.data)
            assert "expected JPEG, PNG" in failure.value.message


def test_whole_jpegs_that_end_in_mid_grey_are_no_damage(decoder: ImageDecoder) -> None:
    """What half a JPEG looks like, but whole."""
    image = sample()
    image.paste((128, 128, 128), (0, 30, 96, 64))
    for mode in ("RGB", "L", "CMYK"):
        picture = image.convert(mode)
        if mode == "CMYK":
            picture.paste((128, 128, 128, 128), (0, 30, 96, 64))
        for options in (
            {},
            {"progressive": True},
            {"restart_marker_blocks": 1},
            {"restart_marker_rows": 1, "progressive": True},
        ):
            data = encode(picture, "JPEG", quality=90, **options)
            assert outcome(decoder, data) == "done", (mode, options)
            assert outcome(decoder, data + b"trailing") == "done", (mode, options)


def test_whole_pngs_that_end_in_zeros_are_no_damage(decoder: ImageDecoder) -> None:
    for mode in ("1", "L", "LA", "RGB", "RGBA", "P", "I;16"):
        assert outcome(decoder, encode(Image.new(mode, (33, 17)), "PNG")) == "done", mode
    rows = b"".join(  # 3 x 3, Adam7: passes of 1x1, 1x1 (from x = 2 .. none), 2x1, 1x2 and 3x1
        [b"\0\0", b"\0\0", b"\0\0\0", b"\0\0", b"\0\0", b"\0\0\0\0"]
    )
    header = struct.pack(">IIBBBBB", 3, 3, 8, 0, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)
    assert outcome(decoder, data) == "done"


# -- limits --------------------------------------------------------------------------------------


def test_limits_are_inclusive() -> None:
    settings = ReadOptions(decode_processes=1, max_pixels=100, max_side=20, max_bytes=2000)
    with ImageDecoder(settings) as decoder:
        for size, expected in {
            (10, 10): "done",
            (20, 5): "done",
            (101, 1): "too_large",
            (21, 1): "too_large",
            (1, 21): "too_large",
            (11, 10): "too_large",
        }.items():
            for format_name in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"):
                data = encode(Image.new("RGB", size), format_name)
                assert outcome(decoder, data) == expected, (size, format_name)
        whole = encode(Image.new("RGB", (4, 4)), "PNG")
        assert outcome(decoder, whole + b"\0" * (2000 - len(whole))) == "done"
        with pytest.raises(PermanentRowError, match="2,001 bytes; expected at most 2,000"):
            decoder.decode(whole + b"\0" * (2001 - len(whole)))


def test_a_legal_picture_at_the_cap_fits_into_the_memory_limit() -> None:
    """The costliest path (alpha, colour profile, orientation)."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGBA", (6000, 4000), (10, 200, 30, 128))
    data = encode(
        image, "PNG", compress_level=1, exif=exif, icc_profile=rgb_profile(ADOBE_RGB, 2.2)
    )
    with ImageDecoder(ReadOptions(decode_processes=1, max_pixels=24_000_000)) as decoder:
        picture = decoder.decode(data)
    assert picture.content.size == (4000, 6000)
    assert picture.notes["icc"] == "converted to sRGB"


# -- crashes, hangs and floods -------------------------------------------------------------------

MISBEHAVE = '''
import ctypes, json, os, sys, time

def by_width(image):
    """Stands for a defect in a decoder: what happens depends on the picture's width."""
    if image.width == 11:
        ctypes.string_at(0)
    if image.width == 12:
        os._exit(3)
    if image.width == 13:
        with open(__file__ + ".hanging", "w") as file:
            file.write(str(os.getpid()))
        time.sleep(600)
    if image.width == 14:
        bytearray(64 * 2**30)
    if image.width == 16:
        os.kill(os.getpid(), 9)
    if image.width == 15:
        raise KeyError("a defect")
    return image

def report(image):
    with open(os.environ["PATH"].split(os.pathsep)[0] + "/report.json", "w") as file:
        json.dump([sorted(sys.modules), sorted(os.environ), os.getpid()], file)
    return image.resize((2, 2))
'''


@pytest.fixture
def misbehave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ImageDecoder]:
    """A decoder whose ``prepare`` is one of the functions above."""
    (tmp_path / "misbehave.py").write_text(MISBEHAVE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "misbehave", raising=False)
    module = importlib.import_module("misbehave")
    decoders: list[ImageDecoder] = []

    def make(name: str) -> ImageDecoder:
        settings = ReadOptions(decode_processes=1, decode_timeout_seconds=3.0)
        decoders.append(ImageDecoder(settings, getattr(module, name)))
        return decoders[-1]

    yield make
    del sys.modules["misbehave"]
    for decoder in decoders:
        decoder.close()


def of_width(width: int) -> bytes:
    return encode(Image.new("RGB", (width, 8), "red"), "PNG")


@pytest.mark.parametrize(
    ("width", "code"),
    [
        (11, "decoder_crashed"),
        (12, "decoder_crashed"),
        (14, "too_large"),
        (13, "timeout"),
        (15, "internal"),
        (16, "out_of_memory"),
    ],
)
def test_a_decoder_that_dies_or_hangs_costs_one_row(
    misbehave: Callable[[str], ImageDecoder], width: int, code: str
) -> None:
    decoder = misbehave("by_width")
    assert outcome(decoder, of_width(8)) == "done"
    assert outcome(decoder, of_width(width)) == code
    assert outcome(decoder, of_width(8)) == "done"
    assert [child for child in children() if child.status() == psutil.STATUS_ZOMBIE] == []


def test_a_crash_says_how_it_died(misbehave: Callable[[str], ImageDecoder]) -> None:
    decoder = misbehave("by_width")
    with pytest.raises(PermanentRowError, match=f"signal {signal.SIGSEGV.value}"):
        decoder.decode(of_width(11))
    with pytest.raises(PermanentRowError, match="exit status 3"):
        decoder.decode(of_width(12))
    with pytest.raises(TransientRowError, match="decoding took more than 3 s"):
        decoder.decode(of_width(13))


def test_processes_that_do_not_start_are_not_the_pictures_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("sys.path", [])
        with (
            ImageDecoder(SETTINGS) as decoder,
            pytest.raises(TransientRowError, match="exit status 1") as failure,
        ):
            decoder.decode(of_width(8))
    assert failure.value.code == "internal"
    monkeypatch.setattr("sys.executable", "/no/such/python")
    with ImageDecoder(SETTINGS) as decoder, pytest.raises(TransientRowError) as failure:
        decoder.decode(of_width(8))
    assert failure.value.code == "internal"


def test_a_process_killed_from_outside_costs_no_row(decoder: ImageDecoder) -> None:
    assert outcome(decoder, of_width(8)) == "done"
    for child in children():
        child.kill()
    assert outcome(decoder, of_width(8)) == "done"


def children() -> list[psutil.Process]:
    found = psutil.Process().children()
    return [c for c in found if "pipeline.modalities.image" in " ".join(c.cmdline() or [""])]


def test_decoder_processes_are_light_and_know_no_secrets(
    misbehave: Callable[[str], ImageDecoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:secret@db/x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin")
    picture = misbehave("report").decode(of_width(8))
    modules, environment, _ = json.loads((tmp_path / "report.json").read_text())
    assert picture.content.size == (2, 2)  # prepare ran there
    assert {"torch", "psycopg", "sqlalchemy", "httpx", "pydantic"}.isdisjoint(modules)
    assert set(environment) <= {
        "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME",
        "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS",
    }  # fmt: skip


def test_many_threads_get_their_own_pictures() -> None:
    colours = [(number * 7 % 256, number * 13 % 256, number) for number in range(60)]
    results: dict[int, object] = {}

    def work(decoder: ImageDecoder, start: int) -> None:
        for number in range(start, 60, 6):
            data = encode(Image.new("RGB", (8 + number, 8), colours[number]), "PNG")
            results[number] = decoder.decode(data).content.getcolors()

    with ImageDecoder(ReadOptions(decode_processes=3)) as decoder:
        threads = [threading.Thread(target=work, args=(decoder, start)) for start in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(children()) <= 4  # three of ours and the module's
    assert results == {
        number: [((8 + number) * 8, colour)] for number, colour in enumerate(colours)
    }


def test_a_closed_decoder_has_no_processes_and_says_so() -> None:
    before = {child.pid for child in children()}
    decoder = ImageDecoder(SETTINGS)
    decoder.decode(of_width(8))
    assert {child.pid for child in children()} != before
    decoder.close()
    decoder.close()
    assert {child.pid for child in children()} == before
    with pytest.raises(ConfigurationError, match="closed"):
        decoder.decode(of_width(8))


def test_a_fork_has_processes_of_its_own() -> None:
    with ImageDecoder(SETTINGS) as decoder:
        decoder.decode(of_width(8))
        pid = os.fork()
        if pid == 0:  # pragma: no cover - the other process
            try:
                good = decoder.decode(of_width(9)).content.size == (9, 8)
                decoder.close()
                os._exit(0 if good else 1)
            except BaseException:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert decoder.decode(of_width(10)).content.size == (10, 8)


# -- as a program --------------------------------------------------------------------------------

SCRIPT = """
import sys, time
from pathlib import Path
import psutil
from pipeline.modalities.image.decoder import ImageDecoder
from pipeline.modalities.base import ReadOptions
decoder = ImageDecoder(ReadOptions(decode_processes=1))
decoder.decode(Path(sys.argv[1]).read_bytes())
children = psutil.Process().children(recursive=True)
Path(sys.argv[2]).write_text(" ".join(str(child.pid) for child in children))
time.sleep(float(sys.argv[3]))
"""


@pytest.fixture
def script(tmp_path: Path) -> list[str]:
    """A program without an ``if __name__ == "__main__"``."""
    (tmp_path / "program.py").write_text(SCRIPT)
    (tmp_path / "picture.png").write_bytes(of_width(8))
    names = [tmp_path / name for name in ("program.py", "picture.png", "pids")]
    return [sys.executable, *map(str, names)]


def pids_from(file: Path) -> list[int]:
    deadline = time.monotonic() + 60
    while not file.exists() or not file.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return [int(pid) for pid in file.read_text().split()]


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 20
    while any(psutil.pid_exists(pid) for pid in pids):
        assert time.monotonic() < deadline, "decoder processes outlived their parent"
        time.sleep(0.02)


def test_a_plain_script_works_with_every_standard_stream_closed(
    script: list[str], tmp_path: Path
) -> None:
    command = f"{shlex.join([*script, '0'])} <&- >&- 2>&-"
    assert subprocess.run(["/bin/sh", "-c", command], check=False, timeout=60).returncode == 0
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 1
    wait_until_gone(pids)


def test_decoder_processes_die_with_a_killed_parent(script: list[str], tmp_path: Path) -> None:
    parent = subprocess.Popen([*script, "600"])
    pids = pids_from(tmp_path / "pids")
    assert all(psutil.pid_exists(pid) for pid in pids)
    parent.kill()
    parent.wait()
    wait_until_gone(pids)


def test_a_decoder_that_hangs_dies_soon_after_its_parent(tmp_path: Path) -> None:
    """It does not look whether the parent is gone, but its own alarm clock ends it."""
    (tmp_path / "misbehave.py").write_text(MISBEHAVE)
    (tmp_path / "picture.png").write_bytes(of_width(13))
    settings = "ReadOptions(decode_processes=1"
    program = SCRIPT.replace(
        f"{settings})", f"{settings}, decode_timeout_seconds=1), misbehave.by_width"
    )
    (tmp_path / "program.py").write_text(f"import misbehave\n{program}")
    names = [str(tmp_path / name) for name in ("program.py", "picture.png", "pids")]
    parent = subprocess.Popen([sys.executable, *names, "0"])
    try:
        pids = pids_from(tmp_path / "misbehave.py.hanging")
    finally:
        parent.kill()
        parent.wait()
    wait_until_gone(pids)
