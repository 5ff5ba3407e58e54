"""The plain CLIP loop of `transformers`, a process of its own for `benchmarks.rivals`.

`python -m benchmarks.transformers_loop image MODEL INPUTS`, two folders, prints the rows and their
seconds. The calls are those of the library's documentation, in float32 and batches of 32, texts
padded to the longest of their batch; embeddings stay in memory. It imports nothing of ours, whose
start-up would count as its own.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import CLIPModel, CLIPProcessor

BATCH = 32


def load(folder: Path) -> tuple[Any, Any]:
    return CLIPModel.from_pretrained(folder), CLIPProcessor.from_pretrained(folder)


def embed_images(model: Any, processor: Any, paths: Sequence[Path]) -> torch.Tensor:
    """Unit rows, (len(paths), dimensions)."""
    rows = []
    with torch.inference_mode():
        for begin in range(0, len(paths), BATCH):
            images = [Image.open(path) for path in paths[begin : begin + BATCH]]
            inputs = processor(images=images, return_tensors="pt")
            features = model.get_image_features(**inputs).pooler_output
            rows.append(features / features.norm(dim=-1, keepdim=True))
    return torch.cat(rows)


def embed_texts(model: Any, processor: Any, paths: Sequence[Path]) -> torch.Tensor:
    """Unit rows, (len(paths), dimensions), of files with one text each."""
    rows = []
    with torch.inference_mode():
        for begin in range(0, len(paths), BATCH):
            texts = [path.read_text() for path in paths[begin : begin + BATCH]]
            inputs = processor(text=texts, padding=True, return_tensors="pt")
            features = model.get_text_features(**inputs).pooler_output
            rows.append(features / features.norm(dim=-1, keepdim=True))
    return torch.cat(rows)


def main() -> None:
    modality, checkpoint, inputs = sys.argv[1:]
    embed = {"image": embed_images, "text": embed_texts}[modality]
    model, processor = load(Path(checkpoint))
    paths = sorted(Path(inputs).iterdir())
    began = time.perf_counter()
    embed(model, processor, paths[:BATCH])  # caches, thread pools
    warm = time.perf_counter()
    embed(model, processor, paths)
    ended = time.perf_counter()
    report = {"rows": len(paths), "seconds": ended - warm, "warm_up_seconds": warm - began}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
