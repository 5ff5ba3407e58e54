"""Do the stages overlap: `python -m benchmarks.overlap`.

References that take 100 ms each to load (a slow server) and an embedder that takes 20 ms a batch of
32, both asleep rather than at work. Printed is the time of the whole against that of the slower
stage alone, by arithmetic: where nothing waits for anything else, it is 1.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.harness import FreeEmbedder, add_items, database, make_space, say
from pipeline.ingest.worker import Worker
from pipeline.settings import Settings
from pipeline.vectors import Vectors

LOAD_SECONDS, EMBED_SECONDS, BATCH = 0.1, 0.02, 32


@dataclass(frozen=True)
class Loaded:
    data: bytes
    sha256: bytes
    info: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Decoded:
    image: Image.Image
    notes: dict[str, Any] = field(default_factory=dict)


def slow_load(reference: str) -> Loaded:
    time.sleep(LOAD_SECONDS)
    data = reference.encode()
    return Loaded(data, hashlib.sha256(data).digest())


def decode(data: bytes) -> Decoded:
    return Decoded(Image.new("RGB", (8, 8)))


class SlowEmbedder(FreeEmbedder):
    def embed_prepared_images(self, batch: Sequence[npt.NDArray[np.uint8]]) -> Vectors:
        time.sleep(EMBED_SECONDS)
        return super().embed_prepared_images(batch)


def measure(rows: int, load_workers: int) -> dict[str, Any]:
    loading = rows * LOAD_SECONDS / load_workers
    embedding = -(-rows // BATCH) * EMBED_SECONDS
    with database() as url:
        space = make_space(url, active=False)
        add_items(url, "image", [f"https://slow.example/{n}.jpg" for n in range(rows)])
        settings = Settings.load(database_url=url, load_workers=load_workers, batch_size=BATCH)
        report = Worker(url, space, SlowEmbedder(), slow_load, decode, settings).run()
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
