"""What is gone goes, what was renamed moves, and too much at once is refused, by all commands."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.errors import PermanentRowError
from pipeline.loaders import Loader, LoadOptions
from pipeline.postgres.connections import Connection, connect
from pipeline.settings import Settings
from pipeline.sources.removal import FEW, Brake, Leaving, remove
from pipeline.sources.rescan import RescanReport, rescan
from pipeline.spaces import Space
from tests.helpers.command import Done, pipeline
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.workers import work

CAREFUL = Brake(0.1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        Image.new("RGB", (8 + number, 8), (number * 9, 5, 5)).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def call(url: str, tmp_path: Path) -> Callable[..., Done]:
    """The command, on the test's database."""
    return lambda *arguments: pipeline(tmp_path, *arguments, DATABASE_URL=url)


@pytest.fixture
def ingest(settings: Settings, space: Space) -> Callable[[], FakeEmbedder]:
    """Work on all that is due; how much the model did."""

    def run() -> FakeEmbedder:
        embedder = FakeEmbedder()
        with Loader(LoadOptions.of(settings)) as loader:
            report = work(settings, space, embedder, load=loader.load)
        assert (report.failed, report.retrying) == (0, 0)
        return embedder

    return run


@pytest.fixture
def stored(photos: Path, call: Callable[..., Done], ingest: Callable[[], FakeEmbedder]) -> Path:
    """The folder, all of it added and embedded."""
    assert call("add", str(photos)).returncode == 0
    assert ingest().embedded == 20
    return photos


def names(connection: Connection, table: str = "multimodal_items") -> list[str]:
    rows = connection.execute(f"SELECT content_ref FROM {table}")  # type: ignore[arg-type]
    return sorted(Path(ref).name for (ref,) in rows)


def counts(done: Done) -> dict[str, Any]:
    return dict(json.loads(done.stdout))


def test_a_deleted_file_is_found_no_more_after_a_rescan(
    connection: Connection, stored: Path, call: Callable[..., Done], ingest: Callable[[], Any]
) -> None:
    """The nights of a cron line: add, rescan, ingest; none of them fails."""
    (stored / "07.png").unlink()
    for removed in (1, 0):
        assert call("add", str(stored)).returncode == 0
        done = call("rescan", "--json")
        assert (done.returncode, counts(done)["removed"]) == (0, removed)
        ingest()
    assert "07.png" not in names(connection)
    assert len(names(connection)) == len(names(connection, "source_items")) == 19
    assert connection.execute("SELECT * FROM ingest_jobs").fetchall() == []


@pytest.mark.parametrize("added_before", [False, True])
def test_a_renamed_file_moves_and_is_not_embedded_again(
    connection: Connection,
    stored: Path,
    call: Callable[..., Done],
    ingest: Callable[[], FakeEmbedder],
    added_before: bool,
) -> None:
    query = (
        "SELECT s.id, i.id, i.embedding::text, i.content_sha256, s.metadata FROM source_items AS s "
        "JOIN multimodal_items AS i ON i.source_id = s.id WHERE s.content_ref LIKE '%%' || %s"
    )
    connection.execute(
        """UPDATE source_items SET metadata = '{"mine": 1}' WHERE content_ref LIKE '%07.png'"""
    )
    before = connection.execute(query, ("07.png",)).fetchall()
    (stored / "sub").mkdir()
    (stored / "07.png").rename(stored / "sub" / "seven.png")
    if added_before:
        assert counts(call("add", str(stored), "--json"))["added"] == 1
    done = call("rescan", "--json")
    assert (done.returncode, counts(done)["moved"], counts(done)["removed"]) == (0, 1, 0)
    assert ingest().embedded == 0
    assert connection.execute(query, ("sub/seven.png",)).fetchall() == before
    assert len(names(connection)) == len(names(connection, "source_items")) == 20
    assert counts(call("add", str(stored), "--json"))["added"] == 0


def test_add_sync_makes_the_rows_those_of_the_folder(
    connection: Connection, stored: Path, call: Callable[..., Done], ingest: Callable[[], Any]
) -> None:
    (stored / "03.png").unlink()
    (stored / "04.png").rename(stored / "four.png")
    Image.new("RGB", (50, 50), "red").save(stored / "new.png")
    done = call("add", "--sync", str(stored), "--json")
    assert done.returncode == 0, done.stderr
    report = counts(done)
    assert (report["added"], report["moved"], report["removed"]) == (1, 1, 1)
    assert ingest().embedded == 1
    wanted = sorted(file.name for file in stored.iterdir())
    assert names(connection) == names(connection, "source_items") == wanted


def test_add_sync_leaves_the_rows_of_other_folders_and_of_tables(
    connection: Connection, stored: Path, call: Callable[..., Done], tmp_path: Path
) -> None:
    other = tmp_path / "photos of others"
    shutil.copytree(stored, other)
    (stored / "table.csv").write_text("id,image\n1,00.png\n2,missing.png\n")
    assert call("add", str(other), str(stored / "table.csv")).returncode == 0
    shutil.rmtree(other)
    before = names(connection, "source_items")
    report = counts(call("add", "--sync", str(stored), "--json"))
    assert (report["moved"], report["removed"]) == (0, 0)
    assert names(connection, "source_items") == before


def delete(folder: Path, count: int) -> None:
    for file in sorted(folder.iterdir())[:count]:
        file.unlink()


@pytest.mark.parametrize("command", [("rescan",), ("add", "--sync", "{folder}")])
def test_more_than_the_brake_allows_is_refused_until_it_is_meant(
    connection: Connection, stored: Path, call: Callable[..., Done], command: tuple[str, ...]
) -> None:
    delete(stored, FEW + 1)
    arguments = [argument.format(folder=stored) for argument in command]
    done = call(*arguments, "--json")
    assert done.returncode == 1
    source = "files" if command == ("rescan",) else "photos"  # an attached folder is its own
    refused = {"source": source, "going": FEW + 1, "there": 20}
    assert (counts(done)["removed"], counts(done)["refused"]) == (0, [refused])
    assert f"11 of the 20 rows of the source '{source}' would go at once" in done.stderr
    assert "--allow-mass-delete" in done.stderr
    assert len(names(connection)) == 20
    assert connection.execute("SELECT * FROM ingest_jobs").fetchall() == []
    done = call(*arguments, "--json", "--allow-mass-delete")
    assert (done.returncode, counts(done)["removed"]) == (0, FEW + 1)
    assert len(names(connection)) == 20 - FEW - 1


@pytest.mark.parametrize("command", [("rescan",), ("add", "--sync", "{folder}")])
@pytest.mark.parametrize("state", ["absent", "empty", "hidden files"])
def test_a_disk_that_is_not_mounted_removes_nothing_whatever_is_allowed(
    connection: Connection,
    stored: Path,
    call: Callable[..., Done],
    command: tuple[str, ...],
    state: str,
) -> None:
    stored.rename(stored.with_name("away"))
    if state != "absent":
        stored.mkdir()
    if state == "hidden files":
        (stored / ".DS_Store").touch()
    arguments = [argument.format(folder=stored) for argument in command]
    done = call(*arguments, "--allow-mass-delete")
    assert done.returncode == (75 if command == ("rescan",) else 1)
    assert len(names(connection)) == len(names(connection, "source_items")) == 20


def test_a_setting_says_how_much_may_go(stored: Path, url: str, tmp_path: Path) -> None:
    delete(stored, FEW + 1)
    done = pipeline(tmp_path, "rescan", DATABASE_URL=url, PIPELINE_MASS_DELETE_SHARE="0.6")
    assert done.returncode == 0
    assert "11 removed" in done.stdout


@pytest.mark.parametrize(
    ("going", "there", "named", "holds"),
    [
        (0, 0, False, False),
        (1, 5, False, False),  # a tenth of five is no row
        (4, 5, False, False),
        (5, 5, False, True),  # all there is: found by mistake more likely
        (1, 1, False, True),
        (1, 1, True, False),
        (10, 10, True, False),
        (10, 20, False, False),
        (11, 20, False, True),
        (11, 20, True, True),
        (100, 1000, False, False),
        (101, 1000, False, True),
    ],
)
def test_how_much_is_too_much(going: int, there: int, named: bool, holds: bool) -> None:
    assert CAREFUL.holds(going, there, named=named) is holds
    assert not Brake(0.1, released=True).holds(going, there, named=named)


def gone_at(*ends: str) -> Callable[[str], dict[str, Any]]:
    def stat(ref: str) -> dict[str, Any]:
        if ref.endswith(ends):
            raise PermanentRowError("not_found", "404")
        return {}

    return stat


def test_what_was_given_another_reference_meanwhile_stays(
    connection: Connection, space: Space
) -> None:
    add_texts(connection, [f"text {n}" for n in range(3)])
    leaving = [Leaving(1, "test", "text 0"), Leaving(2, "test", "an older text")]
    assert remove(connection, leaving, CAREFUL).removed == 1
    assert names(connection, "source_items") == ["text 1", "text 2"]


def test_a_source_in_trouble_keeps_its_rows_and_others_lose_theirs(
    connection: Connection, stored: Path, url: str
) -> None:
    for source, count in (("a", 30), ("b", 30)):
        for number in range(count):
            connection.execute(
                "INSERT INTO source_items (source, source_key, modality, content_ref) "
                "VALUES (%s, %s, 'image', %s)",
                (source, str(number), f"https://{source}.example/{number}.png"),
            )
    connection.execute(
        "UPDATE ingest_jobs SET state = 'failed', error_code = 'not_found' WHERE state = 'pending'"
    )
    ends = (*(f"a.example/{n}.png" for n in range(15)), "b.example/7.png")
    report = rescan(connection, gone_at(*ends), CAREFUL)
    assert [refusal.source for refusal in report.refused] == ["a"]
    assert report.removed == 1


def test_what_failed_since_it_was_not_there_is_tried_again_when_it_is(
    settings: Settings, space: Space, connection: Connection, stored: Path
) -> None:
    missing = stored / "missing.png"
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "VALUES ('files', %s, 'image', %s)",
        (str(missing), str(missing)),
    )
    with Loader(LoadOptions.of(settings)) as loader:
        work(settings, space, load=loader.load)
        Image.new("RGB", (9, 9)).save(missing)
        assert rescan(connection, loader.stat, CAREFUL, [stored]).changed == 1
        work(settings, space, load=loader.load)
        assert "missing.png" in names(connection)
        assert rescan(connection, loader.stat, CAREFUL, [stored]) == RescanReport(checked=21)


# pipeline remove


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (["{folder}/03.png"], 19),
        (["photos/03.png"], 19),  # as a shell completes it
        (["*/0[3].png"], None),  # brackets are letters
        (["*/0?.png"], 10),
        (["{folder}/1*.png"], 10),
        (["{folder}/03.png", "{folder}/04.png", "{folder}/03.png"], 18),
        (["nothing"], None),
        (["{folder}/03.png", "nothing"], None),
        (["photos/03.png", "--source", "others"], None),
    ],
)
def test_remove_takes_keys_paths_and_patterns(
    connection: Connection,
    stored: Path,
    call: Callable[..., Done],
    arguments: list[str],
    left: int | None,
) -> None:
    given = [argument.format(folder=stored) for argument in arguments]
    looked = call("remove", *given, "--dry-run")
    assert looked.returncode == (1 if left is None else 0)
    assert len(names(connection)) == 20
    asked = call("remove", *given)
    assert asked.returncode == 1
    assert ("add --yes if that is meant" in asked.stderr) is (left is not None)
    assert len(names(connection)) == 20
    done = call("remove", *given, "--yes", "--json")
    if left is None:
        assert done.returncode == 1
        assert "nothing was removed" in done.stderr
        assert len(names(connection)) == 20
    else:
        assert counts(done) == {"found": {"files": 20 - left}, "removed": 20 - left, "refused": []}
        assert len(names(connection)) == len(names(connection, "source_items")) == left


@pytest.mark.parametrize("arguments", [["--source", "files"], ["photos"], ["photos/"]])
def test_remove_of_a_whole_source_or_folder_has_to_be_meant(
    connection: Connection, stored: Path, call: Callable[..., Done], arguments: list[str]
) -> None:
    add_texts(connection, ["of another source"])
    done = call("remove", *arguments, "--yes")
    assert done.returncode == 1
    assert "20 of the 20 rows of the source 'files' would go at once" in done.stderr
    assert len(names(connection, "source_items")) == 21
    done = call("remove", *arguments, "--yes", "--allow-mass-delete")
    assert (done.returncode, done.stdout) == (0, "20 removed\n")
    assert names(connection, "source_items") == ["of another source"]


def test_a_pattern_takes_its_other_characters_as_they_are(
    connection: Connection, space: Space, call: Callable[..., Done]
) -> None:
    keys = ["50%_a", "50xya", "a\\b", "axb"]
    for key in keys:
        connection.execute(
            "INSERT INTO source_items (source, source_key, modality, content_ref) "
            "VALUES ('test', %s, 'text', 'x')",
            (key,),
        )
    assert counts(call("remove", "50%_*", "--yes", "--json"))["removed"] == 1
    assert counts(call("remove", "a\\*", "--yes", "--json"))["removed"] == 1
    left = connection.execute("SELECT source_key FROM source_items ORDER BY id").fetchall()
    assert left == [("50xya",), ("axb",)]


@pytest.mark.parametrize("arguments", [[], [""], ["--yes"]])
def test_remove_without_a_name_is_wrong_usage(
    call: Callable[..., Done], arguments: list[str]
) -> None:
    assert call("remove", *arguments).returncode == 2


def test_sync_keeps_the_vectors_of_a_source_table_that_is_not_whole(
    url: str, connection: Connection, stored: Path, call: Callable[..., Done]
) -> None:
    with connect(url) as replica:
        replica.execute("SET session_replication_role = replica")
        replica.execute("DELETE FROM source_items")
    done = call("sync")
    assert done.returncode == 1
    assert "--allow-mass-delete" in done.stderr
    assert len(names(connection)) == 20
    assert call("sync", "--dry-run").returncode == 0
    assert call("sync", "--allow-mass-delete").returncode == 0
    assert names(connection) == []


def test_the_cure_of_not_found_names_them(
    settings: Settings,
    space: Space,
    connection: Connection,
    stored: Path,
    call: Callable[..., Done],
) -> None:
    delete(stored, 1)
    connection.execute("SELECT enqueue_source_items(array_agg(id)) FROM source_items")
    with Loader(LoadOptions.of(settings)) as loader:
        work(settings, space, load=loader.load)
    said = call("failures").stderr
    assert "`pipeline rescan`" in said
    assert "`pipeline remove KEY`" in said
