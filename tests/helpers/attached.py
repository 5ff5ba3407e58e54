"""A shop whose products are attached, for the tests of attached sources."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import sql

from pipeline.postgres.connections import Connection
from tests.helpers.databases import as_login

CONTENTS = {
    "photo": {"modality": "image", "content": "photo"},
    "title": {"modality": "text", "content": "concat_ws(' ', title, description)"},
    "more": {"modality": "image", "content": "extra", "each": True},
}
PRODUCTS = """
CREATE TABLE shop.products (
    id bigint PRIMARY KEY, title text, description text, photo text, extra text[],
    published boolean NOT NULL DEFAULT true, price numeric, views integer NOT NULL DEFAULT 0)
"""


@contextmanager
def shopkeeper(connection: Connection, url: str, table: str = PRODUCTS) -> Iterator[Connection]:
    """A login that owns a schema with a table, and may fill the pipeline."""
    with as_login(connection, url, "shopkeeper", "LOGIN IN ROLE pipeline_ingest") as own:
        connection.execute("CREATE SCHEMA shop AUTHORIZATION shopkeeper")
        own.execute(table.encode())
        yield own
        connection.execute(
            "SELECT detach_source(name) FROM attached_sources WHERE relation IS NOT NULL"
        )


def attach(
    connection: Connection, relation: str = "shop.products", contents: object = None, **more: Any
) -> str:
    """What ``attach_source`` gives."""
    names = sql.SQL("").join(
        sql.SQL(", {} => {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in more
    )
    given = {"relation": relation, "contents": json.dumps(contents or CONTENTS), **more}
    row = connection.execute(
        sql.SQL("SELECT attach_source(%(relation)s, %(contents)s{})").format(names), given
    ).fetchone()
    assert row is not None
    return str(row[0])


def source_items(connection: Connection) -> list[tuple[Any, ...]]:
    """All there are, as (source, key, modality, reference)."""
    return connection.execute(
        "SELECT source, source_key, modality, content_ref FROM source_items "
        'ORDER BY source, source_key COLLATE "C"'
    ).fetchall()


def problem(connection: Connection, name: str = "products") -> str | None:
    """Why it needs a sync, if it does."""
    row = connection.execute(
        "SELECT problem FROM attached_source_status WHERE name = %s", (name,)
    ).fetchone()
    assert row is not None
    return row[0] and str(row[0])


def sync(connection: Connection, name: str = "products") -> tuple[int, int, int]:
    """How many source items were added, changed and removed."""
    row = connection.execute("SELECT * FROM sync_source(%s)", (name,)).fetchone()
    assert row is not None
    return row[0], row[1], row[2]
