"""Tables added as `pipeline add` does."""

from pathlib import Path
from typing import Any

from pipeline.postgres.connections import Connection
from pipeline.sources import source_items
from pipeline.sources.files import expand, rows_of
from pipeline.sources.records import Columns
from pipeline.sources.source_items import AddReport


def add_tables(connection: Connection, *paths: Path, **columns: Any) -> AddReport:
    """Those files, as the source ``shop``."""
    report = AddReport()
    rows = (
        row
        for file in expand([str(path) for path in paths], report)
        for row in rows_of(file, "shop", Columns(**columns), {}, report)
    )
    return source_items.add(connection, rows, report)
