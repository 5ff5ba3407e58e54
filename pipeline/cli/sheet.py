"""``pipeline search --sheet FILE`` and ``--open``: the results as a page, images shown."""

import os
import tempfile
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.output import note

if TYPE_CHECKING:
    from pipeline.postgres.database import Database
    from pipeline.search.results import Neighbour
    from pipeline.settings import Settings


def sheet_place(sheet: Path | None, *, opens: bool) -> Path | None:
    """Where the page will be written: FILE, a new temporary file for ``--open``, or nowhere.

    Raises:
        ConfigurationError: it cannot be written there.
    """
    from pipeline.search.sheet_page import check_place

    if sheet is not None:
        check_place(sheet)
        return sheet
    if not opens:
        return None
    number, name = tempfile.mkstemp(prefix="pipeline-search-", suffix=".html")  # for us alone
    os.close(number)
    return Path(name)


def show_sheet(
    place: Path,
    title: str,
    found: "Sequence[Neighbour]",
    settings: "Settings",
    *,
    asked: Path | None,
    opens: bool,
) -> None:
    """Write the page, say where it is and what it lacks, and open it in the browser."""
    from pipeline.postgres.database import Database
    from pipeline.search.sheet import write_sheet

    roots = _media_roots(Database.of(settings))
    for missing in write_sheet(place, title, found, settings, roots, asked):
        note(missing)
    note(f"contact sheet: {place.absolute()}")
    if opens and not webbrowser.open(place.absolute().as_uri()):
        note("no browser could be opened; open that file in one")


def _media_roots(database: "Database") -> list[Path]:
    """Those that the database knows; none for a login that may not read them."""
    from psycopg.errors import InsufficientPrivilege

    from pipeline.sources.media_roots import media_roots

    with database.open() as connection:
        try:
            return media_roots(connection)
        except InsufficientPrivilege:
            note("this login may not read media_roots: files are shown below PIPELINE_MEDIA_ROOTS")
            return []
