"""Bytes -> the upright 8-bit RGB image a person would see. Runs in a decoder process.

The size is read from the header and refused before a pixel is decoded; damaged files are errors,
never half-grey images. Pillow and NumPy only: every decoder process imports this module.
"""

import io
import math
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from pipeline.errors import MissingExtra, PermanentRowError, RowError
from pipeline.modalities.image import damage
from pipeline.modalities.image.colours import Notes, to_rgb
from pipeline.modalities.image.exif import facts
from pipeline.modalities.image.frames import count_gif_frames, count_tiff_pages
from pipeline.modalities.image.sniff import EXPECTED, HEIF, sniff

_ORIENTATION = 0x0112
# Everything that the notes may say.
NOTES = (
    *("format", "width", "height", "frames", "mode", "orientation", "alpha", "icc", "grey_range"),
    *("taken_at", "camera", "gps"),
)
# Measured, all formats and modes at 49 megapixels: 10 to 13; 17.1 with alpha, an ICC profile and an
# orientation, and for a JPEG that is decoded twice.
_BYTES_PER_PIXEL = 18
_COPIES_OF_FILE = 3
_HEADROOM = 64 * 2**20


@dataclass(frozen=True)
class Limits:
    """What an image may measure, and tell; see the settings of the same names.

    Attributes:
        keep_gps: whether the notes say where it was taken.
        memory_bytes: for the image, beyond what the process has at its start.
    """

    max_pixels: int
    max_side: int
    keep_gps: bool = False
    memory_bytes: float = math.inf

    def too_large(self, found: str) -> PermanentRowError:
        """That this is too large, whose sentence begins so."""
        return PermanentRowError(
            "too_large",
            f"{found}; expected at most {self.max_pixels:,} pixels and {self.max_side:,} per side",
        )

    def no_memory(self, found: str) -> PermanentRowError:
        """That this needs too much memory."""
        return PermanentRowError(
            "too_large",
            f"{found} than the {self.memory_bytes / 1e6:,.0f} MB that decoding an image may take "
            "(PIPELINE_DECODE_MEMORY_BYTES)",
        )


def memory_needed(pixels: int, size: int) -> int:
    """Bytes that decoding so many pixels from a file of so many bytes takes at most."""
    return _BYTES_PER_PIXEL * pixels + _COPIES_OF_FILE * size + _HEADROOM


def render(data: bytes, limits: Limits) -> tuple[Image.Image, Notes]:
    """Decode ``data`` to RGB; the notes say what was found and what was done.

    Notes: ``format``, ``width`` and ``height`` (upright), ``frames``, ``mode``, and where they
    apply ``orientation``, ``alpha``, ``icc``, ``grey_range``, and what ``exif.facts`` finds.

    Raises:
        PermanentRowError: ``empty_file``, ``not_an_image``, ``unsupported_format``,
            ``too_large``, ``truncated`` or ``corrupt``.
    """
    name = sniff(data)
    with _guarded(name, limits):
        image, orientation, notes = _load(data, name, limits)
        return _as_seen(image, orientation, notes), notes


def load_upright(data: bytes, limits: Limits) -> tuple[Image.Image, Notes]:
    """Decode ``data`` upright, in the mode that its file has: for values that are no colours.

    Notes and errors are those of :func:`render`, as far as they are not about colours.
    """
    name = sniff(data)
    with _guarded(name, limits):
        image, orientation, notes = _load(data, name, limits)
        return _upright(image, orientation, notes), notes


def render_opened(image: Image.Image, limits: Limits) -> tuple[Image.Image, Notes]:
    """What :func:`render` gives of the file of an image that somebody opened with Pillow.

    Their image is loaded, at most, and is otherwise left as it is; so are Pillow's own limits.
    What its file holds beyond the pixels, such as damage that Pillow fills with grey, is not seen.

    Raises:
        PermanentRowError: ``too_large``, ``truncated`` or ``corrupt``.
    """
    name = image.format or "image"
    with _faults_named(name, limits):
        _check_size(image.size, name, 0, limits)  # the file is in memory already
        notes: Notes = {} if image.format is None else {"format": name}
        orientation = _orientation(image)
        image.load()
        return _as_seen(image, orientation, notes), notes


@contextmanager
def _faults_named(name: str, limits: Limits) -> Iterator[None]:
    """Whatever Pillow makes of an image is a ``PermanentRowError`` that says what is wrong."""
    try:
        yield
    except RowError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise limits.too_large(f"{name}: {_brief(exc)}") from exc
    except MemoryError as exc:
        raise limits.no_memory(f"decoding this {name} needs more") from exc
    except Exception as exc:  # whatever a decoder makes of hostile bytes is this row's failure
        if "memory" in str(exc).lower():  # a library's own words for it
            raise limits.no_memory(f"decoding this {name} needs more") from exc
        raise _damage(name, exc) from exc


@contextmanager
def _guarded(name: str, limits: Limits) -> Iterator[None]:
    """What decodes a file goes on within the limits, and without a warning to anybody."""
    with _pillow_limits(limits), _faults_named(name, limits), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@contextmanager
def _pillow_limits(limits: Limits) -> Iterator[None]:
    """Pillow's own are the whole process's, which may be an application's."""
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    Image.MAX_IMAGE_PIXELS = limits.max_pixels  # covers canvases and tiles we do not see
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


def _load(data: bytes, name: str, limits: Limits) -> tuple[Image.Image, int, Notes]:
    """The pixels as they are stored, and the orientation that the file says."""
    if name == "PNG":
        damage.check_png_chunks(data)
    image = _open(data, name)
    _check_size(image.size, name, len(data), limits)
    notes: Notes = {"format": name, "frames": _count_frames(image, data)}
    orientation = _orientation(image)
    if name == "TIFF":
        damage.check_tiff_extents(data, image)
    image.load()
    damage.check_pixels(data, image, name)
    notes |= facts(image, with_place=limits.keep_gps)
    return image, orientation, notes


def _as_seen(image: Image.Image, orientation: int, notes: Notes) -> Image.Image:
    """A loaded image, which is left as it is, upright and in RGB."""
    return to_rgb(_upright(image, orientation, notes), notes)


def _upright(image: Image.Image, orientation: int, notes: Notes) -> Image.Image:
    if orientation != 1:
        notes["orientation"] = orientation
        if _orientation(image) != 1:  # else Pillow turned it on loading, as it does TIFF
            image = ImageOps.exif_transpose(image)
    notes["width"], notes["height"] = image.size
    return image


# -- opening, with the size checked before any pixel ---------------------------------------------

_PLUGINS = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),  # not MPO: its first image is the JPEG
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
            f"this is HEIC/HEIF; expected {EXPECTED}; {MissingExtra('HEIC', 'heic')}",
        ) from exc
    image = opener(io.BytesIO(data), "")
    if hasattr(image, "_get_next"):
        _let_go_of_canvases(image)
    return image


def _let_go_of_canvases(image: Any) -> None:
    """libwebp keeps two canvases for an animation: 8 bytes a pixel, while Pillow makes its own of
    what came out of them. They go before that, as one frame is all that is wanted."""
    get_next = image._get_next

    def last() -> Any:
        frame = get_next()
        image._decoder = None
        return frame

    image._get_next = last


def _check_size(size: tuple[int, int], name: str, file_size: int, limits: Limits) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise PermanentRowError("corrupt", f"{name} of {width} x {height} pixels")
    if width * height > limits.max_pixels or max(size) > limits.max_side:
        raise limits.too_large(f"{name} of {width} x {height} pixels")
    needed = memory_needed(width * height, file_size)
    if needed > limits.memory_bytes:
        found = f"{name} of {width} x {height} pixels, which takes {needed / 1e6:,.0f} MB, more"
        raise limits.no_memory(found)


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
    except Exception:  # broken EXIF does not make the image unreadable
        return 1
    return value if value in range(1, 9) else 1


# -- damage --------------------------------------------------------------------------------------


_BYTES = re.compile(r"""b'[^']*'|b"[^"]*\"""")


def _brief(exc: BaseException) -> str:
    """Without bytes of the file, which some of Pillow's messages quote."""
    return _BYTES.sub("...", " ".join(str(exc).split()))[:160] or type(exc).__name__


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
