"""Bytes -> the upright 8-bit RGB picture a person would see. Runs in a decoder process.

The size is read from the header and refused before a pixel is decoded; damaged files are errors,
never half-grey pictures. Pillow and NumPy only: every decoder process imports this module.
"""

import io
import re
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from pipeline.colours import Notes, to_rgb
from pipeline.errors import PermanentRowError, RowError
from pipeline.frames import count_gif_frames, count_tiff_pages
from pipeline.sniff import EXPECTED, HEIF, sniff

_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Limits:
    """What a picture may measure; see the settings of the same names."""

    max_pixels: int
    max_side: int


def render(data: bytes, limits: Limits) -> tuple[Image.Image, Notes]:
    """Decode ``data`` to RGB; the notes say what was found and what was done.

    Notes: ``format``, ``width`` and ``height`` (upright), ``frames``, ``mode``, and where they
    apply ``orientation``, ``alpha``, ``icc``, ``grey_range``.

    Raises:
        PermanentRowError: ``empty_file``, ``not_an_image``, ``unsupported_format``,
            ``too_large``, ``truncated`` or ``corrupt``.
    """
    name = sniff(data)
    _set_pillow_limits(limits)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _render(data, name, limits)
    except RowError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise _too_large(f"{name}: {_brief(exc)}", limits) from exc
    except MemoryError as exc:
        raise PermanentRowError(
            "too_large", f"decoding this {name} needs more memory than a decoder may use"
        ) from exc
    except Exception as exc:  # whatever a decoder makes of hostile bytes is this row's failure
        raise _damage(name, exc) from exc


def _set_pillow_limits(limits: Limits) -> None:
    Image.MAX_IMAGE_PIXELS = limits.max_pixels  # covers canvases and tiles we do not see
    ImageFile.LOAD_TRUNCATED_IMAGES = False


def _render(data: bytes, name: str, limits: Limits) -> tuple[Image.Image, Notes]:
    if name == "PNG":
        _check_png(data)
    image = _open(data, name)
    _check_size(image.size, name, limits)
    notes: Notes = {"format": name, "frames": _count_frames(image, data)}
    orientation = _orientation(image)
    image.load()
    if name == "JPEG":
        _check_jpeg(data, image)
    if orientation != 1:
        notes["orientation"] = orientation
        if name != "TIFF":  # Pillow turns TIFF while loading
            ImageOps.exif_transpose(image, in_place=True)
    rgb = to_rgb(image, notes)
    notes["width"], notes["height"] = rgb.size
    return rgb, notes


# -- opening, with the size checked before any pixel ---------------------------------------------

_PLUGINS = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),  # not MPO: its first picture is the JPEG
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    HEIF: ("pillow_heif", "HeifImageFile"),
}


def _open(data: bytes, name: str) -> ImageFile.ImageFile:
    module, plugin = _PLUGINS[name]
    try:
        opener: Callable[..., ImageFile.ImageFile] = getattr(import_module(module), plugin)
    except ImportError as exc:
        raise PermanentRowError(
            "unsupported_format",
            f"this is HEIC/HEIF; expected {EXPECTED} (for HEIC: pip install "
            "'pgvector-crossmodal-pipeline[heic]')",
        ) from exc
    return opener(io.BytesIO(data), "")


def _check_size(size: tuple[int, int], name: str, limits: Limits) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise PermanentRowError("corrupt", f"{name} of {width} x {height} pixels")
    if width * height > limits.max_pixels or max(size) > limits.max_side:
        raise _too_large(f"{name} of {width} x {height} pixels", limits)


def _too_large(found: str, limits: Limits) -> PermanentRowError:
    return PermanentRowError(
        "too_large",
        f"{found}; expected at most {limits.max_pixels:,} pixels and {limits.max_side:,} per side",
    )


def _count_frames(image: ImageFile.ImageFile, data: bytes) -> int | None:
    """How many frames or pages; None where the file is damaged after its first one."""
    if image.format == "GIF":
        return count_gif_frames(data)
    if image.format == "TIFF":
        return count_tiff_pages(data)
    return int(getattr(image, "n_frames", 1))


def _orientation(image: Image.Image) -> int:
    try:
        value: Any = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # broken EXIF does not make the picture unreadable
        return 1
    return value if value in range(1, 9) else 1


# -- damage --------------------------------------------------------------------------------------


def _brief(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:160] or type(exc).__name__


def _damage(name: str, exc: Exception) -> PermanentRowError:
    text = _brief(exc)
    lowered = text.lower()
    if isinstance(exc, SyntaxError | OSError) and (
        "unknown pixel mode" in lowered or "unsupported" in lowered
    ):
        return PermanentRowError("unsupported_format", f"{name} of a kind not supported: {text}")
    if isinstance(exc, EOFError) or "truncated" in lowered or "buffer is not large" in lowered:
        return PermanentRowError("truncated", f"the {name} ends too early: {text}")
    if isinstance(exc, UnidentifiedImageError):
        text = "its header cannot be read"
    return PermanentRowError("corrupt", f"the {name} is damaged: {text}")


def _check_png(data: bytes) -> None:
    """Every critical chunk whole and with its checksum; Pillow checks neither in the pixel data."""
    position = 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        end = position + 8 + length
        if end + 4 > len(data):
            break
        critical = not kind[:1].islower()
        if critical and zlib.crc32(memoryview(data)[position + 4 : end]) != int.from_bytes(
            data[end : end + 4], "big"
        ):
            raise PermanentRowError("corrupt", f"the PNG's chunk {kind!r} fails its checksum")
        if kind == b"IEND":
            return
        position = end + 4
    raise PermanentRowError("truncated", f"the PNG ends after {len(data)} bytes, before its IEND")


_JPEG_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_PADDING = bytes(range(1, 128)) * 16


def _check_jpeg(data: bytes, image: Image.Image) -> None:
    """Refuse a JPEG whose pixel data end early behind a proper end marker.

    libjpeg fills what is missing with mid-grey and only warns, which Pillow does not show. So
    where the last row is mid-grey throughout, decode again with padding after the pixel data:
    a whole file ignores it, a cut one takes it for pixels and changes.
    """
    last = image.crop((0, image.height - 1, image.width, image.height))
    if last.getextrema() not in ((128, 128), ((128, 128),) * len(image.getbands())):
        return
    padded = _with_padding(data)
    if padded is None:
        return
    again = _open(padded, "JPEG")
    again.load()
    if again.tobytes() != image.tobytes():
        raise PermanentRowError(
            "truncated", "the JPEG's pixel data end early: its lower part would be plain grey"
        )


def _with_padding(data: bytes) -> bytes | None:
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xDA:
            end = _JPEG_SCAN_END.search(data, position)
            return None if end is None else data[: end.start()] + _PADDING + data[end.start() :]
    return None
