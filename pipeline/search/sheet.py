"""The contact sheet of a search: its results as cards on one page, images shown, films played.

The page holds all that it shows (``sheet_media.py``), no script and no link.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from pipeline import modalities
from pipeline.references import redact
from pipeline.search.moments import moment_of
from pipeline.search.places import common_folder, is_inline, place_in
from pipeline.search.results import MultimodalDocument, Neighbour
from pipeline.search.sheet_media import Showing, Shown
from pipeline.search.sheet_page import STYLE, inline_image, player
from pipeline.settings import Settings

_LONGEST = 600  # characters of a text
_CAPTIONS = ("caption", "title", "name", "alt")  # of metadata, the first that is there

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
media-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}  li p.soft {{ font-size: .8rem; color: var(--soft); }}
  li img, li video {{ height: 9.5rem; }}
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
        asked: the file that is the query, shown beside the title if there is an image of it.

    Returns:
        Why results are not shown, a sentence each.
    """
    with Showing(settings, media_roots) as showing:
        shown = dict(showing.all_of([n.document for n in found]))
        image = _of_query(asked, showing)
    folder = common_folder(
        [redact(n.document.content_ref) for n in found if not is_inline(n.document)]
    )
    scored = any(n.score != n.similarity for n in found)
    cards = [_card(n, shown[n.document.id], folder, scored=scored) for n in found]
    about = f"{len(found)} {'result' if len(found) == 1 else 'results'}, the best first."
    about += " Under each its rank and similarity: the cosine to the query, 1 for the same."
    if scored:
        about += " Sorted by score: the cosine after each modality's mean is taken off."
    if folder:
        about += f" Files are below {folder}."
    page = _PAGE.format(
        title=escape(title),
        image=image,
        style=STYLE,
        about=escape(about),
        cards="\n".join(cards),
    )
    path.write_text(page, encoding="utf-8", errors="backslashreplace")
    return [
        f"{redact(n.document.content_ref)} is not shown: {why}"
        for n in found
        if (why := shown[n.document.id].why) is not None
    ]


def _of_query(asked: Path | None, showing: Showing) -> str:
    try:
        small = None if asked is None else showing.of_query(asked.read_bytes())
    except OSError:
        small = None
    return "" if small is None else inline_image(small, "image/webp", "the query")


def _card(neighbour: Neighbour, shown: Shown, folder: str, *, scored: bool) -> str:
    document = neighbour.document
    if is_inline(document):
        text = document.content_ref
        body = f"<p>{escape(text if len(text) <= _LONGEST else f'{text[:_LONGEST]}…')}</p>"
    else:
        body = _shown_file(document, shown, folder)
    number = f"{neighbour.similarity:.3f}"
    if scored:
        number = f"score {neighbour.score:.3f}<br>similarity {number}"
    kind = "" if modalities.find(str(document.modality)) else f" &middot; {document.modality}"
    return f"<li>{body}<span>{neighbour.rank} &middot; {number}{kind}</span></li>"


def _shown_file(document: MultimodalDocument, shown: Shown, folder: str) -> str:
    caption, moment = _caption(document), moment_of(document)
    place = place_in(folder, redact(document.content_ref))
    body = ""
    if shown.played is not None:
        body = player(shown.played, shown.media_type, shown.image, moment)
    elif shown.image is not None:
        body = inline_image(shown.image, "image/webp", caption or place)
    body += f"<p>{escape(caption)}</p>" if caption else ""
    body += f'<p class="soft">{escape(place).replace("/", "/<wbr>")}</p>'
    body += f'<p class="soft">{escape(str(moment))}</p>' if moment is not None else ""
    if shown.why is not None:
        body += f'<p class="soft">not shown: {escape(str(shown.why))}</p>'
    return body


def _caption(document: MultimodalDocument) -> str:
    found = (document.metadata.get(key) for key in _CAPTIONS)
    return next((text.strip() for text in found if isinstance(text, str) and text.strip()), "")
