"""What a camera wrote into an image: when, with what and, only where that is asked for, where."""

import math
import re
from datetime import datetime
from typing import Any

from PIL import ExifTags, Image

_MAKE, _MODEL = 0x010F, 0x0110
# When it was taken, else when it was scanned; each with its offset from UTC. Not when it was saved.
_TIMES = ((0x9003, 0x9011), (0x9004, 0x9012))
_MAX_NAME = 100
_OFFSET = re.compile(r"[+-](?:0\d|1[0-4]):[0-5]\d")


def facts(image: Image.Image, *, with_place: bool) -> dict[str, Any]:
    """``taken_at`` (ISO 8601, as the camera's clock had it), ``camera`` and ``gps``.

    Each where the image says so in a form that can be read; broken EXIF says nothing.

    Args:
        with_place: whether ``gps``, ``{lat, lon}`` in degrees, is among them.
    """
    try:
        exif = image.getexif()
        found = {
            "taken_at": _taken_at(exif.get_ifd(ExifTags.IFD.Exif)),
            "camera": _camera(exif),
            "gps": _place(exif.get_ifd(ExifTags.IFD.GPSInfo)) if with_place else None,
        }
    except Exception:  # whatever Pillow makes of hostile bytes: the image is what matters
        return {}
    return {name: value for name, value in found.items() if value is not None}


def _taken_at(ifd: dict[int, Any]) -> str | None:
    for tag, offset_tag in _TIMES:
        try:
            moment = datetime.strptime(_text(ifd.get(tag)), "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007
        except ValueError:
            continue
        offset = _text(ifd.get(offset_tag))
        return moment.isoformat() + (offset if _OFFSET.fullmatch(offset) else "")
    return None


def _camera(exif: Image.Exif) -> str | None:
    """Make and model; the make once, since many models begin with it."""
    make, model = _text(exif.get(_MAKE)), _text(exif.get(_MODEL))
    if make and model.lower().startswith(make.split()[0].lower()):
        make = ""
    return f"{make} {model}".strip()[:_MAX_NAME] or None


def _place(ifd: dict[int, Any]) -> dict[str, float] | None:
    latitude = _degrees(ifd.get(2), _text(ifd.get(1)), "NS", 90)
    longitude = _degrees(ifd.get(4), _text(ifd.get(3)), "EW", 180)
    if latitude is None or longitude is None:
        return None
    return {"lat": latitude, "lon": longitude}


def _degrees(value: Any, direction: str, directions: str, most: float) -> float | None:
    """Signed, to some 0.1 m."""
    if direction not in directions or len(direction) != 1:
        return None
    degrees, minutes, seconds = (float(one) for one in value)
    total = degrees + minutes / 60 + seconds / 3600
    if not (math.isfinite(total) and 0 <= total <= most):
        return None
    return round(-total if direction == directions[1] else total, 6)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if not isinstance(value, str):
        return ""
    value = value.partition("\0")[0]
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())
