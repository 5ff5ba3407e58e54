"""Text to image in this project's table and in what one would pick instead, in one run.

    python -m benchmarks.peers [--rows 100000] [--stores FAISS LanceDB ...]

The same vectors (two cones with a power-law spectrum) in our table, in langchain-postgres', in
supabase/vecs', in FAISS' HNSW in memory and in LanceDB, all with the same graph (m 24,
ef_construction 128), with and without a filter that leaves 10 % and 1 %: rows of the LIMIT of 10,
recall, the median of one client, queries a second with 1 and 4 clients, by ``ef_search``. Ours
three times: a prepared statement, search_items(), the Python client. Each is a process of its own,
one after the other. A library that is not installed is left out and said (benchmarks/README.md).
"""

import argparse
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from psycopg import sql

from benchmarks.filter_data import Ids, ranks
from benchmarks.harness import say
from benchmarks.index_growth import stored
from benchmarks.peer_ours import LEVELS
from benchmarks.peer_stores import SHARES, Faiss, K, Lance, Langchain, Store, Vecs
from pipeline.postgres.connections import connect
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.vectors import Vectors
from tests.helpers.power_law import PowerLaw

STEPS = (40, 100, 200, 400, 800)
MAKE: dict[str, Callable[[Path, str], Store]] = {
    **LEVELS,
    "langchain-postgres": Langchain,
    "vecs": Vecs,
    "FAISS": Faiss,
    "LanceDB": Lance,
}
MODULES = {
    "langchain-postgres": "langchain_postgres",
    "vecs": "vecs",
    "FAISS": "faiss",
    "LanceDB": "lancedb",
}
SECONDS = 0.5  # of each measurement of queries a second


def nearest(images: Vectors, queries: Vectors) -> dict[str, list[set[int]]]:
    """By share: of each query the K nearest, by NumPy."""
    rank, found = ranks(len(images)), {}
    for share, part in SHARES.items():
        numbers: Ids = np.flatnonzero(rank < part * len(images))
        best = np.argsort(-(queries @ images[numbers].T), axis=1)[:, :K]
        found[share] = [set(numbers[row].tolist()) for row in best]
    return found


def server_mb(server_pid: int | None) -> int:
    """What the processes of a PostgreSQL hold in memory, shared pages once."""
    if server_pid is None:
        return 0
    total = 0
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(server_pid)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    for pid in [str(server_pid), *children]:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:  # gone meanwhile
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total // 1024


def per_second(ask: Callable[[int], object], clients: int) -> float:
    """Queries that so many threads get answered a second."""
    counts = [0] * clients
    end = time.perf_counter() + SECONDS

    def client(number: int) -> None:
        while time.perf_counter() < end:
            ask(number + clients * counts[number])
            counts[number] += 1

    ask(0)
    threads = [threading.Thread(target=client, args=(n,)) for n in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


def measure(
    store: Store, queries: Vectors, expected: Sequence[set[int]], share: str, ef_search: int
) -> dict[str, Any]:
    """One point of a curve."""

    def ask(number: int) -> Sequence[int]:
        return store.search(queries[number % len(queries)], share, ef_search)

    for number in range(10):
        ask(number)
    times, recalls, rows = [], [], []
    for number, right in enumerate(expected):
        began = time.perf_counter()
        found = ask(number)
        times.append(1000 * (time.perf_counter() - began))
        recalls.append(len(right & set(found)) / len(right))
        rows.append(len(found))
    return {
        "share": share,
        "ef_search": ef_search,
        "rows": round(statistics.mean(rows), 2),
        "recall": round(statistics.mean(recalls), 4),
        "p50_ms": round(statistics.median(times), 3),
        "per_second_1": round(per_second(ask, 1)),
        "per_second_4": round(per_second(ask, 4)),
    }


def one(
    name: str, folder: Path, url: str, pid: int | None, rows: int, count: int, dims: int
) -> None:
    """All of one store, as lines of JSON."""
    made = PowerLaw(dims)
    images = np.vstack([stored(chunk) for chunk in made.images(rows)])
    queries = stored(made.queries(count))
    expected = nearest(images, queries)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    store = MAKE[name](folder, url)
    began = time.perf_counter()
    store.fill(images)
    about = {
        "store": name,
        "build_seconds": round(time.perf_counter() - began, 1),
        "disk_mb": store.disk_bytes() >> 20,
    }
    for share in SHARES:
        for ef_search in STEPS:
            point = measure(store, queries, expected[share], share, ef_search)
            print(json.dumps(about | point), flush=True)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    in_postgres = name not in ("FAISS", "LanceDB")
    memory = {"client_mb": peak, "server_mb": server_mb(pid) if in_postgres else 0}
    print(json.dumps({"store": name, **memory}), flush=True)


def run(rows: int, count: int, dims: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """Each in a process of its own, with a database of its own on one server."""
    found = []
    with tempfile.TemporaryDirectory(prefix="pipeline-peers-") as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        server = EmbeddedServer(folder / "home")
        try:
            server_url = server.start()
            with connect(server_url, schema=None) as admin:
                row = admin.execute("SELECT pg_read_file('postmaster.pid')").fetchone()
            pid = row[0].split()[0] if row else ""
            for number, name in enumerate(names):
                if (module := MODULES.get(name)) and importlib.util.find_spec(module) is None:
                    say(f"{name} is left out: {module} is not installed here")
                    continue
                say(f"{name} ...")
                with connect(server_url, schema=None) as admin:
                    admin.execute(
                        sql.SQL("CREATE DATABASE {}").format(sql.Identifier(f"s{number}"))
                    )
                url = server_url.replace("/pipeline?", f"/s{number}?")
                given = [name, str(folder), url, pid, str(rows), str(count), str(dims)]
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.peers", "--one", *given],
                    stdout=subprocess.PIPE,
                    text=True,
                )
                found += [json.loads(line) for line in done.stdout.splitlines()]
                if done.returncode:
                    say(f"{name} failed")
        finally:
            server.stop()
    return found


def at_recall(points: Sequence[dict[str, Any]], least: float, what: str) -> float | None:
    """The first of a curve that reaches the recall."""
    reached = [p[what] for p in points if p["recall"] >= least]
    return float(reached[0]) if reached else None


def show(found: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """The curves, and the medians at equal recall against FAISS."""
    print("| store | filter | " + " | ".join(f"ef {step}" for step in STEPS) + " |")
    print("|---|---|" + "---|" * len(STEPS))
    curves: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for point in found:
        if "share" in point:
            curves.setdefault((point["store"], point["share"]), []).append(point)
    for (name, share), points in curves.items():
        cells = [
            f"{p['recall']:.3f} ({p['rows']:.3g}): {p['p50_ms']:.2f} ms, "
            f"{p['per_second_1']}/s, {p['per_second_4']}/s"
            for p in points
        ]
        print(f"| {name} | {100 * SHARES[share]:g} % | {' | '.join(cells)} |")
    print("\n| store | build | disk | memory | 0.90: ms, to FAISS | 0.95 | 0.98 |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        own = [point for point in found if point["store"] == name]
        if not own:
            continue
        memory = {key: value for point in own for key, value in point.items() if "_mb" in key}
        cells = []
        for least in (0.9, 0.95, 0.98):
            mine = at_recall(curves.get((name, "all"), ()), least, "p50_ms")
            theirs = at_recall(curves.get(("FAISS", "all"), ()), least, "p50_ms")
            ratio = f", {mine / theirs:.1f}" if mine and theirs else ""
            cells.append("-" if mine is None else f"{mine:.2f}{ratio}")
        print(
            f"| {name} | {own[0].get('build_seconds')} s | {memory.get('disk_mb')} MB "
            f"| {memory.get('client_mb')} + {memory.get('server_mb')} MB | {' | '.join(cells)} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--stores", nargs="+", choices=MAKE, default=list(MAKE))
    parser.add_argument("--results", type=Path, help="a file for every point, as JSON")
    parser.add_argument("--one", nargs=7, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, folder, url, pid, rows, count, dims = arguments.one
        one(name, Path(folder), url, int(pid) if pid else None, int(rows), int(count), int(dims))
        return
    found = run(arguments.rows, arguments.queries, arguments.dimensions, arguments.stores)
    if arguments.results:
        arguments.results.write_text("".join(json.dumps(point) + "\n" for point in found))
    show(found, arguments.stores)


if __name__ == "__main__":
    main()
