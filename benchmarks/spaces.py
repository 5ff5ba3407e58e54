"""What activating a space costs its readers: `python -m benchmarks.spaces`.

Two spaces of 512 and 768 dimensions over the same texts, on an embedded server of its own. Readers
search without a pause while the spaces are swapped forth and back; a writer adds rows. Printed are
the time of a swap, the longest a reader ever waited in all, beside its longest without swaps, and
the reads that failed or came back short.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks.harness import FreeEmbedder
from pipeline import spaces
from pipeline.postgres import migrate
from pipeline.postgres.connections import connect
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.spaces import Space
from pipeline.transfer import ForeignItem, import_items
from pipeline.vectors import unit_rows

QUERY = """
SELECT id FROM multimodal_items WHERE modality = 'text'
ORDER BY embedding <=> (SELECT embedding FROM multimodal_items WHERE modality = 'text' LIMIT 1)
LIMIT 10
"""


class Reader(threading.Thread):
    """Searches without a pause; ``waits`` holds the seconds of every search."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url, self.waits, self.problems = url, list[float](), list[str]()
        self.ended = threading.Event()

    def run(self) -> None:
        with connect(self.url, role="reader") as connection:
            while not self.ended.is_set():
                began = time.perf_counter()
                try:
                    rows = connection.execute(QUERY).fetchall()
                    if len(rows) != 10:
                        self.problems.append(f"{len(rows)} rows")
                except Exception as exc:
                    self.problems.append(str(exc))
                self.waits.append(time.perf_counter() - began)


def fill(url: str, rows: int, dimensions: int) -> Space:
    vectors = unit_rows(np.random.default_rng(dimensions).normal(size=(rows, dimensions)))
    with connect(url) as connection:
        space = spaces.create(
            connection, f"d{dimensions}", FreeEmbedder(dimensions, 1, f"random-{dimensions}")
        )
        items = (
            ForeignItem(f"row {n}", str(n), "text", f"text {n}", {}, vector)
            for n, vector in enumerate(vectors)
        )
        import_items(connection, space, "benchmark", items)
        began = time.perf_counter()
        spaces.build_indexes(connection, space)
        print(
            f"{dimensions} dimensions: HNSW over {rows} rows in {time.perf_counter() - began:.1f} s"
        )
        if spaces.find_active(connection) is None:
            spaces.activate(connection, space)
    return space


def read_for(
    url: str, readers: int, work: "threading.Event | None", seconds: float
) -> list[Reader]:
    started = [Reader(url) for _ in range(readers)]
    for reader in started:
        reader.start()
    if work is None:
        time.sleep(seconds)
    else:
        work.wait()
    for reader in started:
        reader.ended.set()
    for reader in started:
        reader.join()
    return started


def swap(url: str, times: int, done: threading.Event, seconds: list[float]) -> None:
    with connect(url, role="swapper") as connection:
        time.sleep(0.5)
        for _ in range(times):
            began = time.perf_counter()
            target = next(s for s in spaces.list_spaces(connection) if s.state != "active")
            spaces.activate(connection, target, attempts=500, min_coverage=0)
            seconds.append(time.perf_counter() - began)
            time.sleep(0.1)
    done.set()


def report(name: str, readers: list[Reader]) -> dict[str, object]:
    waits = [1000 * wait for reader in readers for wait in reader.waits]
    return {
        "readers": name,
        "reads": len(waits),
        "median_ms": round(statistics.median(waits), 2),
        "p99_ms": round(float(np.percentile(waits, 99)), 2),
        "longest_ms": round(max(waits), 1),
        "problems": [problem for reader in readers for problem in reader.problems],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--swaps", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedServer(Path(folder) / "home")
        url = server.start()
        try:
            migrate.upgrade(url)
            for dimensions in (512, 768):
                fill(url, arguments.rows, dimensions)
            alone = read_for(url, arguments.readers, None, 5.0)
            done, seconds = threading.Event(), list[float]()
            swapper = threading.Thread(target=swap, args=(url, arguments.swaps, done, seconds))
            swapper.start()
            beside = read_for(url, arguments.readers, done, 0)
        finally:
            server.stop()
    print(json.dumps(report("alone", alone)))
    print(json.dumps(report(f"beside {len(seconds)} swaps", beside)))
    print(
        f"a swap with its retries: median {1000 * statistics.median(seconds):.0f} ms, "
        f"longest {1000 * max(seconds):.0f} ms"
    )


if __name__ == "__main__":
    main()
