"""A folder that transformers saved, from ``space create`` to a search, by its vectors alone."""

from pathlib import Path

import numpy as np
import psycopg
import pytest
from PIL import Image

from tests.helpers.command import Run
from tests.helpers.saved_by_transformers import save_clip, save_clip_processor


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    noise = np.random.default_rng(1).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_a_space_of_a_saved_folder_is_created_filled_and_searched(
    run: Run, empty_url: str, tmp_path: Path, pictures: Path
) -> None:
    model = tmp_path / "model"
    save_clip(model)
    save_clip_processor(model)
    assert run("migrate", "--no-space").returncode == 0
    created = run("space", "create", "hf", "--model", str(model), "--precision", "float32")
    assert created.returncode == 0, created.stderr
    added = run("add", str(pictures), "--text", "a red bicycle", "--text", "two cats")
    assert added.returncode == 0, added.stderr
    for command in (["space", "build", "hf"], ["space", "activate", "hf", "--no-gate"]):
        done = run(*command)
        assert done.returncode == 0, done.stderr
    found = run("search", "a red bicycle", "--modality", "text", "--json")
    assert found.returncode == 0, found.stderr
    assert "a red bicycle" in found.stdout.splitlines()[0]
    found = run("search", "--image", str(pictures / "1.png"), "--modality", "image", "--json")
    assert found.returncode == 0, found.stderr
    assert "1.png" in found.stdout.splitlines()[0]
    with psycopg.connect(empty_url) as connection:
        (description,) = connection.execute(
            "SELECT description FROM embedding_spaces WHERE name = 'hf'"
        ).fetchone() or ({},)
    assert description["kind"] == "openclip"
    assert description["tokenizer"]["kind"] == "SavedTokenizer"
