"""sentence-transformers' and infinity-emb's own loops over a CLIP, for `benchmarks.rivals`.

`python -m benchmarks.other_loops NAME image MODEL INPUTS EMBEDDINGS`: the library, two folders, and
a file for the first embeddings; prints the rows and their seconds. The calls are those of the
documentation, in float32 and batches of 32, on the CPU. It imports nothing of ours, so it
runs in an environment that has the library and nothing else.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

BATCH = 32
Embed = Callable[[str, Sequence[Path]], Any]


def contents(modality: str, paths: Sequence[Path]) -> list[Any]:
    if modality == "image":
        return [Image.open(path) for path in paths]
    return [path.read_text() for path in paths]


def sentence_transformers(folder: str) -> Embed:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import CLIPModel

    model = SentenceTransformer(modules=[CLIPModel(folder)], device="cpu")

    def embed(modality: str, paths: Sequence[Path]) -> Any:
        # What is opened is read when its batch comes; all at once would not fit for long.
        return np.vstack(
            [
                model.encode(
                    contents(modality, paths[begin : begin + 8 * BATCH]),
                    batch_size=BATCH,
                    normalize_embeddings=True,
                    show_progress_bar=False,
                )
                for begin in range(0, len(paths), 8 * BATCH)
            ]
        )

    return embed


def infinity(folder: str) -> Embed:
    from infinity_emb import AsyncEmbeddingEngine, EngineArgs

    engine = AsyncEmbeddingEngine.from_args(
        EngineArgs(
            model_name_or_path=folder,
            engine="torch",
            device="cpu",
            dtype="float32",
            batch_size=BATCH,
            model_warmup=False,
            bettertransformer=False,
        )
    )
    loop = asyncio.new_event_loop()
    loop.run_until_complete(engine.astart())

    async def all_of(modality: str, paths: Sequence[Path]) -> list[Any]:
        rows: list[Any] = []
        for begin in range(0, len(paths), 8 * BATCH):
            given = contents(modality, paths[begin : begin + 8 * BATCH])
            if modality == "image":
                found, _ = await engine.image_embed(images=given)
            else:
                found, _ = await engine.embed(sentences=given)
            rows += found
        return rows

    return lambda modality, paths: np.vstack(loop.run_until_complete(all_of(modality, paths)))


LOOPS: dict[str, Callable[[str], Embed]] = {
    "sentence-transformers": sentence_transformers,
    "infinity-emb": infinity,
}


def main() -> None:
    name, modality, checkpoint, inputs, output = sys.argv[1:]
    embed = LOOPS[name](checkpoint)
    paths = sorted(Path(inputs).iterdir())
    began = time.perf_counter()
    np.save(output, embed(modality, paths[:BATCH]))  # caches, thread pools
    warm = time.perf_counter()
    embed(modality, paths)
    ended = time.perf_counter()
    report = {"rows": len(paths), "seconds": ended - warm, "warm_up_seconds": warm - began}
    print(json.dumps(report), flush=True)
    os._exit(0)  # infinity-emb's threads would keep it


if __name__ == "__main__":
    main()
