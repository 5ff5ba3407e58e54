"""One self-contained HTML page: the tour's queries and answers, with the images in it."""

import base64
import mimetypes
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from pipeline import modalities
from pipeline.demo.manifest import samples
from pipeline.demo.tour import MIXED_RANKING, Answer
from pipeline.errors import ConfigurationError
from pipeline.search.results import Neighbour
from pipeline.settings import DEFAULT_MODEL
from pipeline.spaces import Space

_STYLE = """
  :root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --page: #f6f8fa;
          --card: #fff; --line: #d1d9e0; --blue: #0969da; }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #e6edf3; --soft: #9198a1; --page: #0d1117; --card: #161b22; --line: #3d444d;
            --blue: #58a6ff; }
  }
  * { box-sizing: border-box; }
  body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--page);
         max-width: 68rem; margin: 0 auto; padding: 2rem 1rem; }
  h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .5rem; }
  header p, footer { color: var(--soft); max-width: 46rem; margin: .4rem 0; }
  section > p { color: var(--soft); margin: 0 0 .9rem; }
  section { border-top: 1px solid var(--line); padding: 1.2rem 0; margin-top: 1.2rem; }
  h2 { font-size: 1.15rem; margin: 0; display: flex; flex-wrap: wrap; gap: .3rem .8rem;
       align-items: center; }
  h2 small { flex-basis: 100%; font-size: .75rem; font-weight: 600; color: var(--blue);
             text-transform: uppercase; letter-spacing: .05em; }
  pre { font: .8rem/1.5 ui-monospace, monospace; color: var(--soft); margin: .5rem 0 .9rem;
        white-space: pre-wrap; overflow-wrap: anywhere; }
  ol { list-style: none; margin: 0; padding: 0; display: grid; gap: .8rem;
       grid-template-columns: repeat(auto-fill, minmax(min(11.5rem, 45%), 1fr)); }
  li { display: flex; flex-direction: column; gap: .5rem; background: var(--card);
       border: 1px solid var(--line); border-radius: .6rem; padding: .7rem; overflow: hidden; }
  li.own { border-color: var(--blue); box-shadow: 0 0 0 1px var(--blue); }
  li p { margin: 0; overflow-wrap: anywhere; }
  li span { margin-top: auto; font-size: .8rem; color: var(--soft);
            font-variant-numeric: tabular-nums; }
  /* The drawings lie on white, so on a dark page the upper part of a card is white. */
  img { background: #fff; object-fit: contain; }
  li img { width: calc(100% + 1.4rem); height: 7.2rem; margin: -.7rem -.7rem 0; padding: .7rem;
           border-radius: .55rem .55rem 0 0; }
  h2 img { width: 3.6rem; height: 3.6rem; padding: .25rem; border: 1px solid var(--line);
           border-radius: .4rem; }
"""

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


def check_place(path: Path) -> None:
    """Raises what would otherwise come after all the work.

    Raises:
        ConfigurationError: the page cannot be written to ``path``.
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        reason = f"there is no folder {folder}"
    elif path.is_dir():
        reason = "it is a folder"
    elif not os.access(path if path.exists() else folder, os.W_OK):
        reason = "this user may not write there"
    else:
        return
    raise ConfigurationError(
        f"the contact sheet cannot be written to {path}: {reason}; name another file with --sheet"
    )


def write(path: Path, answers: Sequence[Answer], space: Space) -> Path:
    """Write the page to ``path``; returns it, absolute."""
    page = _PAGE.format(
        style=_STYLE,
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
        data = base64.b64encode(path.read_bytes()).decode()
    except (OSError, ValueError):
        return ""
    kind = mimetypes.guess_type(path.name)[0] or "image/webp"
    return f'<img alt="{escape(alt)}" src="data:{kind};base64,{data}">'
