"""What a bulk UPDATE of an attached table costs grows with its rows, not with their square."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pipeline.postgres.connections import Connection
from tests.helpers.attached import attach

TITLE = {"title": {"modality": "text", "content": "title"}}
ROWS = 3000


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


def thrown_away(connection: Connection, statement: str) -> int:
    """The most rows that a join of a statement, or of what its triggers run, compared in vain."""
    found = [0]

    def read(said: psycopg.errors.Diagnostic) -> None:
        plan = (said.message_primary or "").partition("plan:\n")[2]
        if plan:
            removed = (
                n.get("Rows Removed by Join Filter", 0) for n in nodes(json.loads(plan)["Plan"])
            )
            found.append(max(removed))

    connection.add_notice_handler(read)
    connection.execute(
        """
        LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0;
        SET auto_explain.log_nested_statements = on; SET auto_explain.log_analyze = on;
        SET auto_explain.log_format = 'json'; SET client_min_messages = 'log'
        """
    )
    connection.execute(statement.encode())
    connection.execute("SET auto_explain.log_min_duration = -1; RESET client_min_messages")
    connection.remove_notice_handler(read)
    assert len(found) > 1
    return max(found)


@pytest.mark.parametrize("others", [300, 20_000])
@pytest.mark.parametrize(
    "change", ["title = title || '!'", "price = price + 1", "published = NOT published", "id = -id"]
)
def test_no_row_is_compared_with_every_other(
    connection: Connection, others: int, change: str
) -> None:
    connection.execute(
        "CREATE TABLE goods (id bigint PRIMARY KEY, title text, published bool, price numeric)"
    )
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "SELECT 'other', n, 'text', 'a text' FROM generate_series(1, %s) AS n",
        (others,),
    )
    attach(connection, "goods", TITLE, filter="published", metadata="{price}")
    connection.execute("VACUUM ANALYZE source_items")
    connection.execute(
        "INSERT INTO goods SELECT n, 'text ' || n, n %% 2 = 0, n FROM generate_series(1, %s) AS n",
        (ROWS,),
    )
    assert thrown_away(connection, f"UPDATE goods SET {change}") < 10 * ROWS
