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
    log = folder / "web.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "web", "--port", "0"],
            env={**os.environ, "DATABASE_URL": url, "XDG_CACHE_HOME": str(folder)},
            stderr=stderr,
        )
    try:
        while "queries are answered here" not in log.read_text():
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.1)
        found = re.search(r"pages at (\S+);", log.read_text())
        assert found is not None
        limits = httpx.Limits(max_connections=CONNECTIONS)
        with httpx.Client(base_url=found[1], limits=limits) as client:
            yield client
    finally:
        process.terminate()
        process.wait()


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
