"""Small files that cost much: each costs its own row a bounded amount, once."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image

from pipeline.errors import PermanentRowError, RowError
from pipeline.modalities.base import ReadOptions
from pipeline.modalities.image.decoder import ImageDecoder
from pipeline.settings import Settings
from tests.helpers.bombs import jpeg_of_many_scans, tiff_of_many_strips, webp_of_one_colour
from tests.helpers.images import encode

SMALL = encode(Image.new("RGB", (8, 8), "red"), "PNG")
MEGA = 10**6


def failure(decoder: ImageDecoder, data: bytes) -> RowError:
    with pytest.raises(RowError) as found:
        decoder.decode(data)
    return found.value


def children() -> list[psutil.Process]:
    found = psutil.Process().children()
    return [c for c in found if "pipeline.modalities.image" in " ".join(c.cmdline() or [""])]


@pytest.fixture
def before() -> set[int]:
    return {child.pid for child in children()}


@pytest.fixture
def own(before: set[int]) -> Callable[[], list[psutil.Process]]:
    """The processes of this test's decoder."""
    return lambda: [child for child in children() if child.pid not in before]


@pytest.fixture
def hurried() -> Iterator[ImageDecoder]:
    """Gives an image one second of the processor, and all the time by the clock."""
    options = ReadOptions(decode_processes=1, decode_cpu_seconds=1, decode_timeout_seconds=600)
    with ImageDecoder(options) as decoder:
        yield decoder


@pytest.mark.parametrize(
    "make",
    [lambda: jpeg_of_many_scans(2000, 3000), lambda: tiff_of_many_strips(2_000_000)],
    ids=["JPEG of 2,000 scans", "TIFF of 2,000,000 strips"],
)
def test_a_file_that_uses_up_its_time_fails_for_good(
    hurried: ImageDecoder, make: Callable[[], bytes]
) -> None:
    error = failure(hurried, make())
    assert (error.code, error.permanent) == ("too_complex", True)
    assert "1 s of the processor (PIPELINE_DECODE_CPU_SECONDS)" in error.message
    assert hurried.decode(SMALL).content.size == (8, 8)  # the process was replaced


def test_it_is_not_tried_again(hurried: ImageDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.modalities.decoding import pool as module

    started = []
    start = module.DecoderProcess.__init__

    def counted(self: module.DecoderProcess, name: str, setup: dict[str, object]) -> None:
        started.append(self)
        start(self, name, setup)

    monkeypatch.setattr(module.DecoderProcess, "__init__", counted)
    failure(hurried, jpeg_of_many_scans(2000, 3000))
    assert len(started) == 1


def sleepy(image: Image.Image) -> Image.Image:
    time.sleep(1.5)
    return image


def test_time_by_the_clock_is_not_that_of_the_processor() -> None:
    """On a busy machine a good image takes long; that does not make it a bad one."""
    options = ReadOptions(decode_processes=1, decode_cpu_seconds=1, decode_timeout_seconds=600)
    with ImageDecoder(options, sleepy) as decoder:
        for _ in range(2):
            assert decoder.decode(SMALL).content.size == (8, 8)


def test_the_time_of_one_image_is_not_that_of_the_next(hurried: ImageDecoder) -> None:
    data = jpeg_of_many_scans(1, 3000)
    for _ in range(12):  # more than a second in all
        assert hurried.decode(data).content.size == (3000, 3000)


def test_an_image_that_needs_more_memory_says_which_setting() -> None:
    options = ReadOptions(decode_processes=1, decode_memory_bytes=300 * MEGA)
    with ImageDecoder(options) as decoder:
        error = failure(decoder, webp_of_one_colour(7000, 7000))
        assert (error.code, error.permanent) == ("too_large", True)
        assert error.message == (
            "WEBP of 7000 x 7000 pixels, which takes 949 MB, more than the 300 MB that decoding "
            "an image may take (PIPELINE_DECODE_MEMORY_BYTES)"
        )
        assert decoder.decode(webp_of_one_colour(3000, 3000)).content.size == (3000, 3000)


def test_an_image_of_a_few_bytes_takes_what_its_pixels_need(
    own: Callable[[], list[psutil.Process]],
) -> None:
    data = webp_of_one_colour(7000, 7000)
    assert len(data) < 40
    with ImageDecoder(ReadOptions(decode_processes=1), prepare=thumbnail) as decoder:
        assert decoder.decode(data).content.size == (7, 7)
        (process,) = own()
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)
        assert peak * 1024 < 13 * 49 * MEGA + 80 * MEGA  # libwebp's canvases would be 8 more


def thumbnail(image: Image.Image) -> Image.Image:
    return image.resize((7, 7))


def greedy(image: Image.Image) -> Image.Image:
    bytearray(500 * MEGA)
    return image


def test_the_address_space_of_a_decoder_is_limited(
    own: Callable[[], list[psutil.Process]],
) -> None:
    options = ReadOptions(decode_processes=1, decode_memory_bytes=100 * MEGA)
    with ImageDecoder(options, greedy) as decoder:
        error = failure(decoder, SMALL)
        assert error.code == "too_large"
        assert "PIPELINE_DECODE_MEMORY_BYTES" in error.message
        (process,) = own()  # it lives on
        soft, hard = process.rlimit(psutil.RLIMIT_AS)
        assert soft == hard
        assert soft < process.memory_info().vms + 400 * MEGA


def test_the_settings_reach_the_decoder() -> None:
    settings = Settings(decode_cpu_seconds=3, decode_memory_bytes=5, decode_timeout_seconds=4)
    options = ReadOptions.of(settings)
    assert (options.decode_cpu_seconds, options.decode_memory_bytes) == (3, 5)
    assert options.decode_timeout_seconds == 4


def test_limits_of_pixels_are_those_of_memory_where_nothing_else_is_said() -> None:
    """Otherwise MAX_PIXELS would promise what the memory does not hold."""
    options = ReadOptions(decode_processes=1, max_pixels=1_000_000, max_bytes=MEGA)
    with ImageDecoder(options) as decoder:
        assert decoder.decode(webp_of_one_colour(1000, 1000)).content.size == (1000, 1000)
        error = failure(decoder, webp_of_one_colour(1001, 1000))
        assert isinstance(error, PermanentRowError)
        assert "expected at most 1,000,000 pixels" in error.message
