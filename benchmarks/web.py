"""`pipeline web` on the demonstration: how long a person waits.

A search for a text that was asked for before; for new texts, and the model's own time for as many;
and 100 small images by six connections, as a browser has them, with a cold cache and a warm one.
"""

import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any

import httpx

from benchmarks.harness import database, say
from benchmarks.web_process import running_web
from pipeline.embedders.openclip.embedder import MultimodalEmbedder

IMAGES = 100
CONNECTIONS = 6
TIMES = 30


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def median_ms(work: Callable[[int], Any]) -> float:
    return 1000 * statistics.median(seconds(partial(work, n)) for n in range(TIMES))


@contextlib.contextmanager
def pages(folder: Path, url: str) -> Iterator[httpx.Client]:
    """A client of a running `pipeline web` that has its model."""
    limits = httpx.Limits(max_connections=CONNECTIONS)
    with (
        running_web(folder, url, until="queries are answered here") as (address, _),
        httpx.Client(base_url=address, limits=limits) as client,
    ):
        yield client


def image_paths(client: httpx.Client) -> list[str]:
    """Those of the first hundred."""
    found: list[str] = []
    path = "/?modality=image"
    while len(found) < IMAGES:
        page = client.get(path).text
        found += re.findall(r'src="(/images/\d+\.webp)"', page)
        more = re.search(r'<li class="more"[^>]*>\s*<a href="([^"]+)"', page)
        assert more is not None
        path = unescape(more[1])
    return found[:IMAGES]


def measure() -> dict[str, float]:
    """Milliseconds of searches (medians), seconds of a hundred images."""
    with database() as url, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say("the demonstration")
        demo = [sys.executable, "-m", "pipeline.cli", "demo", "--quiet"]
        environment = {**os.environ, "DATABASE_URL": url}
        subprocess.run(demo, env=environment, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        model = MultimodalEmbedder("demo")
        model.embed_text(["warm"])
        with pages(folder, url) as client:
            client.get("/", params={"q": "warm"}).raise_for_status()
            known = median_ms(lambda n: client.get("/", params={"q": "warm"}))
            new = median_ms(lambda n: client.get("/", params={"q": f"a new text {n}"}))
            alone = median_ms(lambda n: model.embed_text([f"a text of its own {n}"]))
            paths = image_paths(client)

            def grid() -> None:
                with ThreadPoolExecutor(CONNECTIONS) as threads:
                    for answer in threads.map(client.get, paths):
                        answer.raise_for_status()

            cold, warm = seconds(grid), statistics.median(seconds(grid) for _ in range(5))
    return {
        "known_text_ms": round(known, 1),
        "new_text_ms": round(new, 1),
        "model_alone_ms": round(alone, 1),
        "100_images_cold_s": round(cold, 2),
        "100_images_warm_s": round(warm, 2),
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
