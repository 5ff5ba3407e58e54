"""Any pixels Pillow can hold -> the 8-bit sRGB image a person would see on a white page.

Pillow's own ``convert("RGB")`` clips 16-bit grey to white, drops alpha and ignores ICC profiles.
"""

import io
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

WHITE = (255, 255, 255)
Notes = dict[str, Any]

_DEEP_MODES = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
_TAG_PHOTOMETRIC, _TAG_SAMPLE_FORMAT, _TAG_BITS = 262, 339, 258
_TAGS_MIN_MAX = ((280, 281), (340, 341))  # Min/MaxSampleValue, SMin/SMaxSampleValue
_MAX_PROFILE_BYTES = 4 * 2**20
_PROFILE_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK", "LAB": "Lab "}


def to_rgb(image: Image.Image, notes: Notes) -> Image.Image:
    """Flatten ``image`` (loaded) to RGB; what was done is written into ``notes``."""
    notes["mode"] = image.mode
    alpha = None
    if image.mode in _DEEP_MODES:
        image, alpha = _from_deep_grey(image, notes)
    elif "transparency" in image.info and image.mode in {"1", "L", "RGB", "P"}:
        image = _with_transparency(image)
    elif image.mode == "La":
        image = image.convert("LA")
    elif image.mode == "RGBa":
        image = image.convert("RGBA")
    if image.mode in {"P", "PA"}:
        image = image.convert("RGBA" if image.mode == "PA" else "RGB")
    if image.mode in {"RGBA", "LA"}:
        alpha = image.getchannel("A")
        image = image.convert("RGB" if image.mode == "RGBA" else "L")  # keeps the profile
    rgb = _to_srgb(image, notes)
    return rgb if alpha is None else _on_white(rgb, alpha, notes)


def _on_white(rgb: Image.Image, alpha: Image.Image, notes: Notes) -> Image.Image:
    lowest, highest = cast(tuple[int, int], alpha.getextrema())
    if lowest == 255:
        return rgb
    if highest == 0 and notes.get("format") == "BMP":
        notes["alpha"] = "ignored: zero everywhere"  # 32-bit BMPs with an unused fourth byte
        return rgb
    notes["alpha"] = "on white"
    page = Image.new("RGB", rgb.size, WHITE)
    page.paste(rgb, mask=alpha)
    return page


def _with_transparency(image: Image.Image) -> Image.Image:
    """One colour (or some palette entries) declared transparent: an alpha channel."""
    value = image.info["transparency"]
    if image.mode == "RGB" and isinstance(value, tuple) and max(value) > 255:
        image = image.copy()  # whose info is its own
        image.info["transparency"] = tuple(part >> 8 for part in value)  # from 16-bit RGB
    return image.convert("RGBA")


# -- grey deeper than 8 bits ---------------------------------------------------------------------


def _from_deep_grey(image: Image.Image, notes: Notes) -> tuple[Image.Image, Image.Image | None]:
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    alpha = None
    if isinstance(key := image.info.get("transparency"), int):
        alpha = Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
    if image.mode == "I" and tags.get(_TAG_SAMPLE_FORMAT, (1,))[0] == 1 and tags:
        values = values.view(np.uint32)  # Pillow holds unsigned 32-bit samples as signed
    low, high = _declared_range(tags) or _range_of(values, image.mode, tags)
    notes["grey_range"] = [low, high]
    scaled = _scale(values, low, high)
    if tags.get(_TAG_PHOTOMETRIC) == 0:  # MinIsWhite, which Pillow applies to 8 bits only
        scaled = 255 - scaled
    grey = Image.fromarray(scaled)
    if profile := image.info.get("icc_profile"):
        grey.info["icc_profile"] = profile
    return grey, alpha


def _declared_range(tags: Any) -> tuple[float, float] | None:
    for lowest, highest in _TAGS_MIN_MAX:
        try:
            low, high = (float(np.ravel(tags[tag])[0]) for tag in (lowest, highest))
        except (KeyError, IndexError, TypeError, ValueError):
            continue
        if np.isfinite([low, high]).all() and low < high:
            return low, high
    return None


def _range_of(values: NDArray[Any], mode: str, tags: Any) -> tuple[float, float]:
    """The range that black and white stand for.

    16 bits: the type's range, but 10, 12 or 14 when a TIFF only fills those. 32-bit integers and
    floats have no agreed range: the usual one the values fill at least by half, else their own.
    """
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    if mode.startswith("I;16"):
        bits = int(np.ravel(tags.get(_TAG_BITS, 16))[0])
        if tags and bits == 16:
            bits = next(bits for bits in (10, 12, 14, 16) if high < 2**bits)
            bits = bits if high >= 2**9 else 16
        return 0.0, float(2**bits - 1)
    usual: tuple[float, ...] = (255.0, 65535.0, 2.0**31 - 1, 2.0**32 - 1)
    if values.dtype.kind == "f":
        usual = (1.0, *usual)
    if low >= 0:
        for top in usual:
            if top / 2 <= high <= top:
                return 0.0, top
    return (low, high) if low < high else (low - 1.0, low + 1.0)


def _scale(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    scaled = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), 256):  # in bands: float64 of everything is 8 bytes a pixel
        band = values[start : start + 256].astype(np.float64)
        band = np.nan_to_num(band, nan=low, posinf=high, neginf=low)
        band = (np.clip(band, low, high) - low) * (255.0 / (high - low))
        scaled[start : start + 256] = np.rint(band)
    return scaled


# -- ICC profiles --------------------------------------------------------------------------------


def _to_srgb(image: Image.Image, notes: Notes) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile:
        try:
            transform = _transform(bytes(profile), image.mode)
            if transform is not None:
                notes["icc"] = "converted to sRGB"
                return transform.apply(image)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError, MemoryError) as exc:
            if isinstance(exc, MemoryError):
                raise
            notes["icc"] = f"ignored: {_first_line(exc)}"
    if image.mode == "LAB":
        lab = ImageCms.ImageCmsTransform(_lab(), _srgb(), "LAB", "RGB")
        return lab.apply(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _first_line(exc: BaseException) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0][:100]


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform to sRGB, or None where it would change nothing (most profiles are sRGB)."""
    if len(profile) > _MAX_PROFILE_BYTES:
        raise ValueError(f"profile of {len(profile)} bytes")
    source = ImageCms.getOpenProfile(io.BytesIO(profile))
    space = source.profile.xcolor_space
    if space != _PROFILE_SPACES.get(mode):
        raise ValueError(f"profile is for {space.strip()}, the image is {mode}")
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    if mode == "CMYK":
        intent = ImageCms.Intent.PERCEPTUAL
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    transform = ImageCms.ImageCmsTransform(source, _srgb(), mode, "RGB", intent, flags=flags)
    if mode in {"RGB", "L"}:
        probe = _probe(mode)
        before = np.asarray(probe.convert("RGB")).astype(int)
        after = np.asarray(transform.apply(probe)).astype(int)
        if np.abs(after - before).max() <= 2:
            return None
    return transform


def _probe(mode: str) -> Image.Image:
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    return Image.fromarray(cube)


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@lru_cache(maxsize=1)
def _lab() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
