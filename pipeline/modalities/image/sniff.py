"""What bytes are, decided from the bytes and never from a name or a Content-Type.

``ALLOWED`` formats may reach Pillow. Everything else is refused under the name of what it is,
so that the person who reads the error knows which file to replace.
"""

import re

from pipeline.errors import PermanentRowError

ALLOWED = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")
HEIF = "HEIF"  # allowed where the optional extra [heic] is installed
EXPECTED = "JPEG, PNG, WebP, GIF, TIFF, BMP or AVIF"

_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}

# (offset, magic, what it is, whether a person would call it an image)
_MAGIC: tuple[tuple[int, bytes, str, bool], ...] = (
    (0, b"%!PS", "EPS/PostScript", True),
    (0, b"\xc5\xd0\xd3\xc6", "EPS/PostScript", True),
    (0, b"%PDF-", "PDF", True),
    (0, b"8BPS", "Photoshop (PSD)", True),
    (0, b"SIMPLE  =", "FITS", True),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000", True),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000", True),
    (0, b"\xff\x0a", "JPEG XL", True),
    (0, b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL", True),
    (0, b"\x00\x00\x01\x00", "ICO", True),
    (0, b"\x00\x00\x02\x00", "CUR", True),
    (0, b"icns", "ICNS", True),
    (0, b"DDS ", "DDS", True),
    (0, b"qoif", "QOI", True),
    (0, b"v/1\x01", "OpenEXR", True),
    (0, b"#?RADIANCE", "Radiance HDR", True),
    (0, b"\xd7\xcd\xc6\x9a", "WMF", True),
    (40, b" EMF", "EMF", True),
    (0, b"gimp xcf", "GIMP (XCF)", True),
    (0, b"AT&TFORM", "DjVu", True),
    (0, b"IIRO", "camera raw", True),
    (0, b"FUJIFILMCCD-RAW", "camera raw", True),
    (0, b"\x59\xa6\x6a\x95", "Sun raster", True),
    (0, b"\x01\xda", "SGI", True),
    (0, b"/* XPM */", "XPM", True),
    (0, b"PK\x03\x04", "a ZIP archive", False),
    (0, b"\x1f\x8b", "gzip data", False),
    (0, b"\x28\xb5\x2f\xfd", "zstd data", False),
    (0, b"BZh", "bzip2 data", False),
    (0, b"\xfd7zXZ", "xz data", False),
    (0, b"Rar!", "a RAR archive", False),
    (0, b"7z\xbc\xaf", "a 7-Zip archive", False),
    (257, b"ustar", "a tar archive", False),
    (0, b"\x7fELF", "an ELF program", False),
    (0, b"SQLite format 3", "an SQLite database", False),
    (0, b"PAR1", "a Parquet file", False),
    (0, b"\x1aE\xdf\xa3", "a Matroska/WebM video", False),
    (0, b"FLV\x01", "a Flash video", False),
    (0, b"OggS", "an Ogg file", False),
    (0, b"ID3", "an MP3 file", False),
    (0, b"fLaC", "a FLAC file", False),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file it stands for", False),
)
_TEXT = re.compile(rb"^(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*|<!--.*?-->\s*)*", re.S)


def sniff(data: bytes) -> str:
    """Return the format in ``ALLOWED`` (or ``HEIF``) that ``data`` claims with its first bytes.

    Raises:
        PermanentRowError: ``empty_file``, ``unsupported_format`` (an image or document of
            another kind) or ``not_an_image``.
    """
    if not data:
        raise PermanentRowError("empty_file", f"empty file; expected {EXPECTED}")
    if allowed := _allowed(data):
        return allowed
    name, is_depicting = _name(data)
    code = "unsupported_format" if is_depicting else "not_an_image"
    raise PermanentRowError(code, f"this is {name}; expected {EXPECTED}")


def described(data: bytes) -> str:
    """What content is, in the words of an error; never its bytes."""
    return _allowed(data) or _name(data)[0]


def is_image(head: bytes) -> bool:
    """Whether content that begins so may reach Pillow."""
    return _allowed(head) is not None


def _allowed(data: bytes) -> str | None:
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if data.startswith(b"BM") and data[14:18] in _BMP_HEADERS:
        return "BMP"
    if data[4:8] == b"ftyp":
        brands = _brands(data)
        if brands & _AVIF_BRANDS:
            return "AVIF"
        if brands & _HEIF_BRANDS:
            return HEIF
    return None


_BMP_HEADERS = {size.to_bytes(4, "little") for size in (12, 16, 40, 52, 56, 64, 108, 124)}


def _brands(data: bytes) -> set[bytes]:
    length = min(int.from_bytes(data[:4], "big"), 256, len(data))
    box = data[8:length]
    return {box[:4], *(box[i : i + 4] for i in range(8, len(box) - 3, 4))}


def _name(data: bytes) -> tuple[str, bool]:
    for offset, magic, name, is_depicting in _MAGIC:
        if data.startswith(magic, offset):
            return name, is_depicting
    if data[:1] == b"P" and data[1:2] in b"1234567fF" and data[2:3] in b" \t\r\n":
        return "PNM", True
    if data[4:8] == b"ftyp":
        return "an MP4/QuickTime video", False
    if data.startswith(b"RIFF"):
        kind = {b"AVI ": "an AVI video", b"WAVE": "a WAV file"}
        return kind.get(data[8:12], "a RIFF file that is not WebP"), False
    return _name_of_text(data[:4096])


def _name_of_text(head: bytes) -> tuple[str, bool]:
    body = head[len(match[0]) :].lower() if (match := _TEXT.match(head)) else head
    if body.startswith(b"<svg") or (body.startswith(b"<!doctype svg") or b"<svg" in body[:512]):
        return "SVG", True
    if body.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")):
        return "an HTML page", False
    if body.startswith(b"<"):
        return "an XML or HTML document", False
    if body.startswith((b"{", b"[")):
        return "JSON", False
    if not head.strip(b"\0"):
        return "nothing but zero bytes", False
    if not any(byte < 9 or 13 < byte < 32 for byte in head):
        return "text", False
    # Not its first bytes: a row may name any file below a root, and its error is read by others.
    return "of no known format", False
