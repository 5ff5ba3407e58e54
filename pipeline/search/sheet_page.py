"""The look of a contact sheet: one self-contained HTML page, light or dark, narrow or wide."""

import base64
import os
from html import escape
from pathlib import Path

from pipeline.errors import ConfigurationError
from pipeline.modalities.moments import Moment

STYLE = """
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
  video { background: #000; object-fit: contain; }
  li audio { width: 100%; }
  li img, li video { width: calc(100% + 1.4rem); height: 7.2rem; margin: -.7rem -.7rem 0;
           padding: .7rem; border-radius: .55rem .55rem 0 0; }
  h2 img { width: 3.6rem; height: 3.6rem; padding: .25rem; border: 1px solid var(--line);
           border-radius: .4rem; }
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


def inline_image(data: bytes, kind: str, alt: str) -> str:
    """The image itself, so that the page needs no other file. ``kind``: its media type."""
    return f'<img alt="{escape(alt)}" src="{_data(kind, data)}">'


def player(data: bytes, kind: str, poster: bytes | None, moment: Moment | None) -> str:
    """The film or sound itself, which begins at the moment when somebody plays it.

    Args:
        kind: its media type.
        poster: the WebP that stands there until then.
    """
    element = kind.partition("/")[0]
    at = f"#t={moment.start:g}" if moment is not None and moment.start is not None else ""
    still = "" if poster is None else f' poster="{_data("image/webp", poster)}"'
    source = f'src="{_data(kind, data)}{at}"'
    return f'<{element} controls preload="metadata"{still} {source}></{element}>'


def _data(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
