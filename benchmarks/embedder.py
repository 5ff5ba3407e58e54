"""The embedder against a plain OpenCLIP loop: `python -m benchmarks.embedder`.

Both run in this process on the same inputs with the same random-weight ViT-B-32 (speed does not
depend on the weights), taking turns, so that a busy machine slows both. Captions are random words;
prompts begin alike, as those of a zero-shot classification do. The plain loop is that of OpenCLIP's
README: float32, batches of 32, the model's own transform and tokenizer. Images start
as decoded PIL images; preprocessing and tokenizing count, reading files and a database do not.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.harness import captions, prompts
from pipeline.embedders.openclip.embedder import MultimodalEmbedder

ARCHITECTURE = "ViT-B-32"
BATCH = 32


def plain_images(model: Any, transform: Any, images: list[Image.Image]) -> None:
    with torch.no_grad():
        for begin in range(0, len(images), BATCH):
            batch = torch.stack([transform(image) for image in images[begin : begin + BATCH]])
            features = model.encode_image(batch)
            features /= features.norm(dim=-1, keepdim=True)


def plain_texts(model: Any, tokenizer: Any, texts: list[str]) -> None:
    with torch.no_grad():
        for begin in range(0, len(texts), BATCH):
            features = model.encode_text(tokenizer(texts[begin : begin + BATCH]))
            features /= features.norm(dim=-1, keepdim=True)


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def compare(plain: Callable[[], object], ours: Callable[[], object], rounds: int) -> dict[str, Any]:
    """Median of each and of the ratio, over rounds in which the two take turns."""
    plain()  # caches, thread pools
    ours()
    pairs = [(seconds(plain), seconds(ours)) for _ in range(rounds)]
    return {
        "plain_seconds": statistics.median(p for p, _ in pairs),
        "seconds": statistics.median(o for _, o in pairs),
        "ratio": statistics.median(p / o for p, o in pairs),
        "ratios": sorted(round(p / o, 2) for p, o in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=128, help="640x480 pictures per round")
    parser.add_argument("--texts", type=int, default=512, help="captions of 5 to 20 words")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    random = np.random.default_rng(0)
    torch.manual_seed(0)
    model, _, transform = open_clip.create_model_and_transforms(ARCHITECTURE)
    tokenizer = open_clip.get_tokenizer(ARCHITECTURE)
    model.eval()
    images = [
        Image.fromarray(random.integers(0, 256, (480, 640, 3), dtype=np.uint8))
        for _ in range(arguments.images)
    ]
    texts = {"captions": captions(arguments.texts), "prompts": prompts()}

    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        save_file(model.state_dict(), weights)
        embedder = MultimodalEmbedder(f"{ARCHITECTURE}:{weights}", device="cpu", batch_size=BATCH)
    report = {
        "model": ARCHITECTURE,
        "precision": embedder.description.precision,
        "threads": torch.get_num_threads(),
        "images": compare(
            lambda: plain_images(model, transform, images),
            lambda: embedder.embed_images(images),
            arguments.rounds,
        ),
    }
    for what, some in texts.items():
        report[what] = compare(
            partial(plain_texts, model, tokenizer, some),
            partial(embedder.embed_text, some),
            arguments.rounds,
        )
    if arguments.json:
        print(json.dumps(report))
        return
    print(f"{ARCHITECTURE}, {report['precision']}, {report['threads']} threads")
    counts = {"images": len(images)} | {what: len(some) for what, some in texts.items()}
    for what, count in counts.items():
        part: Any = report[what]
        print(
            f"{what}: {part['ratio']:.2f} times the plain loop ({count / part['seconds']:.1f} "
            f"against {count / part['plain_seconds']:.1f} per second; rounds {part['ratios']})"
        )


if __name__ == "__main__":
    main()
