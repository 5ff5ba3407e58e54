"""One self-contained HTML page: the tour's queries and answers, with the pictures in it."""

import base64
import mimetypes
from collections.abc import Sequence
from html import escape
from pathlib import Path

from pipeline.demo.tour import Answer
from pipeline.documents import Neighbour

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Cross-modal search in PostgreSQL: the demonstration</title>
<style>
  :root {{ color-scheme: light dark; --line: #8884; --soft: #888; }}
  body {{ font: 15px/1.45 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto;
         padding: 0 1rem; }}
  h1 {{ font-size: 1.5rem; margin-bottom: .2rem; }}
  p {{ color: var(--soft); margin-top: 0; }}
  section {{ border-top: 1px solid var(--line); padding: 1rem 0; }}
  h2 {{ font-size: 1.05rem; margin: 0 0 .6rem; display: flex; gap: .7rem; align-items: center; }}
  h2 small {{ font-weight: normal; color: var(--soft); min-width: 7.5rem; }}
  h2 img {{ width: 56px; height: 56px; object-fit: contain; }}
  ol {{ list-style: none; display: flex; flex-wrap: wrap; gap: .8rem; margin: 0; padding: 0; }}
  li {{ width: 11.5rem; border: 1px solid var(--line); border-radius: .5rem; padding: .6rem;
       box-sizing: border-box; }}
  li img {{ width: 80px; height: 80px; object-fit: contain; display: block; margin: 0 auto .4rem; }}
  li span {{ display: block; font-size: .8rem; color: var(--soft); }}
</style>
</head>
<body>
<h1>Cross-modal search in PostgreSQL</h1>
<p>{intro}</p>
{sections}
</body>
</html>
"""


def write(path: Path, answers: Sequence[Answer], intro: str) -> Path:
    """Write the page to ``path``; returns it, absolute."""
    sections = "\n".join(_section(answer) for answer in answers)
    path.write_text(_PAGE.format(intro=escape(intro), sections=sections), encoding="utf-8")
    return path.absolute()


def _section(answer: Answer) -> str:
    picture = "" if answer.picture is None else _image(answer.picture, "the query")
    cards = "\n".join(_card(neighbour) for neighbour in answer.found)
    return (
        f"<section><h2><small>{escape(answer.stop.direction)}</small>{picture}"
        f"{escape(answer.title)}</h2>\n<ol>\n{cards}\n</ol></section>"
    )


def _card(neighbour: Neighbour) -> str:
    document = neighbour.document
    if document.modality == "image":
        name = str(document.metadata.get("name", Path(document.content_ref).name))
        body = _image(Path(document.content_ref), name) + escape(name)
    else:
        body = escape(document.content_ref)
    return (
        f"<li>{body}<span>{neighbour.rank}. {document.modality} &middot; "
        f"{neighbour.similarity:.3f}</span></li>"
    )


def _image(path: Path, alt: str) -> str:
    kind = mimetypes.guess_type(path.name)[0] or "image/webp"
    try:
        data = base64.b64encode(path.read_bytes()).decode()
    except OSError:
        return f"<span>{escape(path.name)} is no longer there</span>"
    return f'<img alt="{escape(alt)}" src="data:{kind};base64,{data}">'
