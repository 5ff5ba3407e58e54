"""Films: cut where the picture changes, one right frame for each span."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from pipeline import modalities
from pipeline.errors import PermanentRowError, RowError
from pipeline.modalities.base import Part, Reader, ReadOptions
from pipeline.modalities.decoding import reader as decoding_reader
from pipeline.modalities.decoding.pool import DecoderPool
from pipeline.modalities.image.thumbnail import Thumbnail
from pipeline.modalities.moments import Moment
from pipeline.modalities.video import VIDEO
from tests.helpers.media import (
    SIZE,
    StillEncoder,
    encoded_sound,
    film,
    panned,
    pdf,
    scene,
    sound,
    tone,
    turned,
)

pytest.importorskip("av", reason="needs the extra [video]")

OPTIONS = ReadOptions(decode_processes=1)


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with VIDEO.reader(StillEncoder(), OPTIONS) as opened:  # type: ignore[arg-type]
        yield opened


def read(reader: Reader, data: bytes) -> list[Part]:
    return reader.parts(reader.decode(data))


def spans(parts: list[Part]) -> list[tuple[float, float]]:
    return [(part.notes["start"], part.notes["end"]) for part in parts]


def refused(data: bytes, **limits: Any) -> RowError:
    options = ReadOptions(decode_processes=1, **limits)
    with VIDEO.reader(StillEncoder(), options) as opened, pytest.raises(RowError) as found:  # type: ignore[arg-type]
        opened.decode(data)
    return found.value


def difference(image: Image.Image, pixels: Any) -> float:
    small = image.resize((40, 30), Image.Resampling.BOX)
    other = Image.fromarray(pixels).resize((40, 30), Image.Resampling.BOX)
    return float(np.abs(np.asarray(small).astype(float) - np.asarray(other)).mean())


@functools.cache
def two_shots(*, index_first: bool = False, **given: Any) -> bytes:
    options = {"movflags": "faststart"} if index_first else {}
    return film(panned(scene(1), 30) + panned(scene(2), 30), options=options, **given)


FOR_PROTECTION = b"\0\0\0\x18freesinfschm" + bytes(8)
KINDS = [
    ("mp4", "mpeg4"), ("mp4", "libx264"), ("mov", "mjpeg"), ("matroska", "libvpx"),
    ("avi", "mpeg4"),
    ("mpegts", "mpeg2video"), ("flv", "flv1"), ("matroska", "ffv1"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "codec"), KINDS)
def test_a_cut_divides_a_film(reader: Reader, kind: str, codec: str) -> None:
    rate = 25 if kind in ("flv", "mpegts") else 10
    shots = [panned(scene(n), 3 * rate, 1) for n in (1, 2)]
    parts = read(reader, film(shots[0] + shots[1], kind=kind, codec=codec, rate=rate))
    assert spans(parts) == [(0.0, 3.0), (3.0, 6.0)]
    for part, shot in zip(parts, shots, strict=True):
        assert part.content.size == SIZE
        # One of its own frames, out of the middle.
        assert (
            min(difference(part.content, frame) for frame in shot[rate * 3 // 4 : rate * 9 // 4])
            < 9
        )


def test_what_goes_on_ends_after_so_many_seconds(reader: Reader) -> None:
    data = film(panned(scene(3), 250, 1))
    assert spans(read(reader, data)) == [(0.0, 10.0), (10.0, 20.0), (20.0, 25.0)]
    with VIDEO.reader(StillEncoder(), ReadOptions(video_segment_seconds=8)) as opened:  # type: ignore[arg-type]
        found = spans(read(opened, data))
    assert found == [(0.0, 8.0), (8.0, 16.0), (16.0, 25.0)]  # one second is no part of its own


def test_what_stands_still_is_stored_once(reader: Reader) -> None:
    still = [scene(4)] * 120 + [scene(5)] * 250
    assert spans(read(reader, film(still))) == [(0.0, 12.0), (12.0, 37.0)]


def test_a_flash_is_no_shot(reader: Reader) -> None:
    white = [np.full_like(scene(1), 255)]
    frames = panned(scene(6), 20, 1) + white + panned(scene(6), 20, 1)
    parts = read(reader, film(frames))
    assert len(parts) <= 2
    assert all(difference(part.content, white[0]) > 40 for part in parts)


def test_a_film_of_one_frame_has_a_span(reader: Reader) -> None:
    (part,) = read(reader, film([scene(7)]))
    assert 0 == part.notes["start"] < part.notes["end"] <= 1


def test_the_frame_is_a_sharp_one(reader: Reader) -> None:
    sharp = Image.fromarray(scene(8))
    blurred = np.asarray(sharp.filter(ImageFilter.GaussianBlur(2)))
    frames = [blurred] * 30
    for n in (14, 15):
        frames[n] = np.asarray(sharp)
    (part,) = read(reader, film(frames))
    assert difference(part.content, np.asarray(sharp)) < difference(part.content, blurred) / 2


def test_the_same_film_gives_the_same_parts(reader: Reader) -> None:
    one, other = (read(reader, two_shots()) for _ in range(2))
    assert [part.sha256 for part in one] == [part.sha256 for part in other]
    assert len({part.sha256 for part in one}) == 2
    assert None not in {part.sha256 for part in one}


@pytest.mark.parametrize(
    ("matrix", "operation"),
    [
        ((0, 1, -1, 0), Image.Transpose.ROTATE_270),  # a telephone held upright
        ((-1, 0, 0, -1), Image.Transpose.ROTATE_180),
        ((0, -1, 1, 0), Image.Transpose.ROTATE_90),
        ((-1, 0, 0, 1), Image.Transpose.FLIP_LEFT_RIGHT),
    ],
)
def test_a_turned_film_is_upright(
    reader: Reader, matrix: tuple[int, ...], operation: Image.Transpose
) -> None:
    (part,) = read(reader, turned(film([scene(9)] * 5), matrix))
    wanted = Image.fromarray(scene(9)).transpose(operation)
    assert part.content.size == wanted.size
    assert difference(part.content, np.asarray(wanted)) < 8


def test_pixels_that_are_not_square_are_made_so(reader: Reader) -> None:
    (part,) = read(reader, film([scene(9)] * 5, aspect=2))
    assert part.content.size == (2 * SIZE[0], SIZE[1])


def test_a_film_of_varying_rate_is_cut_by_its_times(reader: Reader) -> None:
    times = [0, 40, 80, 2000, 2040, 7000, 7040, 7500]
    frames = [scene(1)] * 5 + [scene(2)] * 3
    parts = read(reader, film(frames, kind="matroska", codec="ffv1", milliseconds=times))
    assert [start for start, _ in spans(parts)] == [0.0, 7.0]
    assert spans(parts)[0][1] == 7.0
    assert 7.5 < spans(parts)[1][1] < 8.6


def test_where_the_index_stands_and_whether_there_is_sound_changes_nothing(reader: Reader) -> None:
    index_first = two_shots(index_first=True)
    plain = two_shots()
    assert index_first.index(b"moov") < index_first.index(b"mdat")
    assert plain.index(b"mdat") < plain.index(b"moov")
    wanted = read(reader, plain)
    for data in (index_first, two_shots(sound=True)):
        parts = read(reader, data)
        assert spans(parts) == spans(wanted)
        assert [part.sha256 for part in parts] == [part.sha256 for part in wanted]


def test_colours_are_those_of_the_film(reader: Reader) -> None:
    red = np.zeros((720, 1280, 3), np.uint8)
    red[...] = (200, 40, 30)
    for tags in ({}, {"colorspace": 1}):
        (part,) = read(reader, film([red] * 3, tags={"colorspace": 1} if tags else {"qmax": 31}))
        middle = np.asarray(part.content)[300, 300].astype(int)
        assert np.abs(middle - (200, 40, 30)).max() <= 6


def test_the_encoder_says_how_frames_are_fitted() -> None:
    class Fitted(StillEncoder):
        fit = staticmethod(thumbnail)

    with VIDEO.reader(Fitted(), OPTIONS) as opened:  # type: ignore[arg-type]
        (part, _) = read(opened, two_shots())
    assert part.content.size == (8, 6)


def thumbnail(image: Image.Image) -> Image.Image:
    return image.resize((8, 6))


# -- what cannot be embedded ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: b"", "empty_file"),
        (lambda: b"<!doctype html><html>", "not_a_video"),
        (lambda: b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "not_a_video"),
        (lambda: b"ffconcat version 1.0\nfile /etc/passwd\n", "not_a_video"),
        (lambda: b";FFMETADATA1\ntitle=x\n", "not_a_video"),
        (lambda: b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema"/>', "not_a_video"),
        (lambda: b"\x89PNG\r\n\x1a\n" + bytes(100), "not_a_video"),
        (lambda: pdf(), "not_a_video"),
        (lambda: sound(tone(8000, 1), 8000), "no_video"),
        (lambda: encoded_sound(tone(16_000, 1), 16_000, "mp4", "aac"), "no_video"),
        (lambda: film([], kind="avi"), "zero_length"),
        (lambda: two_shots(index_first=True)[:-20_000], "truncated"),
        (lambda: two_shots()[: len(two_shots()) // 2], "truncated"),
        (lambda: two_shots(kind="matroska")[:-20_000], "truncated"),
        (lambda: two_shots(kind="avi")[:-20_000], "truncated"),
        (lambda: two_shots().replace(b"mp4v", b"encv") + FOR_PROTECTION, "encrypted"),
        (lambda: two_shots()[:4] + b"ftyp" + bytes(2000), "corrupt"),
        (lambda: b"\x1aE\xdf\xa3" + bytes(2000), "corrupt"),
        (lambda: film([scene(1)] * 3, kind="avi", codec="asv1"), "unsupported_format"),
    ],
)  # fmt: skip
def test_what_is_no_film_has_a_code(make: Any, code: str) -> None:
    assert refused(make()).code == code


@pytest.mark.parametrize(
    ("limits", "code", "says"),
    [
        ({"max_media_seconds": 2.0}, "too_long", "PIPELINE_MAX_MEDIA_SECONDS"),
        ({"max_parts": 1}, "too_many_parts", "PIPELINE_MAX_PARTS"),
        ({"max_frame_pixels": 10_000}, "too_large", "PIPELINE_MAX_FRAME_PIXELS"),
        ({"max_decoded_bytes": 100_000}, "too_large", "PIPELINE_MAX_DECODED_BYTES"),
        ({"max_bytes": 1000}, "too_large", "expected at most 1,000"),
        ({"media_timeout_seconds": 0.01}, "timeout", "decoding took more than 0.01 s"),
    ],
)
def test_a_film_beyond_a_limit_says_which(limits: dict[str, Any], code: str, says: str) -> None:
    error = refused(two_shots(), **limits)
    assert (error.code, says in error.message) == (code, True), error.message


def test_a_film_that_takes_too_much_of_the_processor_says_so() -> None:
    """A long one: the kernel looks at its clock only as often as it ticks."""
    error = refused(film(panned(scene(1), 400)), media_cpu_seconds=0.02)
    assert error.code == "too_complex"
    assert "PIPELINE_MEDIA_CPU_SECONDS" in error.message


def test_a_header_that_claims_hours_is_bounded_by_what_is_there(reader: Reader) -> None:
    data = bytearray(two_shots())
    start = data.index(b"mvhd") + 4 + 16
    data[start : start + 4] = (36_000_000).to_bytes(4, "big")  # ten hours of milliseconds
    assert spans(read(reader, bytes(data))) == [(0.0, 3.0), (3.0, 6.0)]


def test_not_even_a_playlist_can_have_another_file_opened(tmp_path: Path) -> None:
    """Were FFmpeg ever to take content for a playlist: here its demuxer is forced."""
    from pipeline.modalities.containers import opening

    part = tmp_path / "part.ts"
    part.write_bytes(two_shots(kind="mpegts", codec="mpeg2video", rate=25))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:6,\nfile://{part}\n#EXT-X-ENDLIST\n"
    with (
        pytest.raises(PermanentRowError) as found,
        opening.opened(playlist.encode(), "hls") as container,
    ):
        next(container.decode(video=0))
    assert found.value.code == "corrupt"


def test_without_the_extra_a_film_says_what_to_install(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding_reader, "find_spec", lambda name: None)
    for decode in (reader.decode, lambda data: VIDEO.decode(data, OPTIONS)):
        with pytest.raises(PermanentRowError, match=r"pipeline\[video\]") as found:
            decode(two_shots())
        assert found.value.code == "missing_extra"


# -- as a modality -------------------------------------------------------------------------------


def test_its_probes_are_films_and_the_same_every_time(reader: Reader) -> None:
    probes = VIDEO.probes()
    assert probes == VIDEO.probes()
    assert [len(read(reader, probe)) for probe in probes] == [2, 1, 2]
    for probe in probes:
        here = VIDEO.parts(VIDEO.decode(probe, OPTIONS), StillEncoder(), OPTIONS)  # type: ignore[arg-type]
        assert [p.sha256 for p in here] == [p.sha256 for p in read(reader, probe)]


def test_films_are_told_by_their_first_bytes() -> None:
    assert all(
        VIDEO.sniff(film([scene(1)], kind=kind, codec=codec)[:4096]) for kind, codec in KINDS
    )
    assert not VIDEO.sniff(encoded_sound(tone(16_000, 1), 16_000, "ipod", "aac")[:4096])
    assert not VIDEO.sniff(sound(tone(8000, 1), 8000)[:4096])
    assert not VIDEO.sniff(b"")


def test_it_is_known_by_its_name_and_its_suffixes() -> None:
    assert modalities.get("video") is VIDEO
    assert modalities.of_suffix(".mp4") is VIDEO


@pytest.mark.parametrize(
    ("kind", "codec"),
    [("mp4", "mpeg4"), ("matroska", "mpeg4"), ("avi", "mjpeg"), ("mpegts", "mpeg4")],
)
def test_a_preview_is_the_frame_in_the_middle_of_a_moment(kind: str, codec: str) -> None:
    """Read from the key frame before it; the last one of the film where it ends sooner."""
    data = film([scene(1)] * 30 + [scene(2)] * 30, kind=kind, codec=codec)
    for moment, number in (
        (Moment(start=0.5, end=1.5), 1),
        (Moment(start=4.0, end=5.0), 2),
        (Moment(start=500.0, end=900.0), 2),
        (Moment(page=3), 1),
        (None, 1),
    ):
        task = VIDEO.preview(moment, OPTIONS, Thumbnail(80))
        assert task is not None
        with DecoderPool(task, 1) as pool:
            spans, counts, frame = pool.decode(data).arrays
        assert (spans.shape, list(counts)) == ((1, 2), [1])
        assert frame.shape == (60, 80, 3)
        assert difference(Image.fromarray(frame), scene(number)) < 12


def test_a_preview_of_what_is_no_film_says_so() -> None:
    task = VIDEO.preview(Moment(start=0.0, end=1.0), OPTIONS, Thumbnail(80))
    assert task is not None
    with DecoderPool(task, 1) as pool, pytest.raises(RowError) as found:
        pool.decode(b"#EXTM3U\nhttp://other/")
    assert found.value.code == "not_a_video"


class SeesSeveral(StillEncoder):
    """An encoder of films."""

    def __init__(self, frames_per_second: float, most_frames: int) -> None:
        self.frames_per_second = frames_per_second
        self.most_frames = most_frames


def seen(data: bytes, frames_per_second: float, most_frames: int = 32) -> list[Part]:
    encoder = SeesSeveral(frames_per_second, most_frames)
    with VIDEO.reader(encoder, OPTIONS) as opened:  # type: ignore[arg-type]
        return read(opened, data)


def test_an_encoder_that_sees_several_frames_gets_those_of_each_segment_in_order() -> None:
    shots = [panned(scene(n), 3 * 10, 1) for n in (1, 2)]
    parts = seen(film(shots[0] + shots[1]), 1)
    assert spans(parts) == [(0.0, 3.0), (3.0, 6.0)]
    for part, shot in zip(parts, shots, strict=True):
        assert len(part.content) == 3
        for second, frame in enumerate(part.content):
            own = difference(frame, shot[10 * second])
            assert own < 9
            others = [difference(frame, shot[10 * n]) for n in range(3) if n != second]
            assert own < min(others)


def test_of_a_segment_there_are_no_more_frames_than_are_seen_at_once() -> None:
    still = film([scene(4)] * 300)
    (part,) = seen(still, 5, 4)
    assert spans([part]) == [(0.0, 30.0)]
    assert len(part.content) == 4
    (short,) = seen(film([scene(4)] * 3), 1)
    assert len(short.content) == 1


def test_other_frames_are_another_part() -> None:
    first, second = (seen(film(panned(scene(n), 20, 1)), 1)[0] for n in (1, 2))
    assert first.sha256 != second.sha256
    assert first.sha256 == seen(film(panned(scene(1), 20, 1)), 1)[0].sha256
