"""Searching applications against the model alone: `python -m benchmarks.serve_load`.

`pipeline serve` runs as users run it, in a process of its own, with a ViT-B-32 of random weights
(speed does not depend on the weights); callers, tasks of one event loop, share an `AsyncClient` of
16 connections, and each asks for the vector of one new caption after the other. The model alone
embeds as many captions in the batches that a server makes, without a database. The two take turns.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

from benchmarks.embedder import ARCHITECTURE
from benchmarks.harness import captions, database, say
from pipeline import AsyncClient, spaces
from pipeline.embedders.openclip.embedder import MultimodalEmbedder
from pipeline.postgres.connections import connect
from pipeline.search.query_encoding import embed_query_texts
from pipeline.search.serve import ServeOptions
from pipeline.spaces import probes

CALLERS = (1, 8, 64)
CONNECTIONS = 16


@contextlib.contextmanager
def serving(url: str) -> Iterator[None]:
    """`pipeline serve` in a process of its own, ready."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PIPELINE_")}
    server = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "serve"],
        env={**environment, "DATABASE_URL": url},
        stdout=subprocess.DEVNULL,
    )
    try:
        with connect(url) as connection:
            while connection.execute("SELECT FROM live_query_servers()").rowcount == 0:
                if server.poll() is not None:
                    raise SystemExit("`pipeline serve` did not start")
                time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.wait()


def alone(embedder: MultimodalEmbedder, texts: Sequence[str]) -> float:
    """Texts a second without a server, in its batches."""
    size = ServeOptions().batch_size
    began = time.perf_counter()
    for begin in range(0, len(texts), size):
        embed_query_texts(embedder, dict(enumerate(texts[begin : begin + size])))
    return len(texts) / (time.perf_counter() - began)


async def ask(url: str, callers: int, texts: Sequence[str]) -> tuple[float, list[float]]:
    """Texts a second of so many callers, and each call's seconds."""
    waiting = iter(texts)
    seconds: list[float] = []

    async def call(client: AsyncClient) -> None:
        for text in waiting:
            began = time.perf_counter()
            await client.embed([text])
            seconds.append(time.perf_counter() - began)

    async with AsyncClient(url, connections=CONNECTIONS) as client:
        await asyncio.gather(*(client.count() for _ in range(CONNECTIONS)))  # connections are there
        began = time.perf_counter()
        await asyncio.gather(*(call(client) for _ in range(callers)))
        return len(texts) / (time.perf_counter() - began), seconds


def shown(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds."""
    return {
        "p50_ms": round(1000 * statistics.median(seconds), 2),
        "p95_ms": round(1000 * statistics.quantiles(seconds, n=20)[-1], 2),
    }


def measure(texts: int, rounds: int) -> dict[str, Any]:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder, database() as url:
        weights = Path(folder) / "weights.safetensors"
        save_file(open_clip.create_model(ARCHITECTURE).state_dict(), weights)
        embedder = MultimodalEmbedder(f"{ARCHITECTURE}:{weights}", device="cpu")
        with connect(url) as connection:
            space = spaces.create(connection, "load", embedder)
            probes.store(connection, space, embedder)
            spaces.activate(connection, space)
        alone(embedder, captions(256, seed=10_000))
        report: dict[str, Any] = {
            "texts": texts,
            "precision": embedder.description.precision,
            "callers": {},
        }
        with serving(url):
            asyncio.run(ask(url, 8, captions(128, seed=20_000)))
            for callers in CALLERS:
                count = max(32, texts // 8) if callers == 1 else texts
                found = []
                for number in range(rounds):
                    seed = 100 * callers + number
                    say(f"{callers} callers, round {number + 1} of {rounds} ...")
                    model = alone(embedder, captions(count, seed=seed))
                    rate, seconds = asyncio.run(ask(url, callers, captions(count, seed=seed)))
                    found.append((rate / model, rate, model, seconds))
                ratio, rate, model, seconds = sorted(found)[len(found) // 2]
                report["callers"][callers] = {
                    "ratio": round(ratio, 3),
                    "ratios": [round(row[0], 3) for row in sorted(found)],
                    "texts_per_second": round(rate, 1),
                    "model_per_second": round(model, 1),
                    **shown(seconds),
                }
            _, cached = asyncio.run(ask(url, 1, [captions(1)[0]] * 501))
            report["cached"] = shown(cached[1:])
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=1024, help="captions per round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.texts, arguments.rounds), indent=2))


if __name__ == "__main__":
    main()
