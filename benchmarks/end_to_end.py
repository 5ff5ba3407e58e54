"""`pipeline ingest` against a plain OpenCLIP loop: `python -m benchmarks.end_to_end images`.

Ours is the command itself in a process of its own, from the queue to the database: loading, safe
decoding, the model, writing. The plain loop is that of OpenCLIP's README, in this process: PIL and
the model's transform (or its tokenizer), float32, batches of 32, results in memory, no database.
Both have ViT-B-32 with random weights, which cost as much as trained ones; both are measured
without loading the model, which the command's seconds, printed beside, hold as well. They run one
after the other and in turns with ``--rounds``. Where the plain loop is long, a part of the inputs
is enough for its rate (``--plain``).
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.embedder import ARCHITECTURE, BATCH, plain_texts
from benchmarks.harness import add_items, captions, database, ingest_command, say
from pipeline import spaces
from pipeline.embedders.openclip.embedder import embedder_of_new_space
from pipeline.postgres.connections import connect
from pipeline.spaces import probes


def photographs(folder: Path, count: int) -> list[Path]:
    """JPEGs of 640x480: noise of a few sizes, so that they compress about as photographs do."""
    paths = [folder / f"{number:05}.jpg" for number in range(count)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy and PIL let go of the interpreter
        list(pool.map(photograph, paths, range(count)))
    return paths


def photograph(path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)
    noise = random.integers(-12, 13, (480, 640, 1))
    pixels = np.clip(np.asarray(image, dtype=np.int16) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=85)


def plain_images(model: Any, transform: Any, paths: Sequence[Path]) -> None:
    with torch.no_grad():
        for begin in range(0, len(paths), BATCH):
            batch = torch.stack([transform(Image.open(p)) for p in paths[begin : begin + BATCH]])
            features = model.encode_image(batch)
            features /= features.norm(dim=-1, keepdim=True)


def rate(run: Callable[[Any], None], inputs: Sequence[Any]) -> float:
    run(inputs[:BATCH])  # caches, thread pools
    began = time.perf_counter()
    run(inputs)
    return len(inputs) / (time.perf_counter() - began)


def activate(url: str, spec: str, precision: str = "auto") -> str:
    """Make this checkpoint's space the active one; the precision that it runs in.

    One that the weights do not bear is refused, as by `pipeline space create`.
    """
    embedder = embedder_of_new_space(spec, device="auto", precision=precision)
    with connect(url) as connection:
        space = spaces.create(connection, "bench", embedder)
        probes.store(connection, space, embedder)
        spaces.activate(connection, space)
    return embedder.description.precision


def ingest(url: str, folder: Path, modality: str, references: Sequence[str]) -> dict[str, Any]:
    """The command's report on these references, with the seconds of the whole process."""
    with connect(url) as connection:  # the same content again would be reused
        connection.execute("TRUNCATE source_items CASCADE")
    add_items(url, modality, references)
    command, environment = ingest_command(url, folder)
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    report["process_seconds"] = round(time.perf_counter() - began, 1)
    # A large backlog of an empty space is indexed after the load, which is part of the work.
    seconds = report["seconds"] + report["seconds_indexing"]
    report["rows_per_second"] = round(report["done"] / seconds, 1)
    assert report["done"] == len(references), report
    return report


def measure(
    modality: str, count: int, plain: int, rounds: int = 1, precision: str = "auto"
) -> list[dict[str, Any]]:
    """One row of figures per round."""
    torch.manual_seed(0)
    model, _, transform = open_clip.create_model_and_transforms(ARCHITECTURE)
    model.eval()
    tokenizer = open_clip.get_tokenizer(ARCHITECTURE)
    rows = []
    with tempfile.TemporaryDirectory() as name, database() as url:
        folder = Path(name)
        weights = folder / "weights.safetensors"
        save_file(model.state_dict(), weights)
        precision = activate(url, f"{ARCHITECTURE}:{weights}", precision)
        pictures = photographs(folder, count) if modality == "image" else []
        for number in range(rounds):
            if modality == "image":
                references = [str(path) for path in pictures]
                inputs: Sequence[Any] = pictures[:plain]
                run: Callable[[Any], None] = lambda some: plain_images(model, transform, some)  # noqa: E731
            else:
                references = captions(count, number)
                inputs = references[:plain]
                run = lambda some: plain_texts(model, tokenizer, some)  # noqa: E731
            slow = rate(run, inputs)
            report = ingest(url, folder, modality, references)
            rows.append(
                {
                    "modality": modality,
                    "rows": count,
                    "precision": precision,
                    "plain_per_second": round(slow, 1),
                    "per_second": report["rows_per_second"],
                    "ratio": round(report["rows_per_second"] / slow, 2),
                    "ratio_of_the_whole_command": round(
                        count / report["process_seconds"] / slow, 2
                    ),
                    "report": report,
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modality", choices=["images", "texts"])
    parser.add_argument("--rows", type=int, help="2,000 pictures or 20,000 captions")
    parser.add_argument("--plain", type=int, help="how many of them the plain loop gets")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--precision", default="auto", help="of ours, such as int8")
    arguments = parser.parse_args()
    modality = arguments.modality[:-1]
    rows = arguments.rows or {"image": 2000, "text": 20_000}[modality]
    plain = min(rows, arguments.plain or {"image": 320, "text": 640}[modality])
    say(f"{rows} {arguments.modality}, {plain} of them for the plain loop")
    for row in measure(modality, rows, plain, arguments.rounds, arguments.precision):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
