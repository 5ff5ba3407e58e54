"""The folders that file references may point into, as far as the database knows of them."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

import psycopg

from pipeline.postgres.connections import Connection
from pipeline.postgres.database import Database
from pipeline.sources.source_items import unusable


def register_roots(connection: Connection, folders: Iterable[Path]) -> list[Path]:
    """Allow file references into these folders; returns those that were not allowed before."""
    new = []
    for folder in folders:
        resolved = folder.resolve()
        if unusable(str(resolved)):  # no reference can name what is in it
            continue
        covered = connection.execute(
            "SELECT 1 FROM media_roots WHERE %s = path OR starts_with(%s, rtrim(path, '/') || '/')",
            (str(resolved), str(resolved)),
        ).fetchone()
        if covered is None:
            connection.execute(
                "INSERT INTO media_roots (path) VALUES (%s) ON CONFLICT DO NOTHING",
                (str(resolved),),
            )
            new.append(resolved)
    return new


def media_roots(connection: Connection) -> list[Path]:
    """The folders that ``pipeline add`` registered."""
    return [Path(path) for (path,) in connection.execute("SELECT path FROM media_roots")]


def known_media_roots(database: Database, purpose: str) -> list[Path]:
    """The same, for who only looks: none where the login may not know them.

    Raises:
        DatabaseError: as ``Database.open``.
    """
    with database.open(purpose) as connection, contextlib.suppress(psycopg.Error):
        return media_roots(connection)
    return []
