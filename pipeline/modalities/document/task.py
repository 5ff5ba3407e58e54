"""What a decoder process of documents does: every page rendered, fitted, and its text read."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pypdfium2
from PIL import Image

from pipeline.errors import PermanentRowError
from pipeline.modalities.containers.sniff import name_of
from pipeline.modalities.decoding.task import Answer, Decode

Prepare = Callable[[Image.Image], Image.Image]

HEAD = 1024  # bytes within which a PDF begins, as readers have it
PAGE_END = "\f"
_PASSWORD, _SECURITY = 4, 5  # FPDF_ERR_*
# pdfium takes a document without pages for a damaged one.
_NO_PAGES = re.compile(rb"/Type\s*/Pages\b[^>]*/Count\s+0\b")
_LARGEST_SIDE = 14_400.0  # points: ISO 32000-1, Annex C.2
_MOST_CHARACTERS = 100_000  # of a page


@dataclass(frozen=True)
class Limits:
    """What a document may measure; see the settings of the same names.

    Attributes:
        side: pixels of a rendered page's longer side.
        only_page: from 1; that one is wanted, or the first where there is none of this number.
    """

    max_parts: int
    max_decoded_bytes: int
    side: int
    only_page: int | None = None


def decoding(options: dict[str, Any], prepare: Prepare | None) -> Decode:
    """Of documents within these limits; ``prepare`` is called with each rendered page.

    Its answers have first the texts (bytes of UTF-8, a form feed after each page), then the pages
    (uint8, (height, width, 3)).
    """
    limits = Limits(**options)
    return lambda data: _decode(data, limits, prepare)


def _decode(data: bytes, limits: Limits, prepare: Prepare | None) -> Answer:
    if not data:
        raise PermanentRowError("empty_file", "empty file; expected PDF")
    if b"%PDF-" not in data[:HEAD]:
        raise PermanentRowError("not_a_document", f"this is {name_of(data)}; expected PDF")
    texts: list[str] = []
    pages: list[Any] = []
    size = 0
    with _opened(data) as document:
        count = len(document)
        if count < 1:
            raise PermanentRowError("no_pages", "a document of 0 pages")
        if count > limits.max_parts:
            raise PermanentRowError(
                "too_many_parts",
                f"it has {count:,} pages; expected at most {limits.max_parts:,} "
                "(PIPELINE_MAX_PARTS)",
            )
        for image, text in _pages(document, limits, prepare):
            pixels = np.ascontiguousarray(image.convert("RGB"))
            texts.append(text.replace(PAGE_END, "\n") + PAGE_END)
            size += pixels.nbytes + len(texts[-1])
            if size > limits.max_decoded_bytes:
                raise PermanentRowError(
                    "too_large",
                    f"its pages take more than {limits.max_decoded_bytes:,} bytes "
                    "(PIPELINE_MAX_DECODED_BYTES)",
                )
            pages.append(pixels)
    letters = np.frombuffer("".join(texts).encode("utf-8", "replace"), np.uint8)
    return Answer([letters, *pages], {"format": "PDF"})


@contextmanager
def _opened(data: bytes) -> Iterator[Any]:
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as exc:
        if exc.err_code in (_PASSWORD, _SECURITY):
            raise PermanentRowError("encrypted", "the document asks for a password") from exc
        if _NO_PAGES.search(data):
            raise PermanentRowError("no_pages", "a document of 0 pages") from exc
        raise PermanentRowError("corrupt", "the PDF is damaged: no page of it is found") from exc
    try:
        document.init_forms()  # so that what was filled in is drawn
        yield document
    except pypdfium2.PdfiumError as exc:
        raise PermanentRowError("corrupt", f"the PDF is damaged: {exc}"[:160]) from exc
    finally:
        document.close()


def _pages(
    document: Any, limits: Limits, prepare: Prepare | None
) -> Iterator[tuple[Image.Image, str]]:
    only = limits.only_page
    count = len(document)
    for number in range(count) if only is None else [only - 1 if only <= count else 0]:
        try:
            page = document[number]
        except pypdfium2.PdfiumError as exc:
            raise PermanentRowError("corrupt", f"page {number + 1} is damaged") from exc
        try:
            image = _rendered(page, number + 1, limits.side)
            yield image if prepare is None else prepare(image), _text(page)
        finally:
            page.close()


def _rendered(page: Any, number: int, side: int) -> Image.Image:
    """The page as a viewer shows it, turned as it says, its longer side of so many pixels."""
    width, height = page.get_size()
    if not all(math.isfinite(s) and 0 < s <= _LARGEST_SIDE for s in (width, height)):
        raise PermanentRowError(
            "page_too_large",
            f"page {number} of {width:g} x {height:g} points; expected at most "
            f"{_LARGEST_SIDE:,.0f} per side",
        )
    bitmap = page.render(scale=side / max(width, height), rev_byteorder=True)
    image: Image.Image = bitmap.to_pil().convert("RGB")  # a copy
    bitmap.close()
    return image


def _text(page: Any) -> str:
    """As the file holds it: nothing is recognised in scans."""
    text_page = page.get_textpage()
    try:
        text: str = text_page.get_text_range(0, min(text_page.count_chars(), _MOST_CHARACTERS))
    finally:
        text_page.close()
    return text.replace("\0", "").replace("\r\n", "\n").strip()
