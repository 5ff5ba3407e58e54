"""Do the stages overlap: `python -m benchmarks.overlap`.

References that take 100 ms each to load (a slow server) and an embedder that takes 20 ms a batch of
32, both asleep rather than at work. Printed is the time of the whole against that of the slower
stage alone, by arithmetic: where nothing waits for anything else, it is 1.
"""

import argparse
import hashlib
import json
import time
from typing import Any

from benchmarks.harness import (
    FreeEmbedder,
    FreeImages,
    add_items,
    database,
    make_space,
    say,
    work,
)
from pipeline.loaders import LoadedContent

LOAD_SECONDS, EMBED_SECONDS, BATCH = 0.1, 0.02, FreeImages.batch_size


def slow_load(reference: str) -> LoadedContent:
    time.sleep(LOAD_SECONDS)
    data = reference.encode()
    return LoadedContent(data, hashlib.sha256(data).digest(), {})


def measure(rows: int, load_workers: int) -> dict[str, Any]:
    loading = rows * LOAD_SECONDS / load_workers
    embedding = -(-rows // BATCH) * EMBED_SECONDS
    with database() as url:
        space = make_space(url, active=False)
        add_items(url, "image", [f"https://slow.example/{n}.jpg" for n in range(rows)])
        embedder = FreeEmbedder()
        embedder.encoders["image"] = FreeImages(embedder, EMBED_SECONDS)
        report = work(url, space, embedder, slow_load, load_workers=load_workers)
        assert report.done == rows, report
    return {
        "rows": rows,
        "load_workers": load_workers,
        "slower_stage_alone_seconds": round(max(loading, embedding), 2),
        "stages_one_after_the_other_seconds": round(loading + embedding, 2),
        "seconds": round(report.seconds, 2),
        "ratio": round(report.seconds / max(loading, embedding), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--load-workers", type=int, nargs="+", default=[8, 64, 160])
    arguments = parser.parse_args()
    for load_workers in arguments.load_workers:
        say(f"{load_workers} load workers")
        print(json.dumps(measure(arguments.rows * load_workers // 160, load_workers)), flush=True)


if __name__ == "__main__":
    main()
