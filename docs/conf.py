"""The site of these pages: `make docs` builds it, see Sphinx for what stands here.

Its sources are the repository's own pages where they lie, so that a link in one means the same on
the site and where the repository is looked at.
"""

import logging
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

import reference_pages  # noqa: E402

from pipeline.version import __version__  # noqa: E402

logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of each of its parts

project = "pgvector-crossmodal-pipeline"
author = project_copyright = "the authors of pgvector-crossmodal-pipeline"
version = release = __version__

root_doc = "docs/index"
include_patterns = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "benchmarks/README.md",
    "docs/**.md",
    "docs/notebooks/*.ipynb",
    "pipeline/demo/NOTICES.md",
    "plugins/imagebind/README.md",
    "sql/README.md",
]
source_suffix = {".md": "markdown", ".ipynb": "markdown"}
# Folders that are not even looked through.
exclude_patterns = [".*", "build", "dist", "tests", "**/node_modules", "**/__pycache__"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False

# What other packages' documents say is theirs; nothing is looked up, so a build needs no network.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!pipeline).*")]
nitpick_ignore = [
    ("py:class", "pipeline.search.attached_rows.Row"),  # a type variable
    ("py:class", "pipeline.sources.attachments.Content"),  # an alias that says itself what it is
]

smartquotes = False  # what is quoted is often SQL
html_theme = "furo"
html_title = project
html_favicon = "../pipeline/web/static/icon.svg"
html_extra_path = ["site"]
html_show_sourcelink = False
html_copy_source = False


def fill_in(app: Sphinx, page: str, text: list[str]) -> None:
    """Put what the code says of itself where a page asks for it; read a notebook as a page."""
    if app.env.doc2path(page).suffix == ".ipynb":
        text[0] = reference_pages.from_notebook(text[0])
    text[0] = reference_pages.filled_in(text[0])


def setup(app: Sphinx) -> None:
    app.connect("source-read", fill_in)
