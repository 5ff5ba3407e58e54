"""One HNSW index a modality against one for each of several hash partitions of it.

`python -m benchmarks.partitions --folder FOLDER`. Images with a power-law spectrum
(`tests/helpers/power_law.py`), searched by texts, k = 10. The single index is built by one process
and a parallel worker of its own, the partitions' two at a time, each by one process. A search asks
every partition's index (Merge Append), so what counts is recall by the processor's time it costs.
Each layout is written to a file when it is done and left out by the next run; ``--show`` prints the
table of docs/scaling.md.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from psycopg import sql

from benchmarks.copying import END, HEADER, packed
from benchmarks.harness import say
from benchmarks.index_growth import K, database, search, stored
from pipeline.postgres.connections import Connection, connect, fetch_one
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.vectors import Vectors
from tests.helpers.power_law import PowerLaw

STEPS = (10, 20, 40, 60, 100, 200, 400, 800)


def fill(connection: Connection, table: sql.Identifier, partitions: int, images: Vectors) -> None:
    """The table anew, in so many hash partitions; 1: not partitioned."""
    by_hash = sql.SQL("PARTITION BY HASH (id)" if partitions > 1 else "")
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))
    connection.execute(
        sql.SQL("CREATE TABLE {} (id integer, embedding halfvec({})) {}").format(
            table, sql.Literal(images.shape[1]), by_hash
        )
    )
    connection.execute(sql.SQL("ALTER TABLE {} ALTER embedding SET STORAGE PLAIN").format(table))
    for part, name in enumerate(parts(table, partitions)) if partitions > 1 else ():
        connection.execute(
            sql.SQL(
                "CREATE TABLE {} PARTITION OF {} FOR VALUES WITH (MODULUS {}, REMAINDER {})"
            ).format(name, table, sql.Literal(partitions), sql.Literal(part))
        )
    copy_in = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(table)
    with connection.cursor().copy(copy_in) as copy:
        copy.write(HEADER + packed(np.arange(len(images)), images) + END)
    connection.execute(sql.SQL("VACUUM ANALYZE {}").format(table))


def parts(table: sql.Identifier, partitions: int) -> list[sql.Identifier]:
    """The tables that get an index each."""
    (name,) = table._obj
    return [sql.Identifier(f"{name}_{n}") for n in range(partitions)] if partitions > 1 else [table]


def build(url: str, tables: Sequence[sql.Identifier], m: int, ef_construction: int) -> float:
    """Seconds for all indexes, with two processes at work throughout."""
    alone = len(tables) == 1

    def one(table: sql.Identifier) -> None:
        with connect(url, schema=None) as connection:
            connection.execute("SET search_path = public")
            connection.execute("SET maintenance_work_mem = '2GB'")
            connection.execute(
                "SELECT set_config('max_parallel_maintenance_workers', %s, false)",
                ("1" if alone else "0",),
            )
            connection.execute(
                sql.SQL(
                    "CREATE INDEX ON {} USING hnsw (embedding halfvec_cosine_ops) "
                    "WITH (m = {}, ef_construction = {})"
                ).format(table, sql.Literal(m), sql.Literal(ef_construction))
            )

    began = time.perf_counter()
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(one, tables))
    return time.perf_counter() - began


def measure(
    connection: Connection, url: str, partitions: int, wanted: argparse.Namespace
) -> dict[str, Any]:
    """One layout."""
    say(f"{wanted.rows:,} rows in {partitions} partition(s)")
    made = PowerLaw(wanted.dimensions)
    images: Vectors = np.concatenate(list(made.images(wanted.rows)))
    table = sql.Identifier(f"images_in_{partitions}")
    fill(connection, table, partitions, images)
    tables = parts(table, partitions)
    seconds = build(url, tables, wanted.m, wanted.ef_construction)
    queries = stored(made.queries(200))
    scores = queries @ stored(images).T
    nearest = [set(row.tolist()) for row in np.argpartition(-scores, K, axis=1)[:, :K]]
    searches = [search(connection, table, queries, nearest, step) for step in STEPS]
    (size,) = fetch_one(
        connection.execute(
            "SELECT sum(pg_relation_size(i.indexrelid)) FROM pg_index AS i "
            "WHERE i.indrelid = ANY (SELECT to_regclass(n) FROM unnest(%s::text[]) AS n)",
            ([name.as_string(connection) for name in tables],),
        )
    )
    return {
        "partitions": partitions,
        "rows": wanted.rows,
        "build_seconds": round(seconds, 1),
        "index_mb": round(int(size) / 2**20),
        "searches": searches,
    }


def at_recall(searches: Sequence[dict[str, float]], target: float, key: str) -> float:
    """What a recall costs, between the steps that enclose it; infinity: it is not reached."""
    recalls = [s["recall"] for s in searches]
    if max(recalls) < target:
        return float("inf")
    return float(np.interp(target, recalls, [s[key] for s in searches]))


def show(layouts: Sequence[dict[str, Any]]) -> None:
    """Recall by ef_search, with the processor's time as a multiple of one index at 100."""
    base = statistics.mean(
        s["cpu_ms"] for one in layouts if one["partitions"] == 1 for s in one["searches"]
        if s["ef_search"] == 100
    )  # fmt: skip
    targets = (0.9, 0.95, 0.98)
    print("| partitions | build | index | " + " | ".join(map(str, STEPS)) + " | "
          + " | ".join(f"for {t}" for t in targets) + " |")  # fmt: skip
    print("|---|---|---|" + "---|" * (len(STEPS) + len(targets)))
    for one in layouts:
        cells = [f"{s['recall']:.3f} ({s['cpu_ms'] / base:.2f})" for s in one["searches"]]
        cells += [f"{at_recall(one['searches'], t, 'cpu_ms') / base:.2f}" for t in targets]
        print(f"| {one['partitions']} | {one['build_seconds']} s | {one['index_mb']} MB "
              f"| {' | '.join(cells)} |")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="data and results stay there")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=192)
    parser.add_argument("--partitions", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--m", type=int, default=24)
    parser.add_argument("--ef-construction", type=int, default=128)
    parser.add_argument("--show", action="store_true", help="print what is measured, and end")
    wanted = parser.parse_args()
    wanted.folder.mkdir(parents=True, exist_ok=True)
    wanted.folder.chmod(0o755)
    results = wanted.folder / "layouts.jsonl"
    lines = results.read_text().splitlines() if results.exists() else []
    layouts = [json.loads(line) for line in lines]
    if wanted.show:
        show(layouts)
        return
    done = {(one["partitions"], one["rows"]) for one in layouts}
    with database(wanted.folder) as connection:
        url = EmbeddedServer(wanted.folder / "home").url()
        for partitions in wanted.partitions:
            if (partitions, wanted.rows) not in done:
                layout = measure(connection, url, partitions, wanted)
                print(json.dumps(layout), flush=True)
                with results.open("a") as file:
                    file.write(json.dumps(layout) + "\n")


if __name__ == "__main__":
    main()
