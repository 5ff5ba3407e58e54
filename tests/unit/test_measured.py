"""Depth, thermal images and motion: values as they were measured, or an error that says why not."""

import io
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import RowError
from pipeline.modalities import DEPTH, IMU, THERMAL, Modality
from pipeline.modalities.base import Reader, ReadOptions
from pipeline.modalities.decoding.pool import DecoderPool
from pipeline.modalities.image.thumbnail import Thumbnail
from pipeline.modalities.moments import Moment
from tests.helpers.measured import csv, distances, grey, motion, npy

OPTIONS = ReadOptions(
    decode_processes=1, max_pixels=2_000_000, max_media_seconds=100, max_parts=20,
    max_decoded_bytes=2**20,
)  # fmt: skip
TIMES = motion(2.0)


class MotionEncoder:
    """Takes half a second at 100 Hz."""

    sampling_rate = 100
    seconds = 0.5


@pytest.fixture(scope="module")
def readers() -> Iterator[dict[Modality, Reader]]:
    encoder: Any = MotionEncoder()
    opened = {modality: modality.reader(encoder, OPTIONS) for modality in (DEPTH, THERMAL, IMU)}
    yield opened
    for reader in opened.values():
        reader.close()


Readers = dict[Modality, Reader]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_stay_what_they_are(readers: Readers, form: str) -> None:
    values = distances()
    decoded = readers[DEPTH].decode(grey(values, form))
    assert decoded.content.dtype == np.uint16
    assert (decoded.content == values).all()
    assert decoded.notes["bits"] == 16
    assert decoded.notes["values"] == [0, int(values.max())]
    big_endian = readers[THERMAL].decode(grey(values.astype(">u2"), "TIFF"))
    assert (big_endian.content == values).all()


def test_an_orientation_is_followed(readers: Readers) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right
    file = io.BytesIO()
    Image.fromarray(distances()).save(file, "PNG", exif=exif)
    decoded = readers[DEPTH].decode(file.getvalue())
    assert (decoded.content == np.rot90(distances(), -1)).all()


def test_eight_bits_are_temperatures_and_no_distances(readers: Readers) -> None:
    values = (distances() // 256).astype(np.uint8)
    assert (readers[THERMAL].decode(grey(values)).content == values).all()
    with pytest.raises(RowError, match=r"has 8 bits; depth is a PNG or TIFF .* of 16 bits") as bad:
        readers[DEPTH].decode(grey(values))
    assert bad.value.code == "unsupported_format"


def _lying_about_its_size() -> bytes:
    data = bytearray(grey(distances()))
    data[16:24] = struct.pack(">II", 20_000, 20_000)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_file"),
        (b"hello", "not_an_image"),
        (grey(np.zeros((4, 4, 3), np.uint8)), "unsupported_format"),
        (grey(np.zeros((4, 4), np.uint8), "JPEG"), "unsupported_format"),
        (grey(np.zeros((4, 4), np.float32), "TIFF"), "unsupported_format"),
        (grey(np.zeros((2000, 2000), np.uint16)), "too_large"),
        (grey(distances())[:-300], "truncated"),
        (_lying_about_its_size(), "corrupt"),
        (grey(distances(), "TIFF")[:200], "truncated"),
    ],
    ids=["empty", "text", "colours", "jpeg", "float", "large", "cut", "lying", "cut tiff"],
)
def test_what_is_no_depth_says_why(readers: Readers, data: bytes, code: str) -> None:
    with pytest.raises(RowError) as bad:
        readers[DEPTH].decode(data)
    assert bad.value.code == code, bad.value


@pytest.mark.parametrize(
    "data", [csv(TIMES), csv(TIMES).replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + csv(TIMES),
             csv(TIMES, "Time, AX, AY, AZ, GX, GY, GZ"), npy(TIMES), npy(np.asfortranarray(TIMES)),
             npy(TIMES.astype(np.float32))],
)  # fmt: skip
def test_motion_is_read_from_either_form(readers: Readers, data: bytes) -> None:
    decoded = readers[IMU].decode(data)
    assert np.abs(decoded.content.times - TIMES[:, 0]).max() < 1e-6
    assert np.abs(decoded.content.values - TIMES[:, 1:]).max() < 1e-6
    assert IMU.sniff(data)
    assert decoded.notes["samples"] == 400
    assert decoded.notes["recorded_at_hz"] == pytest.approx(200, rel=1e-3)


def test_its_parts_are_windows_at_the_encoders_rate(readers: Readers) -> None:
    table = motion(1.2)
    table[:, 0] += 1000  # a clock that began earlier
    parts = readers[IMU].parts(readers[IMU].decode(npy(table)))
    spans = [(part.notes["start"], part.notes["end"]) for part in parts]
    assert spans == [(0.0, 0.5), (0.5, 1.0), (0.7, 1.2)]
    assert all(part.content.shape == (50, 6) for part in parts)
    wanted = table[100:200:2, 1:]  # the second half second of 200 Hz, every other sample
    assert np.abs(parts[1].content - wanted).max() < 1e-5
    (short,) = readers[IMU].parts(readers[IMU].decode(npy(table[:30])))
    assert short.content.shape == (15, 6)
    with pytest.raises(RowError, match="more than 20 windows"):
        readers[IMU].parts(readers[IMU].decode(npy(motion(11))))


def _backwards() -> bytes:
    table = TIMES.copy()
    table[7, 0] = table[6, 0]
    return npy(table)


def _with(value: float) -> bytes:
    table = TIMES.copy()
    table[9, 3] = value
    return npy(table)


def _gap() -> bytes:
    table = TIMES.copy()
    table[200:, 0] += 3
    return npy(table)


def _claiming(shape: str) -> bytes:
    return npy(TIMES).replace(b"(400, 7)", shape.encode().ljust(8))


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"", "empty_file", "time,ax,ay"),
        (b"time,ax\n1,2\n", "unsupported_format", "header time,ax,ay,az,gx,gy,gz"),
        (csv(TIMES) + b"\n3,1", "corrupt", "seven numbers"),
        (csv(TIMES[:, :6]), "corrupt", "6 columns"),
        (csv(TIMES) + b"\n__import__('os')", "corrupt", "seven numbers"),
        (csv(TIMES[:1]), "zero_length", "at least 2 samples"),
        (csv(TIMES[:0]), "zero_length", "not 0"),
        (npy(TIMES[:, 1:]), "unsupported_format", r"shape \(400, 6\)"),
        (npy(np.array([{}] * 7)), "unsupported_format", "expected numbers"),
        (npy(TIMES.astype(np.complex128)), "unsupported_format", "expected numbers"),
        (npy(TIMES)[:-1], "truncated", "400 samples"),
        (npy(TIMES)[:40], "corrupt", "header"),
        (_claiming("(9**9,7)"), "corrupt", "header"),
        (_claiming("((((((("), "corrupt", "header"),
        (_claiming("(4e9, 7)"), "corrupt", "header"),
        (_claiming("(-1, 7)"), "unsupported_format", "shape"),
        (npy(motion(150)), "too_long", "150 s of motion"),
        (npy(motion(40, 1000)), "too_long", "40,000 samples"),
        (csv(motion(40, 1000)), "too_long", "40,000 samples"),
        (_with(np.nan), "bad_samples", "not finite"),
        (_with(1e300), "bad_samples", "not finite"),
        (_backwards(), "bad_samples", "sample 8 is not past"),
        (_gap(), "bad_samples", r"for 3 s after 0.995 s"),
        (npy(motion(0.01, 50_000)), "bad_samples", "samples per second"),
    ],
)  # fmt: skip
def test_what_is_no_motion_says_why(readers: Readers, data: bytes, code: str, says: str) -> None:
    with pytest.raises(RowError, match=says) as bad:
        readers[IMU].decode(data)
    assert bad.value.code == code


@pytest.mark.parametrize(
    ("modality", "data", "moment", "darkest"),
    [
        (DEPTH, grey(distances()), None, 0),
        (THERMAL, grey((distances() // 24).astype(np.uint8)), None, 0),
        (IMU, npy(TIMES), None, 220),
        (IMU, csv(TIMES), Moment(start=0.5, end=1.0), 220),
        (IMU, csv(TIMES), Moment(start=900.0, end=901.0), 255),  # of another recording by now
    ],
)
def test_there_is_an_image_to_look_at(
    modality: Modality, data: bytes, moment: Moment | None, darkest: int
) -> None:
    task = modality.preview(moment, OPTIONS, Thumbnail(64))
    assert task is not None
    with DecoderPool(task, 1) as pool:
        seen = pool.decode(data).arrays[-1]
    assert seen.dtype == np.uint8
    assert (max(seen.shape[:2]), seen.shape[2]) == (64 if modality is IMU else 40, 3)
    assert seen.min() <= darkest
    assert seen.max() > 240


def test_probes_differ_and_are_the_same_every_time(readers: Readers) -> None:
    for modality in (DEPTH, THERMAL, IMU):
        assert modality.probes() == modality.probes()
        decoded = [readers[modality].decode(data) for data in modality.probes()]
        here = [modality.decode(data, OPTIONS) for data in modality.probes()]
        assert all(readers[modality].parts(one) for one in decoded)
        assert [one.notes for one in decoded] == [one.notes for one in here]
