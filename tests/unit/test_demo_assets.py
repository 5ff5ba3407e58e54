"""The demonstration's files: complete, licensed, small, and as good as the documentation says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

DEMO = Path(__file__).resolve().parents[2] / "pipeline" / "demo"
MODEL = DEMO / "model"
SAMPLES = DEMO / "samples"
FIELDS = {"key", "image", "name", "caption", "tags", "group", "subgroup", "style", "license"}

# Slightly below what docs/demo-model.md records for the shipped weights.
FLOOR_R1 = 0.78
FLOOR_R10 = 0.97


@pytest.fixture(scope="module")
def manifest() -> list[dict[str, Any]]:
    text = (SAMPLES / "manifest.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_every_line_of_the_manifest_has_all_fields(manifest: list[dict[str, Any]]) -> None:
    assert len(manifest) >= 1000
    assert all(set(line) == FIELDS for line in manifest)
    assert all(line["name"] and line["caption"] and line["group"] for line in manifest)


def test_keys_are_unique_and_plain(manifest: list[dict[str, Any]]) -> None:
    keys = [line["key"] for line in manifest]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"[a-z0-9-]+", key) for key in keys)


def test_every_picture_is_there_and_opens_and_none_is_left_over(
    manifest: list[dict[str, Any]],
) -> None:
    for line in manifest:
        with Image.open(SAMPLES / line["image"]) as picture:
            picture.load()
            assert (picture.format, picture.mode, picture.size) == ("WEBP", "RGB", (96, 96))
    shipped = {f"images/{path.name}" for path in (SAMPLES / "images").iterdir()}
    assert shipped == {line["image"] for line in manifest}


def test_the_licence_of_every_picture_is_in_the_notices(manifest: list[dict[str, Any]]) -> None:
    notices = (DEMO / "NOTICES.md").read_text(encoding="utf-8")
    table = {
        (cells[0], cells[3])
        for row in notices.splitlines()
        if row.startswith("|")
        for cells in [[cell.strip(" `") for cell in row.strip("|").split("|")]]
        if len(cells) > 3
    }
    assert {(line["style"], line["license"]) for line in manifest} <= table


def test_the_files_are_small() -> None:
    weights = sum(path.stat().st_size for path in MODEL.iterdir())
    pictures = sum(path.stat().st_size for path in (SAMPLES / "images").iterdir())
    assert weights <= 25_000_000
    assert pictures <= 6_000_000


def test_open_clip_loads_the_weights_with_no_key_missing() -> None:
    import open_clip
    from safetensors.torch import load_file

    model = open_clip.create_model(f"local-dir:{MODEL}")
    stored = load_file(MODEL / "open_clip_model.safetensors")
    assert set(stored) == set(model.state_dict())
    assert all(stored[name].shape == value.shape for name, value in model.state_dict().items())


def test_names_find_their_pictures_among_all_samples(manifest: list[dict[str, Any]]) -> None:
    import open_clip
    import torch

    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{MODEL}")
    model.eval()  # the picture tower has batch normalisation
    tokenizer = open_clip.get_tokenizer(f"local-dir:{MODEL}")
    pictures = torch.stack([preprocess(Image.open(SAMPLES / line["image"])) for line in manifest])
    with torch.inference_mode():
        texts = model.encode_text(tokenizer([line["name"] for line in manifest]), normalize=True)
        images = torch.cat(
            [model.encode_image(part, normalize=True) for part in pictures.split(256)]
        )
    scores = texts @ images.T
    better = (scores > scores.diagonal().unsqueeze(1)).sum(dim=1)
    assert (better < 1).float().mean().item() >= FLOOR_R1
    assert (better < 10).float().mean().item() >= FLOOR_R10
