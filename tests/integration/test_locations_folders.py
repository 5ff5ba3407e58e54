"""Folders as attached sources, and `add --sync` on the same engine."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from psycopg.errors import InsufficientPrivilege

from pipeline.cli.output import EX_TEMPFAIL, exit_code
from pipeline.errors import ConfigurationError
from pipeline.loaders import Loader, LoadOptions
from pipeline.loaders.listed import PAGE
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.locks import LockHeld
from pipeline.settings import Settings
from pipeline.sources.locations import (
    Location,
    LocationReport,
    attach_location,
    sync_location,
    sync_objects,
)
from pipeline.sources.locations import pages as kept
from pipeline.sources.locations.listing import pages_of_folder
from pipeline.sources.locations.location import Attached, attached_location
from pipeline.sources.locations.sync import LOCATION_LOCK
from pipeline.sources.removal import Brake
from pipeline.spaces import Space
from tests.helpers.command import Done, pipeline
from tests.helpers.databases import as_login
from tests.helpers.fakes import FakeEmbedder
from tests.helpers.workers import work

CAREFUL = Brake(0.1)
MEANT = Brake(0.1, released=True)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        Image.new("RGB", (8 + number, 8), (number * 9, 5, 5)).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def sync(connection: Connection, settings: Settings) -> Callable[..., LocationReport]:
    def run(brake: Brake = CAREFUL, name: str = "photos") -> LocationReport:
        return sync_location(connection, name, settings, brake)

    return run


def test_syncs_at_once_take_turns_and_remove_nothing(
    url: str, stored: Path, connection: Connection, settings: Settings
) -> None:
    """One that began behind the pages of another, which then were gone, found an empty folder."""
    before = ids(connection)

    def run(_: int) -> list[LocationReport]:
        with connect(url) as own:
            return [sync_location(own, "photos", settings, MEANT) for _ in range(5)]

    with ThreadPoolExecutor(4) as pool:
        reports = [report for some in pool.map(run, range(4)) for report in some]
    assert [(r.added, r.changed, r.moved, r.removed) for r in reports] == [(0, 0, 0, 0)] * 20
    assert all(report.is_well for report in reports)
    assert ids(connection) == before


def test_a_login_that_may_not_sync_holds_no_sync_up(
    url: str, stored: Path, connection: Connection, settings: Settings
) -> None:
    lock = (LOCATION_LOCK << 32) + attached_location(connection, "photos").id
    with as_login(connection, url, "idler", "LOGIN") as idler, idler.transaction():
        idler.execute("SELECT pg_advisory_xact_lock(%s)", (lock,))
        assert sync_location(connection, "photos", settings, CAREFUL, patience=0).is_well


def test_a_folder_that_is_not_there_is_said_until_it_is(
    stored: Path, connection: Connection, settings: Settings
) -> None:
    stored.rename(stored.with_name("away"))
    with pytest.raises(ConfigurationError, match="is not there"):
        sync_location(connection, "photos", settings, CAREFUL)
    (said,) = connection.execute("SELECT problem FROM attached_source_status").fetchone() or ("",)
    assert said.startswith(f"{stored} is not there")
    stored.with_name("away").rename(stored)
    assert sync_location(connection, "photos", settings, CAREFUL).is_well
    assert connection.execute("SELECT problem FROM attached_source_status").fetchone() == (None,)


def test_whoever_watches_leaves_what_another_syncs(
    url: str, stored: Path, connection: Connection, settings: Settings
) -> None:
    held: list[BaseException] = []

    def meanwhile(_: int) -> None:
        with connect(url) as own, pytest.raises(LockHeld) as caught:
            sync_location(own, "photos", settings, CAREFUL, patience=0)
        held.append(caught.value)

    assert sync_location(connection, "photos", settings, CAREFUL, meanwhile).is_well
    assert held
    assert all(exit_code(error) == EX_TEMPFAIL for error in held if isinstance(error, Exception))


@pytest.fixture
def ingest(settings: Settings, space: Space) -> Callable[[], FakeEmbedder]:
    def run() -> FakeEmbedder:
        embedder = FakeEmbedder()
        with Loader(LoadOptions.of(settings)) as loader:
            report = work(settings, space, embedder, load=loader.load)
        assert (report.failed, report.retrying) == (0, 0)
        return embedder

    return run


@pytest.fixture
def stored(
    photos: Path,
    connection: Connection,
    settings: Settings,
    sync: Callable[..., LocationReport],
    ingest: Callable[[], FakeEmbedder],
) -> Path:
    assert attach_location(connection, Location(f"{photos}/"), settings) == "photos"
    assert sync().added == 20
    assert ingest().embedded == 20
    return photos


@pytest.fixture
def call(url: str, tmp_path: Path) -> Callable[..., Done]:
    return lambda *arguments: pipeline(tmp_path, *arguments, DATABASE_URL=url)


def counts(report: LocationReport) -> tuple[int, int, int, int, int]:
    return report.listed, report.added, report.changed, report.moved, report.removed


def ids(connection: Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT source_id, id FROM multimodal_items ORDER BY 1").fetchall()


def names(connection: Connection, table: str = "source_items") -> list[str]:
    rows = connection.execute(f"SELECT content_ref FROM {table}")  # type: ignore[arg-type]
    return sorted(Path(ref).name for (ref,) in rows)


def test_what_is_in_a_folder_becomes_source_items(
    connection: Connection, settings: Settings, photos: Path
) -> None:
    (photos / ".hidden").mkdir()
    (photos / "sub").mkdir()
    shutil.copy(photos / "00.png", photos / ".hidden" / "x.png")
    shutil.copy(photos / "00.png", photos / "._x.png")
    shutil.copy(photos / "00.png", photos / "sub" / "below.PNG")
    shutil.copy(photos / "00.png", photos / "sub" / "left-out.png")
    shutil.copy(photos / "00.png", photos / "sub" / "draft.png")
    (photos / ".pipelineignore").write_text("left-out*\n")
    (photos / "table.csv").write_text("a,b\n")
    (photos / "link").symlink_to(photos / "sub", target_is_directory=True)
    (photos / "nowhere.png").symlink_to(photos / "none.png")
    (photos / "circle.png").symlink_to(photos / "circle.png")
    os.mkfifo(photos / "pipe.png")
    location = Location(str(photos), "mine", metadata={"set": 1}, exclude=("draft*",))
    assert attach_location(connection, location, settings) == "mine"
    report = sync_location(connection, "mine", settings, CAREFUL)
    assert counts(report) == (21, 21, 0, 0, 0)
    assert (report.is_well, report.skipped, report.unread) == (True, 4, [photos / "table.csv"])
    assert report.notes == [
        f"links to folders are not followed, add those that you mean: {photos}/link"
    ]
    assert connection.execute(
        "SELECT source, source_key, content_ref, modality, metadata FROM source_items "
        "WHERE row_key = 'sub/below.PNG'"
    ).fetchone() == ("mine", *2 * (f"{photos}/sub/below.PNG",), "image", {"set": 1})
    assert connection.execute("SELECT path FROM media_roots").fetchall() == [(str(photos),)]


def test_a_folder_is_followed(
    stored: Path,
    sync: Callable[..., LocationReport],
    connection: Connection,
    ingest: Callable[[], FakeEmbedder],
) -> None:
    assert counts(sync()) == (20, 0, 0, 0, 0)
    (stored / "03.png").unlink()
    (stored / "sub").mkdir()
    (stored / "04.png").rename(stored / "sub" / "four.png")
    shutil.copy(stored / "05.png", stored / "sub" / "five.png")
    (stored / "05.png").unlink()  # another time, the same bytes
    os.utime(stored / "06.png")
    Image.new("RGB", (50, 50), "red").save(stored / "07.png")
    Image.new("RGB", (51, 50), "red").save(stored / "new.png")
    query = "SELECT id, embedding::text FROM multimodal_items WHERE content_ref LIKE %s"
    before = connection.execute(query, ("%0_.png",)).fetchall()
    assert counts(sync()) == (20, 1, 2, 2, 1)
    assert ingest().embedded == 2
    assert names(connection) == names(connection, "multimodal_items")
    moved = connection.execute(query, ("%/sub/%.png",)).fetchall()
    assert len(moved) == 2
    assert set(moved) <= set(before)
    assert counts(sync()) == (20, 0, 0, 0, 0)
    assert connection.execute("SELECT * FROM ingest_jobs").fetchall() == []


def test_what_a_pattern_leaves_out_now_goes(
    stored: Path, sync: Callable[..., LocationReport], connection: Connection
) -> None:
    (stored / ".pipelineignore").write_text("03.png\n")
    assert sync().removed == 1
    assert "03.png" not in names(connection)


@pytest.mark.parametrize("state", ["absent", "empty", "hidden files"])
def test_a_disk_that_is_not_mounted_removes_nothing_whatever_is_allowed(
    stored: Path, sync: Callable[..., LocationReport], connection: Connection,
    settings: Settings, state: str,
) -> None:  # fmt: skip
    stored.rename(stored.with_name("away"))
    if state != "absent":
        stored.mkdir()
    if state == "hidden files":
        (stored / ".DS_Store").touch()
    with pytest.raises(ConfigurationError, match="nothing of photos was changed"):
        sync(MEANT)
    with pytest.raises(ConfigurationError, match="nothing of photos was changed"):
        sync_objects(connection, "photos", ["03.png"], settings)
    assert len(names(connection)) == 20


def test_a_folder_that_cannot_be_read_removes_and_moves_nothing(
    stored: Path,
    sync: Callable[..., LocationReport],
    connection: Connection,
) -> None:
    """By a name that the system refuses, since root may read every folder."""
    (stored / "03.png").unlink()
    (stored / "04.png").rename(stored / "four.png")
    Image.new("RGB", (50, 50), "red").save(stored / "new.png")
    here = Path.cwd()
    try:
        os.chdir(stored)
        for _ in range(20):  # longer than a path can be
            Path("d" * 250).mkdir()
            os.chdir("d" * 250)
    finally:
        os.chdir(here)
    report = sync(MEANT)
    assert counts(report) == (20, 2, 0, 0, 0)
    assert not report.is_complete
    assert "File name too long" in report.problems[0]
    assert len(names(connection)) == 22
    subprocess.run(["rm", "-rf", str(stored / ("d" * 250))], check=True)
    assert counts(sync(MEANT))[3:] == (1, 1)


def test_a_listing_of_a_folder_goes_on_behind_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    for name in ("a", "a/b", "a.b", "a-b", "z", "\u00fc"):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            (folder / name / f"{number}.png").touch()
        (folder / f"{name}.png").touch()
    attached = Attached(1, "many", str(folder), "many", {})

    def keys(after: str | None) -> list[str]:
        pages = pages_of_folder(attached, after, LocationReport())
        return [seen.key for page in pages for seen in page.seen]

    whole = keys(None)
    assert whole == sorted(whole, key=str.encode)
    assert len(whole) == 24
    for number, key in enumerate(whole):
        assert keys(key) == whole[number + 1 :]


def test_a_sync_that_was_killed_goes_on_where_it_was(
    stored: Path, sync: Callable[..., LocationReport], connection: Connection, settings: Settings
) -> None:
    for number in range(PAGE + 20):
        shutil.copy(stored / "00.png", stored / f"x{number:04}.png")
    (stored / "03.png").unlink()

    class Killed(BaseException):
        pass

    def kill(_: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        sync_location(connection, "photos", settings, CAREFUL, kill)
    attached = attached_location(connection, "photos")
    assert kept.begin(connection, attached).listed == PAGE
    assert len(names(connection)) == 20
    assert counts(sync()) == (PAGE + 39, PAGE + 20, 0, 0, 1)


def test_a_name_that_is_no_utf8_is_told_and_costs_no_other(
    stored: Path, sync: Callable[..., LocationReport], connection: Connection
) -> None:
    with open(os.fsencode(stored) + b"/\xff.png", "wb"):  # noqa: PTH123 (bytes)
        pass
    report = sync()
    assert report.is_complete
    assert report.problems[0].endswith("/\\xff.png: the name is not UTF-8; rename it")
    assert len(names(connection)) == 20


# what add made, and adds


def test_rows_that_add_made_become_those_of_the_attached_folder(
    photos: Path,
    connection: Connection,
    settings: Settings,
    sync: Callable[..., LocationReport],
    call: Callable[..., Done],
    ingest: Callable[[], FakeEmbedder],
) -> None:
    assert call("add", str(photos)).returncode == 0
    ingest()
    os.utime(photos / "06.png")
    Image.new("RGB", (50, 50), "red").save(photos / "07.png")
    (photos / "08.png").rename(photos / "eight.png")
    assert attach_location(connection, Location(str(photos)), settings) == "photos"
    assert connection.execute("SELECT * FROM ingest_jobs").fetchall() == []
    assert connection.execute("SELECT DISTINCT source FROM source_items").fetchall() == [
        ("photos",)
    ]
    assert counts(sync()) == (20, 0, 2, 1, 0)
    assert ingest().embedded == 1


def test_a_file_that_is_added_by_name_is_not_there_twice(
    stored: Path,
    sync: Callable[..., LocationReport],
    connection: Connection,
    call: Callable[..., Done],
) -> None:
    Image.new("RGB", (50, 50), "red").save(stored / "new.png")
    done = call("add", str(stored), "--json")
    assert (done.returncode, json.loads(done.stdout)["added"]) == (0, 1)
    assert connection.execute(
        "SELECT source, row_key FROM source_items WHERE content_ref LIKE '%new.png'"
    ).fetchall() == [("photos", "new.png")]
    assert counts(sync()) == (21, 0, 0, 0, 0)


def test_rescan_leaves_attached_folders_to_their_sync(
    stored: Path, connection: Connection, call: Callable[..., Done]
) -> None:
    (stored / "03.png").unlink()
    done = call("rescan", "--json")
    assert (done.returncode, json.loads(done.stdout)["checked"]) == (0, 0)
    assert len(names(connection)) == 20


def said(done: Done) -> dict[str, Any]:
    return dict(json.loads(done.stdout))


def test_add_sync_attaches_once_and_syncs_each_time(
    photos: Path, connection: Connection, call: Callable[..., Done]
) -> None:
    done = call("add", "--sync", str(photos), "--json")
    assert done.returncode == 0, done.stderr
    assert f"{photos} is attached as photos" in done.stderr
    (photos / "03.png").unlink()
    Image.new("RGB", (50, 50), "red").save(photos / "04.png")
    done = call("add", "--sync", str(photos), "--metadata", '{"set": 2}', "--json")
    report = said(done)
    assert (report["added"], report["changed"], report["removed"]) == (0, 1, 1)
    assert (report["unchanged"], report["moved"], report["refused"]) == (18, 0, [])
    rows = connection.execute("SELECT name, location, sources, capture FROM attached_sources")
    assert rows.fetchall() == [("photos", str(photos), ["photos"], "scan")]
    assert connection.execute("SELECT DISTINCT metadata FROM source_items").fetchall() == [
        ({"set": 2},)
    ]
    assert call("add", "--sync", str(photos), "--exclude", "05*").stdout.startswith("0 added")
    assert "05.png" not in names(connection)


def test_add_sync_of_several_folders_and_of_one_in_another(
    photos: Path, tmp_path: Path, connection: Connection, call: Callable[..., Done]
) -> None:
    (photos / "sub").mkdir()
    shutil.copy(photos / "00.png", photos / "sub")
    other = tmp_path / "other" / "photos"
    shutil.copytree(photos, other)
    done = call("add", "--sync", str(photos), str(other), "--json")
    assert (done.returncode, said(done)["added"]) == (0, 42)
    sources = connection.execute("SELECT DISTINCT source FROM source_items ORDER BY 1").fetchall()
    assert sorted(sources) == sorted([("photos",), (str(other),)])
    done = call("add", "--sync", str(photos / "sub"), str(photos), "--json")
    assert (done.returncode, said(done)["unchanged"]) == (0, 21)
    assert "which is synced as a whole" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--sync"], 2, "name files or folders"),
        (["--sync", "{photos}", "--text", "a"], 2, "texts are added without it"),
        (["--sync", "{photos}", "--source", "other"], 1, "leave --source out"),
        (["--sync", "{photos}/sub", "--metadata", '{{"a": 1}}'], 1, "those of the whole"),
        (["--sync", "{photos}/00.png"], 1, "takes folders alone"),
        (["--sync", "{photos}/.."], 1, "overlaps with"),
    ],
)
def test_add_sync_refuses_what_would_be_two_ways(
    stored: Path, call: Callable[..., Done], arguments: list[str], code: int, words: str
) -> None:
    (stored / "sub").mkdir()
    shutil.copy(stored / "00.png", stored / "sub")
    done = call("add", *(argument.format(photos=stored) for argument in arguments))
    assert (done.returncode, words in " ".join(done.stderr.split())) == (code, True), done.stderr


# rights, and the end


def test_who_ingests_may_attach_and_sync_and_who_reads_may_not(
    photos: Path, connection: Connection, settings: Settings
) -> None:
    connection.execute("SET ROLE pipeline_analyst")
    with pytest.raises(InsufficientPrivilege):
        attach_location(connection, Location(str(photos)), settings)
    connection.execute("SET ROLE pipeline_ingest")
    attach_location(connection, Location(str(photos)), settings)
    assert sync_location(connection, "photos", settings, CAREFUL).added == 20
    (photos / "03.png").unlink()
    (photos / "04.png").rename(photos / "four.png")
    assert counts(sync_location(connection, "photos", settings, CAREFUL)) == (19, 1, 0, 0, 2)
    assert sync_objects(connection, "photos", ["05.png", "03.png"], settings).is_well
    connection.execute("SET ROLE pipeline_analyst")
    with pytest.raises(InsufficientPrivilege):
        sync_location(connection, "photos", settings, CAREFUL)


@pytest.mark.parametrize("keep", [True, False])
def test_a_detached_folder_leaves_its_rows_as_nobodys_or_takes_them(
    stored: Path, connection: Connection, settings: Settings, keep: bool
) -> None:
    assert connection.execute("SELECT detach_source('photos', %s)", (keep,)).fetchone() == (20,)
    assert len(names(connection)) == len(names(connection, "multimodal_items")) == 20 * keep
    for table in ("attached_sources", "attached_objects", "attached_listing_pages"):
        assert connection.execute(f"SELECT * FROM {table}").fetchall() == []  # type: ignore[arg-type]
    attach_location(connection, Location(str(stored)), settings)
    report = sync_location(connection, "photos", settings, CAREFUL)
    assert counts(report) == (20, 0 if keep else 20, 0, 0, 0)
