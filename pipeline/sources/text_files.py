"""Files of text in the encodings that other programs write: UTF-8, and UTF-16 and 32 of Excel."""

import codecs
from pathlib import Path
from typing import TextIO

# The longer marks first: that of UTF-16 begins that of UTF-32.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def open_text(path: Path, newline: str | None = None) -> TextIO:
    """Open for reading. What is no text comes out as lone surrogates: its line can be named."""
    with path.open("rb") as file:
        encoding = _encoding(file.read(4))
    errors = "surrogateescape" if encoding == "utf-8-sig" else "surrogatepass"
    return path.open(encoding=encoding, newline=newline, errors=errors)


def _encoding(head: bytes) -> str:
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    # Without a mark: two letters of ASCII, each with its empty byte.
    if len(head) == 4 and head[1] == head[3] == 0 and head[0] and head[2]:
        return "utf-16-le"
    if len(head) == 4 and head[0] == head[2] == 0 and head[1] and head[3]:
        return "utf-16-be"
    return "utf-8-sig"
