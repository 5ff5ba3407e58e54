"""The rows that failed, as they may be shown: what each refers to, and what to do about it."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pipeline.postgres.connections import Connection
from pipeline.queue import claims
from pipeline.queue.claims import Failure, FailureGroup
from pipeline.queue.cures import CURES
from pipeline.references import redact


def grouped(connection: Connection, space_id: int) -> list[dict[str, Any]]:
    """Per error code how many failed, with one of them as an example; most first."""
    return _explained(connection, claims.failures(connection, space_id))


def row_by_row(connection: Connection, space_id: int, limit: int) -> list[dict[str, Any]]:
    """The first ``limit`` rows that failed."""
    return _explained(connection, claims.failed_rows(connection, space_id, limit))


def _explained(
    connection: Connection, failures: Sequence[Failure | FailureGroup]
) -> list[dict[str, Any]]:
    """With ``content_ref`` and ``next``. A key may be a URL as well, so neither shows a secret."""
    refs: dict[int, str] = dict(
        connection.execute(
            "SELECT id, content_ref FROM source_items WHERE id = ANY (%s)",
            ([failure.source_id for failure in failures],),
        ).fetchall()
    )
    return [
        asdict(failure)
        | {
            "source_key": redact(failure.source_key),
            "content_ref": redact(refs.get(failure.source_id, "")),  # deleted just now: nothing
            "next": CURES.get(failure.code, "see docs/errors.md"),
        }
        for failure in failures
    ]
