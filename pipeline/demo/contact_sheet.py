"""One self-contained HTML page: the tour's queries and answers, with the images in it."""

import mimetypes
from collections.abc import Sequence
from html import escape
from pathlib import Path

from pipeline import modalities
from pipeline.demo.manifest import samples
from pipeline.demo.tour import MIXED_RANKING, Answer
from pipeline.search.results import Neighbour
from pipeline.search.sheet_page import STYLE, inline_image
from pipeline.settings import DEFAULT_MODEL
from pipeline.spaces import Space

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Cross-modal search in PostgreSQL: the demonstration</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>Text finds images, images find text: one SELECT in PostgreSQL</h1>
<p>{samples:,} drawings and {samples:,} captions lie in one table, each as a vector of {dimensions}
numbers that one model has made of it. Under each query stands the statement that answers it.</p>
<p>A result has its rank, then the similarity: the cosine of the angle between its vector and the
query&rsquo;s, 1 for the same direction. Texts and images lie apart, so a good image for a text
has some 0.4 here, and a good text for a text more. A blue frame marks the caption or the drawing
that belongs to the query.</p>
</header>
{sections}
<footer>Model: {model}, a small OpenCLIP model that comes with the package and knows drawings like
these only, in {precision}. For photographs use a full-size one, such as {full_size}.</footer>
</body>
</html>
"""


def write(path: Path, answers: Sequence[Answer], space: Space) -> Path:
    """Write the page to ``path``; returns it, absolute."""
    page = _PAGE.format(
        style=STYLE,
        samples=len(samples()),
        dimensions=space.dimensions,
        model=escape(space.model),
        precision=space.precision,
        full_size=DEFAULT_MODEL,
        sections="\n".join(_section(answer) for answer in answers),
    )
    path.write_text(page, encoding="utf-8")
    return path.absolute()


def _section(answer: Answer) -> str:
    image = "" if answer.image is None else _image(answer.image, "the query")
    is_mixed = answer.stop.modality is None
    cards = "\n".join(_card(neighbour, answer.stop.query, is_mixed) for neighbour in answer.found)
    return (
        f"<section><h2><small>{escape(answer.stop.direction)}</small>{image}"
        f"{escape(answer.title)}</h2>\n<pre>{escape(answer.statement, quote=False)}</pre>\n"
        f"{f'<p>{MIXED_RANKING}</p>' if is_mixed else ''}<ol>\n{cards}\n</ol></section>"
    )


def _card(neighbour: Neighbour, query: str, is_mixed: bool) -> str:
    document = neighbour.document
    if modalities.get(document.modality).inline:
        body = f"<p>{escape(document.content_ref)}</p>"
    else:
        name = str(document.metadata.get("name", Path(document.content_ref).name))
        body = f"{_image(document.content_ref, name)}<p>{escape(name)}</p>"
    own = ' class="own"' if document.metadata.get("pair") == query else ""
    number = f"{neighbour.similarity:.3f}"
    if is_mixed:
        number = f"score {neighbour.score:.3f}<br>similarity {number}"
    return f"<li{own}>{body}<span>{neighbour.rank} &middot; {number}</span></li>"


def _image(reference: str | Path, alt: str) -> str:
    """The image itself, so that the page needs no other file; nothing where it is not a file."""
    path = Path(reference)
    try:
        data = path.read_bytes()
    except (OSError, ValueError):
        return ""
    return inline_image(data, mimetypes.guess_type(path.name)[0] or "image/webp", alt)
