"""Load first and index after, against a live index: `python -m benchmarks.bulk`.

The same captions and random vectors (512 dimensions) through one worker with a free embedder, once
into a new space whose HNSW index is built when all are there, once into the active space, whose
index takes every row as it comes. The first counts the build.
"""

import argparse
import json
import time
from typing import Any

from benchmarks.harness import FreeEmbedder, add_items, captions, database, make_space, say, work
from pipeline import spaces
from pipeline.postgres.connections import connect


def measure(rows: int) -> dict[str, Any]:
    texts = captions(rows)
    # As many vectors as rows: equal ones share a node of the graph, which would be too easy.
    embedder = FreeEmbedder(table=rows)
    with database() as url:
        space = make_space(url, active=False)
        add_items(url, "text", texts)
        began = time.perf_counter()
        load = work(url, space, embedder)
        with connect(url) as connection:
            spaces.build_indexes(connection, space)
        bulk = time.perf_counter() - began
    with database() as url:
        space = make_space(url)
        add_items(url, "text", texts)
        live = work(url, space, embedder)
    assert load.done == live.done == rows
    return {
        "rows": rows,
        "load_seconds": round(load.seconds, 1),
        "build_seconds": round(bulk - load.seconds, 1),
        "live_seconds": round(live.seconds, 1),
        "bulk_rows_per_second": round(rows / bulk),
        "live_rows_per_second": round(rows / live.seconds),
        "ratio": round(live.seconds / bulk, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000, help="hours with the live index")
    arguments = parser.parse_args()
    say(f"{arguments.rows} rows")
    print(json.dumps(measure(arguments.rows)))


if __name__ == "__main__":
    main()
