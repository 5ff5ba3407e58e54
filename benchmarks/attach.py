"""What an attached table costs whoever writes it: `python -m benchmarks.attach`.

The same table (a key, a title, a counter) is written without and with an attachment: a COPY of all
rows, statements of one row, an UPDATE of a column that does not matter; then a sync of all rows,
none of which changed, against a sequential scan of the table.
"""

import argparse
import json
import statistics
import time
from typing import Any

from benchmarks.harness import database, make_space, say
from pipeline.postgres.connections import Connection, connect

TABLE = "CREATE TABLE {} (id bigint PRIMARY KEY, title text, views integer DEFAULT 0)"
ATTACH = "SELECT attach_source('attached', %s)"
CONTENTS = '{"title": {"modality": "text", "content": "title"}}'
VIEWS = "UPDATE {} SET views = views + 1 WHERE id < %(few)s"
TABLES = ("plain", "attached")


def timed(connection: Connection, statement: str, given: dict[str, int] | None = None) -> float:
    """Seconds of one statement."""
    began = time.perf_counter()
    connection.execute(statement.encode(), given)
    return time.perf_counter() - began


def copy(connection: Connection, table: str, rows: int) -> float:
    """Seconds of a COPY."""
    began = time.perf_counter()
    with connection.cursor().copy(f"COPY {table} (id, title) FROM STDIN".encode()) as into:
        for start in range(0, rows, 1000):
            into.write(
                "".join(f"{n}\ta bicycle of number {n}\n" for n in range(start, start + 1000))
            )
    return time.perf_counter() - began


def of_statements(connection: Connection, rows: int, repeats: int) -> dict[str, Any]:
    """Milliseconds of a statement of one row: medians, in turn without and with."""
    statements = {
        "insert_one": "INSERT INTO {} (id, title) VALUES (%(new)s, 'one more')",
        "update_one": "UPDATE {} SET title = title || '!' WHERE id = %(old)s",
        "update_views_of_one": "UPDATE {} SET views = views + 1 WHERE id = %(old)s",
        "delete_one": "DELETE FROM {} WHERE id = %(new)s",
    }
    times: dict[str, list[float]] = {f"{s}_{t}": [] for s in statements for t in TABLES}
    for n in range(repeats):
        given = {"new": rows + n, "old": n * (rows // repeats)}
        for name, statement in statements.items():
            for table in TABLES if n % 2 else TABLES[::-1]:
                took = timed(connection, statement.format(table), given)
                times[f"{name}_{table}"].append(took)
    return {name: round(1000 * statistics.median(found), 2) for name, found in times.items()}


def measure(rows: int, repeats: int) -> dict[str, Any]:
    found: dict[str, Any] = {"rows": rows}
    with database() as url:
        make_space(url)
        with connect(url) as connection:
            for table in TABLES:
                connection.execute(TABLE.format(table).encode())
            connection.execute(ATTACH, (CONTENTS,))
            for table in TABLES:
                seconds = copy(connection, table, rows)
                found[f"copy_{table}_us_a_row"] = round(1e6 * seconds / rows, 2)
                say(f"COPY into {table}: {seconds:.1f} s")
            for table in (*TABLES, "source_items", "ingest_jobs"):
                connection.execute(f"VACUUM ANALYZE {table}".encode())
            found |= of_statements(connection, rows, repeats)
            views: dict[str, list[float]] = {table: [] for table in TABLES}
            for n in range(6):
                for table in TABLES if n % 2 else TABLES[::-1]:
                    took = timed(connection, VIEWS.format(table), {"few": rows // 5})
                    views[table].append(took)
            for table, times in views.items():
                found[f"update_views_{table}_s"] = round(statistics.median(times), 3)
            for table in TABLES:
                connection.execute(f"VACUUM ANALYZE {table}".encode())
            for name, statement in (
                ("scan_s", "SELECT count(title || id) FROM attached"),
                ("sync_s", "SELECT sync_source('attached')"),
            ):
                found[name] = round(min(timed(connection, statement) for _ in range(3)), 3)
    found["copy_ratio"] = round(found["copy_attached_us_a_row"] / found["copy_plain_us_a_row"], 2)
    found["copy_more_us_a_row"] = round(
        found["copy_attached_us_a_row"] - found["copy_plain_us_a_row"], 2
    )
    found["update_views_ratio"] = round(
        found["update_views_attached_s"] / found["update_views_plain_s"], 2
    )
    found["sync_ratio"] = round(found["sync_s"] / found["scan_s"], 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=200, help="of each statement of one row")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.rows, arguments.repeats), indent=2))


if __name__ == "__main__":
    main()
