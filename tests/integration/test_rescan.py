"""`pipeline rescan`: an object that changed behind its reference is embedded anew, no other is."""

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.errors import PermanentRowError, TransientRowError
from pipeline.loaders import Loader, LoadOptions
from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.sources.removal import Brake
from pipeline.sources.rescan import RescanReport, count_loaded, rescan
from pipeline.spaces import Space
from tests.helpers.fakes import FakeEmbedder
from tests.helpers.workers import work

CAREFUL = Brake(0.1)


@pytest.fixture
def pictures(tmp_path: Path, connection: Connection) -> list[Path]:
    files = [tmp_path / f"{name}.png" for name in ("red", "green", "blue")]
    for file in files:
        Image.new("RGB", (8, 8), file.stem).save(file)
        connection.execute(
            "INSERT INTO source_items (source, source_key, modality, content_ref) "
            "VALUES ('files', %s, 'image', %s)",
            (file.name, str(file)),
        )
    return files


def ingest(settings: Settings, space: Space) -> FakeEmbedder:
    embedder = FakeEmbedder()
    with Loader(LoadOptions.of(settings)) as loader:
        work(settings, space, embedder, load=loader.load)
    return embedder


def items(connection: Connection) -> dict[str, tuple[Any, ...]]:
    rows = connection.execute(
        "SELECT content_ref, xmin::text, content_sha256, embedding::text FROM multimodal_items"
    ).fetchall()
    return {Path(ref).name: rest for ref, *rest in rows}


def test_only_the_changed_picture_is_embedded_anew(
    settings: Settings, space: Space, connection: Connection, pictures: list[Path]
) -> None:
    ingest(settings, space)
    before = items(connection)
    Image.new("RGB", (9, 9), "yellow").save(pictures[1])
    with Loader(LoadOptions.of(settings)) as loader:
        assert rescan(connection, loader.stat, CAREFUL) == RescanReport(checked=3, changed=1)
    assert ingest(settings, space).embedded == 1
    after = items(connection)
    assert after["red.png"] == before["red.png"]
    assert after["blue.png"] == before["blue.png"]
    assert after["green.png"][1:] != before["green.png"][1:]


def test_a_picture_that_was_only_touched_keeps_its_vector_and_is_not_embedded(
    settings: Settings, space: Space, connection: Connection, pictures: list[Path]
) -> None:
    ingest(settings, space)
    before = items(connection)
    os.utime(pictures[0], (1, 1))
    with Loader(LoadOptions.of(settings)) as loader:
        assert rescan(connection, loader.stat, CAREFUL).changed == 1
        assert ingest(settings, space).embedded == 0
        assert items(connection)["red.png"][1:] == before["red.png"][1:]
        assert rescan(connection, loader.stat, CAREFUL).changed == 0


def test_what_is_gone_goes_and_what_is_unreachable_or_forbidden_is_left_alone(
    settings: Settings, space: Space, connection: Connection, pictures: list[Path]
) -> None:
    ingest(settings, space)
    pictures[2].unlink()
    with Loader(LoadOptions.of(settings)) as loader:

        def stat(ref: str) -> dict[str, Any]:
            if ref.endswith("red.png"):
                raise TransientRowError("timeout", "no answer in 30 s")
            if ref.endswith("green.png"):
                raise PermanentRowError("permission_denied", "not for you")
            return loader.stat(ref)

        report = rescan(connection, stat, CAREFUL)
    assert report == RescanReport(checked=3, removed=1, unreachable=1, unreadable=1)
    assert set(items(connection)) == {"red.png", "green.png"}
    jobs = connection.execute("SELECT state FROM ingest_jobs").fetchall()
    assert jobs == [("pending",)]  # the next ingest says why it cannot be read


def test_a_source_can_be_rescanned_alone(
    settings: Settings, space: Space, connection: Connection, pictures: list[Path]
) -> None:
    ingest(settings, space)
    with Loader(LoadOptions.of(settings)) as loader:
        assert rescan(connection, loader.stat, CAREFUL, source="another").checked == 0
        assert rescan(connection, loader.stat, CAREFUL, source="files").checked == 3
    assert count_loaded(connection, "files") == 3
    assert count_loaded(connection, "another") == 0


@pytest.fixture
def broken(pictures: list[Path]) -> list[Path]:
    """Two that fail for what they are: no image, and nothing."""
    pictures[0].write_bytes(b"no image")
    pictures[1].write_bytes(b"")
    return pictures[:2]


def states(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT source_key, j.state FROM source_items AS s "
        "LEFT JOIN ingest_jobs AS j ON j.source_id = s.id ORDER BY s.id"
    ).fetchall()


def test_what_failed_for_what_it_is_goes_with_its_file(
    settings: Settings, space: Space, connection: Connection, broken: list[Path]
) -> None:
    ingest(settings, space)
    assert states(connection)[:2] == [("red.png", "failed"), ("green.png", "failed")]
    broken[0].unlink()
    with Loader(LoadOptions.of(settings)) as loader:
        assert rescan(connection, loader.stat, CAREFUL).removed == 1
    assert [key for key, _ in states(connection)] == ["green.png", "blue.png"]


def test_and_is_opened_again_where_the_file_is_another(
    settings: Settings, space: Space, connection: Connection, broken: list[Path]
) -> None:
    ingest(settings, space)
    for file in broken:
        Image.new("RGB", (9, 9), "yellow").save(file)
        os.utime(file, (1, 1))  # as of a copy that keeps the time of the first
    with Loader(LoadOptions.of(settings)) as loader:
        assert rescan(connection, loader.stat, CAREFUL).changed == 2
    assert ingest(settings, space).embedded == 2
    assert states(connection) == [("red.png", None), ("green.png", None), ("blue.png", None)]


def test_the_brake_and_absent_disks_hold_for_what_failed(
    settings: Settings, space: Space, connection: Connection, broken: list[Path], tmp_path: Path
) -> None:
    ingest(settings, space)
    for file in tmp_path.glob("*.png"):
        file.unlink()
    with Loader(LoadOptions.of(settings)) as loader:
        report = rescan(connection, loader.stat, CAREFUL, [tmp_path])
        assert (report.removed, report.unreachable) == (0, 3)
        report = rescan(connection, loader.stat, CAREFUL)
    assert report.removed == 0
    assert len(report.refused) == 1
    assert len(states(connection)) == 3
