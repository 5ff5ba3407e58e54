"""The demonstration's pairs as a test of mixed ranking: the one relevant item of a text query is
stored either as a text (the caption) or as a picture, half each."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

import pipeline.demo
from pipeline import spaces
from pipeline.embedders.openclip.embedder import MultimodalEmbedder
from pipeline.postgres.connections import Connection
from tests.helpers.two_cones import FIRST_IMAGE, store, store_queries

SAMPLES = Path(pipeline.demo.__file__).parent / "samples"


def store_demo_pairs(connection: Connection, count: int) -> int:
    """A space of the demo model with ``count`` items; 'query <n>' is cached; returns how many."""
    lines = (SAMPLES / "manifest.jsonl").read_text().splitlines()[:count]
    pairs = [json.loads(line) for line in lines]
    embedder = MultimodalEmbedder("demo", precision="float32")
    space = spaces.create(connection, "demo", embedder)
    captions = embedder.embed_text([pair["caption"] for pair in pairs])
    names = embedder.embed_text([pair["name"] for pair in pairs])
    images = []
    for pair in pairs:
        with Image.open(SAMPLES / pair["image"]) as image:
            images.append(image.convert("RGB"))
    pictures = embedder.embed_images(images)
    for modality, vectors, first in (("text", captions, 1), ("image", pictures, FIRST_IMAGE)):
        store(connection, space, modality, vectors, first_source_id=first)
        other = 1 if modality == "image" else 0  # even ones stay as pictures, odd ones as texts
        connection.execute(
            "DELETE FROM multimodal_items_"
            f"{modality}_s{space.id} WHERE (source_id - {first}) % 2 = {other}"
        )
    spaces.build_indexes(connection, space)
    spaces.activate(connection, space, min_coverage=0)
    store_queries(connection, space, names)
    connection.execute("SELECT FROM refresh_space_statistics()")
    return len(pairs)


def ndcg(connection: Connection, ranking: str, queries: int) -> dict[str, float]:
    """Mean NDCG@10 by the modality in which the relevant item is stored, and overall."""
    gains: dict[str, list[float]] = {"text": [], "image": []}
    for number in range(queries):
        modality = "text" if number % 2 else "image"
        relevant = number + (1 if modality == "text" else FIRST_IMAGE)
        found = connection.execute(
            "SELECT rank FROM search_items(%s, ranking => %s) WHERE source_id = %s",
            (f"query {number}", ranking, relevant),
        ).fetchone()
        gains[modality].append(0.0 if found is None else 1 / float(np.log2(1 + found[0])))
    means = {modality: float(np.mean(values)) for modality, values in gains.items()}
    return means | {"overall": float(np.mean(gains["text"] + gains["image"]))}
