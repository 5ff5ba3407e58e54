"""What a decoder process of motion does: times and six channels, checked."""

import io
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import PermanentRowError
from pipeline.modalities.decoding.task import Answer, Decode, Prepare
from pipeline.modalities.imu.recording import COLUMNS

Table = npt.NDArray[np.float64]

_NUMPY = b"\x93NUMPY"
_HEADER = ",".join(COLUMNS)
_EXPECTED = f"a CSV with the header {_HEADER}, or a NumPy array of these {len(COLUMNS)} columns"
_RATES = (1.0, 20_000.0)  # samples per second
# Longer ones would be filled with motion that nobody measured.
_LONGEST_GAP = 1.0
_BYTES = 8 + 6 * 4  # of a sample as it is given back
_MOST_HEADER = 10_000


def decoding(options: dict[str, Any], prepare: Prepare | None) -> Decode:
    """Of recordings within these limits; ``prepare`` is called with a plot of each.

    Its answers have seconds from the first sample, float64, (n,); values, float32, (n, 6); and with
    ``prepare`` what it made of the plot: RGB, uint8, shape (height, width, 3).
    """
    most_seconds = float(options["max_media_seconds"])
    most = int(options["max_decoded_bytes"]) // _BYTES

    def decode(data: bytes) -> Answer:
        if not data.strip():
            raise PermanentRowError("empty_file", f"empty file; expected {_EXPECTED}")
        is_array = data.startswith(_NUMPY)
        table = _of_array(data, most) if is_array else _of_csv(data, most)
        rate = _checked(table, most_seconds)
        times = table[:, 0] - table[0, 0]
        arrays = [times, np.ascontiguousarray(table[:, 1:], dtype="<f4")]
        if prepare is not None:
            from pipeline.modalities.imu.plot import plotted

            shown = prepare(plotted(times, arrays[1], options["span"])).convert("RGB")
            arrays.append(np.array(shown))
        notes = {
            "format": "NPY" if is_array else "CSV",
            "samples": len(table),
            "recorded_at_hz": round(rate, 3),
            "seconds": round(float(times[-1]), 3),
        }
        return Answer(arrays, notes)

    return decode


def _of_array(data: bytes, most: int) -> Table:
    """Its header is read first: no memory is taken for what is not there."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, in_columns, dtype = read(file, max_header_size=_MOST_HEADER)
    except Exception as exc:  # the header is Python's, and its tokenizer has errors of its own
        raise PermanentRowError("corrupt", "the header of the NumPy array cannot be read") from exc
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise PermanentRowError(
            "unsupported_format", f"a NumPy array of {str(dtype)[:40]}; expected numbers"
        )
    if len(shape) != 2 or shape[0] < 0 or shape[1] != len(COLUMNS):
        raise PermanentRowError(
            "unsupported_format", f"a NumPy array of the shape {str(shape)[:60]}; {_EXPECTED}"
        )
    rest = data[file.tell() :]
    if len(rest) < shape[0] * shape[1] * dtype.itemsize:
        raise PermanentRowError("truncated", f"it ends before its {shape[0]:,} samples do")
    _check_count(shape[0], most)
    values = np.frombuffer(rest, dtype, shape[0] * shape[1])
    return values.reshape(shape, order="F" if in_columns else "C").astype(np.float64)


def _of_csv(data: bytes, most: int) -> Table:
    head, _, body = data.removeprefix(b"\xef\xbb\xbf").partition(b"\n")
    found = head[:200].decode("ascii", "replace").strip().lower().replace(" ", "")
    if found != _HEADER:
        raise PermanentRowError("unsupported_format", f"no recording of motion; {_EXPECTED}")
    _check_count(body.rstrip().count(b"\n") + 1, most)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is no line
            return np.loadtxt(io.BytesIO(body), delimiter=",", ndmin=2, comments=None)
    except ValueError as exc:
        raise PermanentRowError(
            "corrupt", "a line of the CSV is not seven numbers with commas between them"
        ) from exc


def _check_count(samples: int, most: int) -> None:
    if samples > most:
        raise PermanentRowError(
            "too_long",
            f"it has {samples:,} samples, and {most:,} fit into PIPELINE_MAX_DECODED_BYTES",
        )


def _checked(table: Table, most_seconds: float) -> float:
    """Samples per second."""
    if len(table) < 2:
        raise PermanentRowError("zero_length", f"motion has at least 2 samples, not {len(table)}")
    if table.shape[1] != len(COLUMNS):
        raise PermanentRowError("corrupt", f"{table.shape[1]} columns; {_EXPECTED}")
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(table.astype(np.float32)).all()
    if not is_finite:
        raise PermanentRowError("bad_samples", "it has samples that are not finite numbers")
    steps = np.diff(table[:, 0])
    if not (steps > 0).all():
        line = int(np.argmin(steps > 0)) + 2
        raise PermanentRowError("bad_samples", f"the time of sample {line:,} is not past the last")
    seconds = float(table[-1, 0] - table[0, 0])
    if seconds > most_seconds:
        raise PermanentRowError(
            "too_long", f"{seconds:,.0f} s of motion; PIPELINE_MAX_MEDIA_SECONDS={most_seconds:g}"
        )
    if steps.max() > _LONGEST_GAP:
        after = float(table[int(steps.argmax()), 0] - table[0, 0])
        raise PermanentRowError(
            "bad_samples",
            f"nothing was measured for {steps.max():.3g} s after {after:.3f} s; the time is in "
            "seconds, and a recording with a gap is to be cut there",
        )
    rate = len(steps) / seconds
    if not _RATES[0] <= rate <= _RATES[1]:
        raise PermanentRowError(
            "bad_samples",
            f"{rate:.4g} samples per second; expected {_RATES[0]:g} to {_RATES[1]:,.0f}",
        )
    return rate
