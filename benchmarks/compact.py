"""Full, compact and binary indexes over the same images: `python -m benchmarks.compact`.

Two cones with a power-law spectrum (`tests/helpers/power_law.py`), searched by texts that mean none
of the images, k = 10. The full and the compact index are made as `pipeline space reindex` makes
them; the binary one is pgvector's `binary_quantize`, its candidates ranked by whole vectors too.
Each step (a size and an index) is written to a file in ``--folder`` when it is done, and left out
by the next run: a long run may be stopped and gone on with. ``--show`` prints the table of
docs/scaling.md from that file. ``--rows 100000 1000000 3000000 --dimensions 192`` is the long run.
"""

import argparse
import contextlib
import dataclasses
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from psycopg import sql

from benchmarks.harness import say
from benchmarks.index_growth import K, processor_seconds, stored
from pipeline import spaces
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect, fetch_one
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.spaces import Space
from pipeline.spaces.index.compact import prepare
from pipeline.spaces.index.graph import Graph, IndexKind
from pipeline.spaces.index.rebuild import rebuild_indexes
from pipeline.vectors import Vectors
from tests.helpers.fakes import FakeEmbedder
from tests.helpers.power_law import PowerLaw
from tests.helpers.two_cones import store

KINDS = ("full", "compact", "binary")
STEPS = (40, 100, 200, 400, 800)
TEXTS = 5_000  # to fit a rotation by; their index is built along with that of the images
CLIENTS = (1, 2, 4, 8)
SECONDS = 5.0  # of each number of clients

# (candidates, vector as text, k) are bound; the settings of the session say ef_search.
FULL = """
SELECT source_id FROM {table} ORDER BY embedding <=> %(vector)s::halfvec({D}) LIMIT {k}
"""
COMPACT = """
SELECT source_id FROM (
    SELECT source_id, embedding FROM {table} ORDER BY {key} <=> (
        SELECT compact_embedding(%(vector)s::halfvec({D}), {space}, {d}))
    LIMIT %(candidates)s
) AS candidates ORDER BY (embedding <=> %(vector)s::halfvec({D})) + 0 LIMIT {k}
"""
BINARY = """
SELECT source_id FROM (
    SELECT source_id, embedding FROM {table}
    ORDER BY binary_quantize(embedding)::bit({D}) <~> binary_quantize(%(vector)s::halfvec({D}))
    LIMIT %(candidates)s
) AS candidates ORDER BY (embedding <=> %(vector)s::halfvec({D})) + 0 LIMIT {k}
"""


def fill(connection: Connection, rows: int, dimensions: int) -> Space:
    """The active space of so many images; made anew unless it is there already."""
    name = f"rows_{rows}_of_{dimensions}"
    known = [space for space in spaces.list_spaces(connection) if space.name == name]
    if known:
        space = known[0]
    else:
        # One may be building at a time; these are never activated.
        connection.execute("UPDATE embedding_spaces SET state = 'retired'")
        space = spaces.create(connection, name, _embedder(dimensions, name))
    say(f"storing {rows:,} images")
    made = PowerLaw(dimensions)
    with connection.transaction():
        if spaces.is_empty(connection, space):
            store(connection, space, "text", next(made.texts(min(rows, TEXTS))), first_source_id=1)
            first = 10_000_001
            for chunk in made.images(rows):
                store(connection, space, "image", chunk, first_source_id=first)
                first += len(chunk)
    connection.execute(sql.SQL("VACUUM ANALYZE {}").format(space.table("image")))
    return space


def _embedder(dimensions: int, name: str) -> FakeEmbedder:
    """One whose fingerprint is that of no other space."""
    embedder = FakeEmbedder(dimensions)
    embedder.description = dataclasses.replace(embedder.description, weights_sha256=name)
    return embedder


def truth(queries: Vectors, rows: int, dimensions: int) -> list[set[int]]:
    """By NumPy, of what is stored: the source ids of the K nearest images of each query."""
    best = np.full((len(queries), K), -2.0, np.float32)
    ids = np.zeros((len(queries), K), np.int64)
    first = 10_000_001
    for chunk in PowerLaw(dimensions).images(rows):
        scores = np.hstack([best, queries @ stored(chunk).T])
        numbers = np.arange(first, first + len(chunk))
        both = np.hstack([ids, np.broadcast_to(numbers, (len(queries), len(chunk)))])
        nearest = np.argpartition(-scores, K, axis=1)[:, :K]
        best = np.take_along_axis(scores, nearest, axis=1)
        ids = np.take_along_axis(both, nearest, axis=1)
        first += len(chunk)
    return [set(row.tolist()) for row in ids]


def build(connection: Connection, space: Space, kind: str) -> dict[str, Any]:
    """Seconds of writing coordinates and of building, and the room that index and table take."""
    prepared = 0.0
    if kind == "compact":
        # As in a new space: rows that are rewritten beside an index are inserted into it again.
        for modality in space.modalities:
            index = sql.Identifier(space.index_name(modality))
            connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(index))
        began = time.perf_counter()
        wanted = prepare(connection, space)
        assert wanted is not None
        prepared = time.perf_counter() - began
    began = time.perf_counter()
    name = space.index_name("image")
    if kind == "binary":
        name += "_binary"
        # What build_index gives the others.
        connection.execute("SET maintenance_work_mem = '4GB'")
        connection.execute("SET max_parallel_maintenance_workers = 1")
        connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(name)))
        connection.execute(
            sql.SQL(
                "CREATE INDEX {} ON {} USING hnsw ((binary_quantize(embedding)::bit({})) "
                "bit_hamming_ops) WITH (m = {}, ef_construction = {})"
            ).format(
                sql.Identifier(name),
                space.table("image"),
                sql.Literal(space.dimensions),
                sql.Literal(space.hnsw_m),
                sql.Literal(space.hnsw_ef_construction),
            )
        )
    else:
        graph = Graph(space.hnsw_m, space.hnsw_ef_construction)
        rebuild_indexes(connection, space, graph, IndexKind(kind))
    seconds = time.perf_counter() - began
    sizes = fetch_one(
        connection.execute(
            "SELECT pg_relation_size(to_regclass(%s)), pg_table_size(to_regclass(%s))",
            (name, space.table_name("image")),
        )
    )
    return {
        "prepare_seconds": round(prepared, 1),
        "build_seconds": round(seconds, 1),
        "index_mb": round(sizes[0] / 2**20),
        "table_mb": round(sizes[1] / 2**20),
        "peak_mb": peak(connection),
    }


def peak(connection: Connection) -> int:
    """Most memory that the connection's backend, which is on this machine, has had, in MiB."""
    status = Path(f"/proc/{connection.info.backend_pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line) // 1024


def statement_of(space: Space, kind: str) -> sql.Composed:
    text = {"full": FULL, "compact": COMPACT, "binary": BINARY}[kind]
    return sql.SQL(text).format(
        table=space.table("image"),
        key=space.key,
        space=sql.Literal(space.id),
        d=sql.Literal(space.compact_dimensions),
        D=sql.Literal(space.dimensions),
        k=sql.Literal(K),
    )


def settle(connection: Connection, ef_search: int) -> None:
    for name, value in (
        ("hnsw.ef_search", ef_search),
        ("hnsw.iterative_scan", "relaxed_order"),
        ("enable_seqscan", "off"),
        ("jit", "off"),
    ):
        connection.execute("SELECT set_config(%s, %s, false)", (name, str(value)))


def search(
    connection: Connection,
    statement: sql.Composed,
    vectors: Sequence[str],
    nearest: Sequence[set[int]],
    ef_search: int,
) -> dict[str, float]:
    """Recall, and milliseconds: of the processor, of the median, of the 95th percentile."""
    settle(connection, ef_search)
    for vector in vectors[:20]:  # to warm up
        connection.execute(statement, {"vector": vector, "candidates": ef_search})
    times, shares = [], []
    before = processor_seconds(connection)
    for vector, expected in zip(vectors, nearest, strict=True):
        began = time.perf_counter()
        rows = connection.execute(statement, {"vector": vector, "candidates": ef_search}).fetchall()
        times.append(1000 * (time.perf_counter() - began))
        shares.append(len({row[0] for row in rows} & expected) / K)
    return {
        "ef_search": ef_search,
        "recall": round(statistics.mean(shares), 4),
        "cpu_ms": round(1000 * (processor_seconds(connection) - before) / len(times), 2),
        "p50_ms": round(statistics.median(times), 2),
        "p95_ms": round(float(np.percentile(times, 95)), 2),
    }


def throughput(
    url: str, statement: sql.Composed, vectors: Sequence[str], ef_search: int, clients: int
) -> float:
    """Queries a second of so many clients at once."""
    ended, counts = threading.Event(), [0] * clients

    def ask(number: int) -> None:
        with connect(url) as own:
            settle(own, ef_search)
            while not ended.is_set():
                vector = vectors[(counts[number] + 7 * number) % len(vectors)]
                own.execute(statement, {"vector": vector, "candidates": ef_search}).fetchall()
                counts[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    time.sleep(SECONDS)
    ended.set()
    for thread in threads:
        thread.join()
    return round(sum(counts) / (time.perf_counter() - began), 1)


def measure(url: str, rows: int, dimensions: int, kind: str, queries: int) -> dict[str, Any]:
    """One step."""
    asked = stored(PowerLaw(dimensions).queries(queries))
    vectors = ["[" + ",".join(map(repr, query.tolist())) + "]" for query in asked]
    with connect(url) as connection:
        space = fill(connection, rows, dimensions)
        say(f"{rows:,} rows of {dimensions} dimensions: {kind}")
        built = build(connection, space, kind)
        space = spaces.get_space(connection, space.name)
    nearest = truth(asked, rows, dimensions)
    statement = statement_of(space, kind)
    with connect(url) as connection:
        searches = [search(connection, statement, vectors, nearest, ef) for ef in STEPS]
    # What it takes to reach 0.95, or the most that was tried.
    enough = [one["ef_search"] for one in searches if one["recall"] >= 0.95] or [STEPS[-1]]
    ef_search = int(enough[0])
    return {
        "rows": rows,
        "dimensions": dimensions,
        "kind": kind,
        "leading": space.compact_dimensions,
        **built,
        "searches": searches,
        "queries_per_second": {
            str(clients): throughput(url, statement, vectors, ef_search, clients)
            for clients in CLIENTS
        },
        "at_ef_search": ef_search,
    }


@contextlib.contextmanager
def database(folder: Path) -> Iterator[str]:
    """On a server of its own, whose data stay in the folder."""
    server = EmbeddedServer(folder / "home")
    url = server.start()
    try:
        migrate.upgrade(url)
        yield url
    finally:
        server.stop()


def show(steps: Sequence[dict[str, Any]]) -> None:
    """The tables of docs/scaling.md."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "rows": lambda s: f"{s['rows']:,}",
        "index": lambda s: s["kind"] + (f" {s['leading']}" if s["kind"] == "compact" else ""),
        "size": lambda s: f"{s['index_mb']} MB",
        "table": lambda s: f"{s['table_mb']} MB",
        "coordinates": lambda s: f"{s['prepare_seconds']:.0f} s",
        "build": lambda s: f"{s['build_seconds']:.0f} s",
        "peak": lambda s: f"{s['peak_mb']} MB",
        **{
            str(step): lambda s, step=step: next(  # type: ignore[misc]
                f"{one['recall']:.3f} ({one['p50_ms']:.1f}/{one['p95_ms']:.1f})"
                for one in s["searches"]
                if one["ef_search"] == step
            )
            for step in STEPS
        },
        "queries/s, 1/2/4/8 clients": lambda s: (
            " / ".join(f"{value:.0f}" for value in s["queries_per_second"].values())
            + f" at {s['at_ef_search']}"
        ),
    }
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for step in sorted(steps, key=lambda s: (s["rows"], KINDS.index(s["kind"]))):
        print("| " + " | ".join(cell(step) for cell in columns.values()) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="data and results stay there")
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000])
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
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
    done = {(s["rows"], s["dimensions"], s["kind"]) for s in steps}
    with database(arguments.folder) as url:
        for rows in arguments.rows:
            for kind in arguments.kinds:
                if (rows, arguments.dimensions, kind) in done:
                    continue
                step = measure(url, rows, arguments.dimensions, kind, arguments.queries)
                with results.open("a") as file:
                    file.write(json.dumps(step) + "\n")
                print(json.dumps(step), flush=True)


if __name__ == "__main__":
    main()
