"""Searches under filters: rows of the LIMIT, recall, time, and what served them.

    python -m benchmarks.filters --folder FOLDER [--rows 1000000] [--dimensions 192]

Every modality, share that a filter leaves (100 % to 0.01 %) and k (1 to 500), by each way to say
the filter: the functions and plain SQL, with metadata, with a bound on a column of an attached
table (price, day), with a policy of row-level security. The database and what was measured stay in
the folder: run again it goes on with what is missing. ``--show`` prints the tables of
docs/scaling.md.
"""

import argparse
import json
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from benchmarks.filter_data import LAST_DAY, SHARES, Ids, Truth, database, products_of
from benchmarks.harness import say
from benchmarks.index_growth import stored
from pipeline.postgres.connections import Connection, connect, fetch_one
from pipeline.postgres.embedded import EmbeddedServer
from tests.helpers.power_law import PowerLaw

KS = (1, 10, 100, 500)
MODALITIES = ("image", "text", "both")
OF_ITEMS = "SELECT source_id FROM search_items(embedding => {v}, query_modality => 'text', k => {k}"
OF_ROWS = "SELECT source_id FROM search_rows('products', embedding => {v}, k => {k}"
WHERE = (
    "SELECT source_id FROM search_rows_where('products', '{bound}', embedding => {v}, k => {k}, "
    "modality => {ms})"
)
JOINED = """
SELECT i.source_id FROM products_items AS i JOIN products AS p USING (id)
WHERE i.modality = '{m}' AND {bound} ORDER BY i.embedding <=> {v} LIMIT {k}
"""
WAYS = {
    "search_items, filter": OF_ITEMS + ", modality => {ms}, filter => {f})",
    "search_rows, filter": OF_ROWS + ", modality => {ms}, filter => {f})",
    "search_rows_where, price": WHERE.replace("{bound}", "price < {bound_of_price}"),
    "search_rows_where, day": WHERE.replace("{bound}", "added > {bound_of_day}"),
    "search_items, policy": OF_ITEMS + ", modality => {ms})",
    "search_items, policy and filter": OF_ITEMS + ", modality => {ms}, filter => {f})",
    "SQL, filter": "SELECT source_id FROM multimodal_items WHERE modality = '{m}' "
    "AND metadata @> {f}::jsonb ORDER BY embedding <=> {v} LIMIT {k}",
    "SQL, price": JOINED.replace("{bound}", "p.price < {bound_of_price}"),
    "SQL, day": JOINED.replace("{bound}", "p.added > {bound_of_day}"),
    "SQL, policy": "SELECT source_id FROM multimodal_items WHERE modality = '{m}' "
    "ORDER BY embedding <=> {v} LIMIT {k}",
}


def statement(way: str, modality: str, share: str, k: int, rows: int) -> str:
    """With ``%(v)s`` for the query's vector."""
    text = WAYS[way]
    bound = int(np.ceil(SHARES[share] * rows))
    day = f"date '{LAST_DAY}' - {bound}"
    return text.format(
        v="%(v)s::halfvec",
        k=k,
        m=modality,
        ms="NULL" if modality == "both" else f"'{{{modality}}}'",
        f=f"""'{{"{share}": true}}'""",
        bound_of_price=bound,
        bound_of_day=day.replace("'", "''") if way.startswith("search_rows") else day,
    )


def is_possible(way: str, modality: str) -> bool:
    """Distances of two modalities do not compare, and a row of both is one hit."""
    return modality != "both" or way.startswith("search_items")


def act_as(connection: Connection, way: str, share: str) -> None:
    """For the rest of the transaction: whom a policy shows this share."""
    if "policy" in way:
        label = "all" if "filter" in way else share
        connection.execute("SELECT set_config('bench.label', %s, true)", (label,))
        connection.execute("SET LOCAL ROLE tenant")


def nodes(plan: dict[str, Any]) -> list[str]:
    """The scans and joins of a plan, outermost first."""
    kind = plan["Node Type"]
    name = plan.get("Index Name", "")
    mine = []
    if name.endswith("_embedding"):
        mine = ["HNSW"]
    elif kind == "Bitmap Index Scan":
        mine = ["bitmap of " + name]
    elif kind in ("Seq Scan", "Sort", "Incremental Sort") or kind.endswith(("Join", "Loop")):
        mine = [kind]
    return mine + [node for child in plan.get("Plans", ()) for node in nodes(child)]


def served_by(connection: Connection, query: str, values: dict[str, str], way: str) -> str:
    """The plan, or of a function whether it took the graph."""
    if way.startswith("SQL"):
        (plan,) = fetch_one(connection.execute(f"EXPLAIN (FORMAT JSON) {query}".encode(), values))
        names = list(dict.fromkeys(nodes(plan[0]["Plan"])))
        return "HNSW" if "HNSW" in names else ", ".join(names)
    scans = (
        "SELECT coalesce(sum(pg_stat_get_xact_numscans(i.indexrelid)), 0) FROM pg_index AS i "
        "JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS a ON a.oid = c.relam "
        "WHERE a.amname = 'hnsw'"
    )
    (before,) = fetch_one(connection.execute(scans))
    connection.execute(query.encode(), values)
    (after,) = fetch_one(connection.execute(scans))
    return "HNSW" if after > before else "exact"


def measure(
    connection: Connection,
    cell: dict[str, Any],
    rows: int,
    queries: Sequence[str],
    nearest: Sequence[Ids],
    products: Ids,
) -> dict[str, Any]:
    """Of one cell: rows of those that there are, recall, milliseconds, what served it."""
    way, k = cell["way"], cell["k"]
    query = statement(way, cell["modality"], cell["share"], k, rows)
    times, shares, full = [], [], []
    with connection.transaction():
        act_as(connection, way, cell["share"])
        plan = served_by(connection, query, {"v": queries[0]}, way)
        for vector, expected in zip(queries, nearest, strict=True):
            began = time.perf_counter()
            found = connection.execute(query.encode(), {"v": vector}).fetchall()
            times.append(1000 * (time.perf_counter() - began))
            got = products[np.asarray([row[0] for row in found], dtype=np.int64)]
            if cell["modality"] == "text":
                got = got - rows
            wanted = expected[:k]
            full.append(len(got) / len(wanted))
            shares.append(len(np.intersect1d(got, wanted)) / len(wanted))
    return cell | {
        "rows": round(statistics.mean(full), 3),
        "recall": round(statistics.mean(shares), 3),
        "p50_ms": round(statistics.median(times), 1),
        "p95_ms": round(float(np.percentile(times, 95)), 1),
        "plan": plan,
    }


def run(folder: Path, rows: int, dimensions: int, count: int, ways: Sequence[str]) -> None:
    """What is not in the folder's file yet."""
    results = folder / f"cells-{rows}-{dimensions}.jsonl"
    done = {(c["way"], c["modality"], c["share"], c["k"]) for c in read(results)}
    cells: list[dict[str, Any]] = [
        {"way": way, "modality": modality, "share": share, "k": k}
        for way in ways
        for modality in MODALITIES
        if is_possible(way, modality)
        for share in SHARES
        for k in KS
        if (way, modality, share, k) not in done
    ]
    server = EmbeddedServer(folder / "home")
    try:
        url = database(server, rows, dimensions)
        if not cells:
            return
        queries = stored(PowerLaw(dimensions).queries(count))
        shown = ["[" + ",".join(map(repr, query.tolist())) + "]" for query in queries]
        with connect(url) as connection, results.open("a") as file:
            connection.prepare_threshold = None  # each has a plan for its own bounds
            connection.execute("SET client_min_messages = warning")
            connection.execute("SET statement_timeout = '60s'")
            say("the nearest by comparing all")
            truth = Truth.of(connection, rows, queries).nearest
            products = products_of(connection, rows)
            for cell in cells:
                nearest = truth[cell["modality"], cell["share"]]
                try:
                    cell = measure(connection, cell, rows, shown, nearest, products)
                except psycopg.errors.QueryCanceled:
                    cell |= {"rows": 0, "recall": 0, "p50_ms": 6e4, "p95_ms": 6e4, "plan": "-"}
                file.write(json.dumps(cell) + "\n")
                file.flush()
    finally:
        server.stop()


def read(results: Path) -> list[dict[str, Any]]:
    return (
        [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    )


def show(cells: Sequence[dict[str, Any]]) -> None:
    """Per way and share over all modalities and k: the worst of each, and the plans."""
    print("| way | share | rows | recall | p50 ms | p95 ms | served by |")
    print("|---|---|---|---|---|---|---|")
    for way in WAYS:
        for share, part in SHARES.items():
            some = [c for c in cells if c["way"] == way and c["share"] == share]
            if some:
                plans = ", ".join(dict.fromkeys(c["plan"] for c in some))
                usual = [c["p50_ms"] for c in some if c["k"] == 10] or [0.0]
                print(
                    f"| {way} | {100 * part:g} % | {min(c['rows'] for c in some):.2f} "
                    f"| {min(c['recall'] for c in some):.2f} | {max(usual):.1f} "
                    f"| {max(c['p95_ms'] for c in some):.0f} | {plans} |"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="data and results stay there")
    parser.add_argument("--rows", type=int, default=20_000, help="of each modality")
    parser.add_argument("--dimensions", type=int, default=192)
    parser.add_argument("--queries", type=int, default=10)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--show", action="store_true", help="print what is measured, and end")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    arguments.folder.chmod(0o755)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rows, dimensions = arguments.rows, arguments.dimensions
    if not arguments.show:
        run(arguments.folder, rows, dimensions, arguments.queries, arguments.ways)
    show(read(arguments.folder / f"cells-{rows}-{dimensions}.jsonl"))


if __name__ == "__main__":
    main()
