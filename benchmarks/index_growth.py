"""Recall, time and size of the HNSW graph as a table grows: `python -m benchmarks.index_growth`.

Images with a power-law spectrum (`tests/helpers/power_law.py`), 512 dimensions, searched by texts,
k = 10, for several ``m`` and ``ef_construction`` and every ``ef_search``. Each step (a size and a
graph) is written to a file in ``--folder`` when it is done, and left out by the next run: so a long
run may be stopped and gone on with. ``--show`` prints the tables of docs/scaling.md from that file.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from psycopg import sql

from benchmarks.copying import END, HEADER, packed
from benchmarks.harness import say
from pipeline.postgres.connections import Connection, connect, fetch_one
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.vectors import Vectors
from tests.helpers.power_law import PowerLaw

DIMENSIONS = 512
K = 10
GRAPHS = ((16, 64), (24, 128), (32, 128), (16, 200), (24, 200), (32, 200), (48, 200))
STEPS = (40, 100, 200, 400, 800, 1000)


def stored(vectors: Vectors) -> Vectors:
    """As a halfvec keeps them."""
    return vectors.astype(np.float16).astype(np.float32)


def fill(connection: Connection, table: sql.Identifier, rows: int) -> None:
    """The table of so many images, made anew unless it is there already."""
    name = table.as_string(connection)
    (there,) = fetch_one(connection.execute("SELECT to_regclass(%s) IS NOT NULL", (name,)))
    if there:
        return
    say(f"storing {rows:,} images")
    with connection.transaction():
        connection.execute(
            sql.SQL("CREATE TABLE {} (id integer, embedding halfvec({}))").format(
                table, sql.Literal(DIMENSIONS)
            )
        )
        connection.execute(
            sql.SQL("ALTER TABLE {} ALTER embedding SET STORAGE PLAIN").format(table)
        )
        copy_in = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(table)
        first = 0
        with connection.cursor().copy(copy_in) as copy:
            copy.write(HEADER)
            for chunk in PowerLaw(DIMENSIONS).images(rows):
                copy.write(packed(np.arange(first, first + len(chunk)), chunk))
                first += len(chunk)
            copy.write(END)
    connection.execute(sql.SQL("VACUUM ANALYZE {}").format(table))


def truth(queries: Vectors, rows: int) -> list[set[int]]:
    """By NumPy, of what is stored: the ids of the K nearest images of each query."""
    best = np.full((len(queries), K), -2.0, np.float32)
    ids = np.zeros((len(queries), K), np.int64)
    first = 0
    for chunk in PowerLaw(DIMENSIONS).images(rows):
        scores = np.hstack([best, queries @ stored(chunk).T])
        numbers = np.hstack(
            [ids, np.broadcast_to(np.arange(first, first + len(chunk)), scores[:, K:].shape)]
        )
        nearest = np.argpartition(-scores, K, axis=1)[:, :K]
        best = np.take_along_axis(scores, nearest, axis=1)
        ids = np.take_along_axis(numbers, nearest, axis=1)
        first += len(chunk)
    return [set(row.tolist()) for row in ids]


def build(connection: Connection, table: sql.Identifier, m: int, ef_construction: int) -> float:
    """Seconds that the index took, with all the memory that it needs and two processes."""
    connection.execute("DROP INDEX IF EXISTS graph")
    began = time.perf_counter()
    connection.execute(
        sql.SQL(
            "CREATE INDEX graph ON {} USING hnsw (embedding halfvec_cosine_ops) "
            "WITH (m = {}, ef_construction = {})"
        ).format(table, sql.Literal(m), sql.Literal(ef_construction))
    )
    return time.perf_counter() - began


def processor_seconds(connection: Connection) -> float:
    """That the connection's backend, which is on this machine, has used."""
    stat = Path(f"/proc/{connection.info.backend_pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, stat[11:13])) / os.sysconf("SC_CLK_TCK")


def search(
    connection: Connection,
    table: sql.Identifier,
    queries: Vectors,
    nearest: Sequence[set[int]],
    ef_search: int,
) -> dict[str, float]:
    """Recall, and milliseconds: of the processor, of the median, of the 95th percentile."""
    connection.execute("SELECT set_config('hnsw.ef_search', %s, false)", (str(ef_search),))
    statement = sql.SQL("SELECT id FROM {} ORDER BY embedding <=> %s::halfvec LIMIT {}").format(
        table, sql.Literal(K)
    )
    shown = ["[" + ",".join(map(repr, query.tolist())) + "]" for query in queries]
    for vector in shown[:20]:  # to warm up
        connection.execute(statement, (vector,))
    times, shares = [], []
    before = processor_seconds(connection)
    for vector, expected in zip(shown, nearest, strict=True):
        began = time.perf_counter()
        found = {row[0] for row in connection.execute(statement, (vector,)).fetchall()}
        times.append(1000 * (time.perf_counter() - began))
        shares.append(len(found & expected) / K)
    return {
        "ef_search": ef_search,
        "recall": round(statistics.mean(shares), 4),
        # Of the server's process: what others do on the machine hardly changes it.
        "cpu_ms": round(1000 * (processor_seconds(connection) - before) / len(times), 2),
        "p50_ms": round(statistics.median(times), 2),
        "p95_ms": round(float(np.percentile(times, 95)), 2),
    }


def measure(connection: Connection, rows: int, graph: tuple[int, int], queries: int) -> Any:
    """One step."""
    table = sql.Identifier(f"images_{rows}")
    fill(connection, table, rows)
    m, ef_construction = graph
    say(f"{rows:,} rows, m {m}, ef_construction {ef_construction}")
    seconds = build(connection, table, m, ef_construction)
    asked = stored(PowerLaw(DIMENSIONS).queries(queries))
    nearest = truth(asked, rows)
    searches = [search(connection, table, asked, nearest, ef_search) for ef_search in STEPS]
    (size,) = fetch_one(connection.execute("SELECT pg_relation_size('graph')"))
    connection.execute("DROP INDEX graph")
    return {
        "rows": rows,
        "m": m,
        "ef_construction": ef_construction,
        "build_seconds": round(seconds, 1),
        "index_mb": round(size / 2**20),
        "searches": searches,
    }


@contextlib.contextmanager
def database(folder: Path) -> Iterator[Connection]:
    """On a server of its own, whose data stay in the folder."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    server = EmbeddedServer(folder / "home")
    url = server.start()
    try:
        with connect(url, schema=None) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public")
            connection.execute("SET search_path = public")
            connection.execute("SET enable_seqscan = off")
            connection.execute("SET maintenance_work_mem = '4GB'")
            connection.execute("SET max_parallel_maintenance_workers = 1")
            yield connection
    finally:
        server.stop()


def show(steps: Sequence[dict[str, Any]]) -> None:
    """The table of docs/scaling.md: recall and milliseconds of the processor by ef_search."""
    print("| rows | m | ef_construction | size | " + " | ".join(map(str, STEPS)) + " |")
    print("|---|---|---|---|" + "---|" * len(STEPS))
    for step in sorted(steps, key=lambda s: (s["rows"], s["ef_construction"], s["m"])):
        cells = [
            f"{s['recall']:.3f}" + (f" ({s['cpu_ms']:.1f})" if "cpu_ms" in s else "")
            for s in sorted(step["searches"], key=lambda s: s["ef_search"])
        ]
        print(
            f"| {step['rows']:,} | {step['m']} | {step['ef_construction']} "
            f"| {step['index_mb']} MB | {' | '.join(cells)} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="data and results stay there")
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--graphs", nargs="+", help="as 16,64; several", default=None)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--show", action="store_true", help="print what is measured, and end")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    arguments.folder.chmod(0o755)
    results = arguments.folder / "steps.jsonl"
    steps = (
        [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    )
    if arguments.show:
        show(steps)
        return
    graphs = [tuple(map(int, g.split(","))) for g in arguments.graphs or ()] or GRAPHS
    done = {(s["rows"], s["m"], s["ef_construction"]) for s in steps}
    with database(arguments.folder) as connection:
        for rows in arguments.rows:
            for m, ef_construction in graphs:
                if (rows, m, ef_construction) in done:
                    continue
                step = measure(connection, rows, (m, ef_construction), arguments.queries)
                with results.open("a") as file:
                    file.write(json.dumps(step) + "\n")
                print(json.dumps(step), flush=True)


if __name__ == "__main__":
    main()
