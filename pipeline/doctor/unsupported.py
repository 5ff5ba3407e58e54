"""Rows that no space can embed."""

from collections.abc import Iterator

from psycopg import sql

from pipeline.doctor.check import Check
from pipeline.postgres.connections import Connection
from pipeline.queue import status


def unsupported(connection: Connection) -> Iterator[Check]:
    """Rows that wait for a space that is not there: no job is made for them."""
    for row in status.unsupported(connection):
        delete = sql.SQL("DELETE FROM source_items WHERE modality = {}").format(
            sql.Literal(row.modality)
        )
        yield Check(
            f"unsupported {row.modality}",
            False,
            f"{row.source_items} source items that no space in use can embed",
            f"pipeline space create NAME --model MODEL, of a model that has {row.modality}; or "
            f"{delete.as_string(connection)}",
        )
