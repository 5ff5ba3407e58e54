"""Which attached location a reference lies in: its source item is that location's."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pipeline.postgres.connections import Connection
from pipeline.postgres.rights import may
from pipeline.sources.locations.location import Attached, attached_locations
from pipeline.sources.source_items import SOURCE, NewSource


def location_of(reference: str, locations: Sequence[Attached]) -> Attached | None:
    """The location below which it lies, if any; they do not overlap."""
    return next((one for one in locations if reference.startswith(one.base)), None)


def given_to_their_locations(
    connection: Connection, rows: Iterable[NewSource]
) -> Iterator[NewSource]:
    """Rows of no source in particular, of what lies in an attached location, as rows of that: a
    file that is added by its name is not there twice."""
    # Whoever was given source_items alone attaches nothing.
    locations = (
        attached_locations(connection) if may(connection, "attached_sources", "SELECT") else []
    )
    for row in rows:
        its = location_of(row.content_ref, locations) if row.source == SOURCE else None
        if its is None or row.source_key != row.content_ref:
            yield row
        else:
            metadata = {**its.metadata, **row.metadata}
            key = row.content_ref.removeprefix(its.base)
            yield replace(row, source=its.source, metadata=metadata, row_key=key)
