"""``pipeline attach``, ``sync`` and ``detach`` of a folder, as people call them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pipeline.postgres.connections import Connection
from tests.helpers.command import Done, pipeline

pytest.importorskip("pipeline.sources.locations", reason="there are no locations yet")


@pytest.fixture
def run(url: str, tmp_path: Path) -> Callable[..., Done]:
    return lambda *arguments: pipeline(tmp_path, *arguments, DATABASE_URL=url)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (8 + number, 8)).save(folder / f"{number}.png")
    return folder


def test_a_folder_is_attached_followed_and_detached(
    run: Callable[..., Done], connection: Connection, photos: Path
) -> None:
    done = run("attach", "photos", "--every", "1h", "--exclude", "2.*")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "photos: 2 added, 0 changed, 0 removed\n"
    (listed,) = json.loads(run("attach", "--list", "--json").stdout)
    assert (listed["name"], listed["is_location"]) == ("photos", True)

    Image.new("RGB", (90, 8)).save(photos / "9.png")
    (photos / "0.png").unlink()
    looked = run("sync", "--dry-run")
    assert "photos is listed by a sync alone" in looked.stderr
    assert "photos: 1 added, 0 changed, 1 removed" in run("sync").stdout
    synced = json.loads(run("sync", "photos", "--json").stdout)
    assert synced["attached"][0]["is_complete"] is True

    refused = run("remove", "--source", "photos", "--yes")
    assert refused.returncode == 1
    assert "--exclude" in refused.stderr
    for file in photos.iterdir():
        file.unlink()
    assert run("sync", "photos").returncode == 1  # a disk that is not mounted is empty, too
    assert run("detach", "photos", "--yes").stdout == "photos: 2 source items removed\n"
    row = connection.execute("SELECT count(*) FROM source_items").fetchone()
    assert row == (0,)
