"""The contact sheet of a search: its results as cards on one page, images shown.

What a result refers to was written by whoever may write source items, so an image is loaded as an
ingestion would load it (``pipeline/loaders``) and decoded in a process of its own; the page holds a
small copy, no script and no link.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path

from pipeline import modalities
from pipeline.errors import RowError
from pipeline.references import redact
from pipeline.search.places import common_folder, is_inline, place_in
from pipeline.search.results import MultimodalDocument, Neighbour
from pipeline.search.sheet_page import STYLE, inline_image
from pipeline.search.thumbnails import Thumbnails, has_image
from pipeline.settings import Settings

_SIDE = 400  # pixels: twice what a card is wide, for screens with small ones
_LONGEST = 600  # characters of a text
_CAPTIONS = ("caption", "title", "name", "alt")  # of metadata, the first that is there

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}  li p.soft {{ font-size: .8rem; color: var(--soft); }}
  li img {{ height: 9.5rem; }}
  h1 img {{ display: block; max-width: 12rem; max-height: 9rem; margin: 0 0 .6rem;
            border: 1px solid var(--line); border-radius: .6rem; padding: .4rem; }}
</style>
</head>
<body>
<header>
<h1>{image}{title}</h1>
<p>{about}</p>
</header>
<section>
<ol>
{cards}
</ol>
</section>
</body>
</html>
"""


def write_sheet(
    path: Path,
    title: str,
    found: Sequence[Neighbour],
    settings: Settings,
    media_roots: Sequence[Path] = (),
    asked: Path | None = None,
) -> list[str]:
    """Write the page to ``path``.

    Args:
        title: the query in words.
        media_roots: folders that file references may point into, beside those of the settings.
        asked: the file that is the query, shown beside the title if it is an image.

    Returns:
        Why images are not shown, a sentence each.
    """
    shown = dict(_images([n.document for n in found], settings, media_roots))
    folder = common_folder(
        [redact(n.document.content_ref) for n in found if not is_inline(n.document)]
    )
    scored = any(n.score != n.similarity for n in found)
    cards = [_card(n, shown.get(n.document.id), folder, scored=scored) for n in found]
    about = f"{len(found)} {'result' if len(found) == 1 else 'results'}, the best first."
    about += " Under each its rank and similarity: the cosine to the query, 1 for the same."
    if scored:
        about += " Sorted by score: the cosine after each modality's mean is taken off."
    if folder:
        about += f" Files are below {folder}."
    page = _PAGE.format(
        title=escape(title),
        image=_of_query(asked, settings),
        style=STYLE,
        about=escape(about),
        cards="\n".join(cards),
    )
    path.write_text(page, encoding="utf-8", errors="backslashreplace")
    return [
        f"{redact(n.document.content_ref)} is not shown: {why}" for n, why in _missing(found, shown)
    ]


def _of_query(asked: Path | None, settings: Settings) -> str:
    if asked is None:
        return ""
    try:
        with Thumbnails(settings, (), _SIDE) as thumbnails:
            small = thumbnails.of_bytes(asked.read_bytes())
    except (RowError, OSError):
        return ""  # a text, say, which the search took
    return inline_image(small, "image/webp", "the query")


def _missing(
    found: Sequence[Neighbour], shown: Mapping[int, bytes | RowError]
) -> Iterator[tuple[Neighbour, RowError]]:
    for neighbour in found:
        image = shown.get(neighbour.document.id)
        if isinstance(image, RowError):
            yield neighbour, image


def _images(
    documents: Sequence[MultimodalDocument], settings: Settings, media_roots: Sequence[Path]
) -> Iterator[tuple[int, bytes | RowError]]:
    """By id: a small image, or why there is none."""
    wanted = [one for one in documents if has_image(str(one.modality))]
    with (
        Thumbnails(settings, media_roots, _SIDE) as thumbnails,
        ThreadPoolExecutor(settings.load_workers) as threads,
    ):

        def show(document: MultimodalDocument) -> bytes | RowError:
            try:
                return thumbnails.of_reference(document.content_ref)
            except RowError as exc:
                return exc

        images = threads.map(show, wanted)
        yield from zip((document.id for document in wanted), images, strict=True)


def _card(
    neighbour: Neighbour, image: bytes | RowError | None, folder: str, *, scored: bool
) -> str:
    document = neighbour.document
    if is_inline(document):
        text = document.content_ref
        body = f"<p>{escape(text if len(text) <= _LONGEST else f'{text[:_LONGEST]}…')}</p>"
    else:
        caption = _caption(document)
        place = place_in(folder, redact(document.content_ref))
        body = (
            inline_image(image, "image/webp", caption or place) if isinstance(image, bytes) else ""
        )
        body += f"<p>{escape(caption)}</p>" if caption else ""
        body += f'<p class="soft">{escape(place).replace("/", "/<wbr>")}</p>'
        if isinstance(image, RowError):
            body += f'<p class="soft">not shown: {escape(str(image))}</p>'
    number = f"{neighbour.similarity:.3f}"
    if scored:
        number = f"score {neighbour.score:.3f}<br>similarity {number}"
    kind = "" if modalities.find(str(document.modality)) else f" &middot; {document.modality}"
    return f"<li>{body}<span>{neighbour.rank} &middot; {number}{kind}</span></li>"


def _caption(document: MultimodalDocument) -> str:
    found = (document.metadata.get(key) for key in _CAPTIONS)
    return next((text.strip() for text in found if isinstance(text, str) and text.strip()), "")
