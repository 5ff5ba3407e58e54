"""Attaching folders: two at once, and a look at what it would give."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import ConfigurationError
from pipeline.postgres.connections import Connection, connect
from pipeline.settings import Settings
from pipeline.sources.locations import Location, attach_location
from tests.helpers.catalog import everything
from tests.helpers.command import Done, pipeline
from tests.helpers.processes import wait_until
from tests.helpers.stores import Store, store

__all__ = ["store"]
WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (8 + number, 8)).save(folder / "sub" / f"{number}.png")
    (folder / "table.csv").write_text("a,b")
    return folder


@pytest.mark.parametrize(
    ("other", "name", "said"),
    [
        ("photos", None, "is attached already, as photos"),
        ("photos/sub", None, "overlaps with"),
        ("others", "photos", "there is a source 'photos' already"),
    ],
)
def test_two_at_once(
    connection: Connection, url: str, settings: Settings, photos: Path, other: str,
    name: str | None, said: str,
) -> None:  # fmt: skip
    (photos.parent / "others").mkdir()
    (photos.parent / "others" / "a.txt").write_text("words")
    told: list[str] = []

    def again() -> None:
        with connect(url) as second, pytest.raises(ConfigurationError) as raised:
            attach_location(second, Location(str(photos.parent / other), name), settings)
        told.append(str(raised.value))

    with connection.transaction():
        assert attach_location(connection, Location(str(photos)), settings) == "photos"
        thread = threading.Thread(target=again)
        thread.start()
        with connect(url) as looker:
            wait_until(lambda: looker.execute(WAITS).fetchone() != (0,), "the other waits")
    thread.join()
    assert said in told[0]
    assert connection.execute("SELECT count(*) FROM attached_sources").fetchone() == (1,)


@pytest.mark.parametrize("by", ["alias", "up/photos", "up/photos/sub"])
def test_a_folder_that_is_reached_by_a_link_is_the_same(
    connection: Connection, settings: Settings, photos: Path, by: str
) -> None:
    (photos.parent / "alias").symlink_to(photos)
    (photos.parent / "up").symlink_to(photos.parent)
    attach_location(connection, Location(str(photos)), settings)
    with pytest.raises(ConfigurationError, match=r"is attached already, as photos|overlaps with"):
        attach_location(connection, Location(str(photos.parent / by), "again"), settings)


def test_a_table_of_the_same_name_at_once(
    connection: Connection, url: str, settings: Settings, photos: Path
) -> None:
    connection.execute("CREATE TABLE photos (id int PRIMARY KEY, title text)")
    told: list[str] = []

    def again() -> None:
        with connect(url) as second, pytest.raises(ConfigurationError) as raised:
            attach_location(second, Location(str(photos), "photos"), settings)
        told.append(str(raised.value))

    with connection.transaction():
        connection.execute(
            """SELECT attach_source('photos', '{"t": {"modality": "text", "content": "title"}}')"""
        )
        thread = threading.Thread(target=again)
        thread.start()
        with connect(url) as looker:
            wait_until(lambda: looker.execute(WAITS).fetchone() != (0,), "the other waits")
    thread.join()
    assert "there is a source 'photos' already" in told[0]


@pytest.fixture
def run(url: str, tmp_path: Path) -> Callable[..., Done]:
    return lambda *arguments, **more: pipeline(tmp_path, *arguments, DATABASE_URL=url, **more)


def test_a_dry_run_of_a_folder(
    run: Callable[..., Done], connection: Connection, photos: Path
) -> None:
    before = everything(connection)
    done = run("attach", "photos", "--dry-run", "--exclude", "2.png")
    assert done.returncode == 0, done.stderr
    for part in (
        "photos: ",
        "image",
        "2 source items",
        "sub/0.png",
        "nothing was attached",
        "2 files were",
    ):
        assert part in done.stdout + done.stderr, part
    seen = json.loads(run("attach", "photos", "--dry-run", "--json", "--name", "mine").stdout)
    assert seen == {
        "name": "mine", "location": str(photos), "source_items": {"image": 3},
        "skipped": 1, "is_complete": True, "problems": [],
        "examples": ["sub/0.png", "sub/1.png", "sub/2.png"],
    }  # fmt: skip
    assert everything(connection) == before
    assert connection.execute("SELECT count(*) FROM attached_sources").fetchone() == (0,)
    assert connection.execute("SELECT count(*) FROM media_roots").fetchone() == (0,)
    assert run("attach", "photos").returncode == 0
    for name in ("photos", "photos/sub"):
        again = run("attach", name, "--dry-run")
        assert again.returncode == 1
        assert "photos" in again.stderr
    assert run("attach", "nothing/", "--dry-run").returncode == 1


def test_a_dry_run_of_a_prefix(
    run: Callable[..., Done], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        store.put(f"2026/{number}.png", b"x")
    store.put("2026/table.csv", b"x")
    done = run("attach", "s3://photos/2026", "--dry-run", "--json", PIPELINE_BUCKETS="s3://photos")
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["name"], seen["source_items"], seen["skipped"]) == ("2026", {"image": 7}, 1)
    assert len(seen["examples"]) == 5
    refused = run("attach", "s3://photos/2026", "--dry-run", PIPELINE_BUCKETS="")
    assert refused.returncode == 1
    assert "PIPELINE_BUCKETS" in refused.stderr
