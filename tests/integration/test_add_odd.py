"""`pipeline add` of odd paths, names and values: one line says what is wrong, the rest is added."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.errors import ConfigurationError
from pipeline.loaders import Loader, LoadOptions
from pipeline.postgres.connections import Connection
from pipeline.references import from_folder, local_path
from pipeline.settings import Settings
from pipeline.sources import source_items
from pipeline.sources.files import expand, rows_of
from pipeline.sources.records import Columns
from pipeline.sources.source_items import AddReport, NewSource
from tests.helpers.command import Run

Rows = list[tuple[Any, ...]]
Add = Callable[..., AddReport]


@pytest.fixture
def add(connection: Connection) -> Add:
    def add(*arguments: Path | str, source: str | None = None, most: int = 2**20) -> AddReport:
        report = AddReport()
        rows = (
            row
            for file in expand([str(argument) for argument in arguments], report)
            for row in rows_of(file, source, Columns(), {}, report, max_bytes=most)
        )
        return source_items.add(connection, rows, report)

    return add


@pytest.fixture
def rows(connection: Connection) -> Callable[[], Rows]:
    def rows() -> Rows:
        return connection.execute(
            "SELECT source_key, modality, content_ref FROM source_items ORDER BY id"
        ).fetchall()

    return rows


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an image beside the current one."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (2, 2)).save(folder / "a.jpg")
    (tmp_path / "here" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    return folder


def test_a_path_that_goes_up_is_the_file_that_it_names_once(
    add: Add, rows: Callable[[], Rows], photos: Path
) -> None:
    up = f"{photos}/../photos"
    ways = ("../photos", "../photos/a.jpg", "below/../../photos/*.jpg", photos, up)
    reports = [add(way) for way in ways]
    assert [(r.added, r.unchanged) for r in reports] == [(1, 0)] + [(0, 1)] * 4
    assert rows() == [(f"{photos}/a.jpg", "image", f"{photos}/a.jpg")]
    with Loader(LoadOptions(), [photos]) as loader:
        assert loader.load(rows()[0][2]).data


def test_so_is_one_in_a_table(add: Add, rows: Callable[[], Rows], photos: Path) -> None:
    for name in ("t.csv", "below/t.csv"):
        up = "../" * (name.count("/") + 1)
        Path(name).write_text(f"key,image\n{name},{up}photos/./a.jpg\n")
        assert add(f"../here/{name}", source="shop").added == 1
    assert [row[2] for row in rows()] == [f"{photos}/a.jpg"] * 2


def test_going_up_from_a_link_is_going_up_from_where_it_leads(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "here" / "link").symlink_to(tmp_path / "deep" / "er")
    assert local_path("link/../x.jpg") == tmp_path / "deep" / "x.jpg"
    assert local_path("link/x.jpg") == tmp_path / "here" / "link" / "x.jpg"
    assert from_folder("../../../..//x.jpg", Path("/a")) == "/x.jpg"


def test_a_reference_that_somebody_wrote_with_dots_stays_forbidden(photos: Path) -> None:
    with Loader(LoadOptions(), [photos]) as loader, pytest.raises(Exception, match=r"'\.\.'"):
        loader.load(f"{photos}/../photos/a.jpg")


@pytest.mark.parametrize("name", ["~$x.jpg", "~nobodyhere/x.jpg", "~"])
def test_a_name_that_begins_with_a_tilde_is_a_name(
    add: Add, rows: Callable[[], Rows], photos: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("HOME", str(photos))
    file = photos / "a.jpg" if name == "~" else Path(name)
    file.parent.mkdir(exist_ok=True)
    Image.new("RGB", (2, 2)).save(file)
    assert add(name).added == 1
    assert rows()[0][2] == str(file.absolute())
    assert add("~nobodyelse/y.jpg").errors == ["~nobodyelse/y.jpg: there is no such file or folder"]


def test_an_empty_path_is_not_the_current_folder(add: Add, photos: Path) -> None:
    report = add("", str(photos))
    assert (report.added, report.errors) == (1, ["an empty path names no file or folder"])


def test_a_name_that_is_not_utf8_is_one_line(
    add: Add, rows: Callable[[], Rows], photos: Path
) -> None:
    for name in (b"bad\xff.jpg", b"bad\xff.csv", b"bad\xff.txt"):
        target = os.fsencode(photos) + b"/" + name
        Path(os.fsdecode(target)).write_bytes(
            (photos / "a.jpg").read_bytes() if name.endswith(b"jpg") else b"text\nx\n"
        )
    report = add(photos, os.fsdecode(os.fsencode(photos) + b"/bad\xff.csv"))
    assert [row[2] for row in rows()] == [f"{photos}/a.jpg"]
    assert len(report.errors) == 2
    for error, suffix in zip(report.errors, ("jpg", "csv"), strict=True):
        assert error == f"{photos}/bad\\xff.{suffix}: the name is not UTF-8; rename it"


def test_nor_does_such_a_folder_end_the_command(run: Run, tmp_path: Path) -> None:
    assert run("migrate", PIPELINE_MODEL="demo").returncode == 0
    folder = tmp_path / os.fsdecode(b"bad\xff")
    folder.mkdir()
    Image.new("RGB", (2, 2)).save(folder / "x.jpg")
    (tmp_path / "good.txt").write_text("good\n")
    done = run("add", str(folder), "good.txt", "--json")
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert (report["added"], len(report["errors"])) == (1, 1)
    assert "bad\\xff/x.jpg: the name is not UTF-8" in report["errors"][0]
    assert "Traceback" not in done.stderr


RANDOM_KEY = os.urandom(10_000).hex()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"text": "x", "price": NaN}', "NaN"),
        ('{"text": "x", "price": [{"deep": -1e400}]}', "infinite"),
        (f'{{"text": "x", "key": "{RANDOM_KEY}"}}', "key of 20"),
        ('{"text": "x", "note": "\\ud800"}', "not UTF-8"),
        ('{"text": "x", "note": "a\\u0000b"}', "NUL"),
        ('{"text": "x", "key": "\\ud800"}', "not UTF-8"),
        ('{"text": "x", "key": "a\\u0000b"}', "NUL"),
        ('{"text": "x", "note": ' + "[" * 900 + "1" + "]" * 900 + "}", None),
        ('{"text": "x", "price": 1e131000}', "infinite"),
    ],
)
@pytest.mark.parametrize("source", [None, "shop"])
def test_a_value_that_the_database_cannot_hold_costs_its_line(
    add: Add,
    rows: Callable[[], Rows],
    tmp_path: Path,
    source: str | None,
    line: str,
    problem: str | None,
) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text('{"text": "one"}\n' + line + '\n{"text": "three"}\n')
    report = add(file, source=source)
    if problem is None:
        assert (report.added, report.errors) == (3, [])
        return
    assert [row[2] for row in rows()] == ["one", "three"]
    (error,) = report.errors
    assert error.startswith(f"{file}:2: ")
    assert problem in error
    assert len(error) < 400
    assert (report.added, report.unchanged) == (2, 0)


def test_a_batch_that_the_database_refuses_costs_the_row_that_it_refuses(
    connection: Connection, rows: Callable[[], Rows]
) -> None:
    """Whatever that is: a check of the user's own, for one."""
    connection.execute(
        "ALTER TABLE source_items ADD CONSTRAINT ours CHECK (1 / length(content_ref) >= 0)"
    )
    given = [NewSource("test", str(n), "text", "x" if n % 7 else "") for n in range(1, 30)]
    report = source_items.add(connection, given, AddReport())
    assert (report.added, len(report.errors)) == (25, 4)
    assert report.errors[0].startswith("7: division by zero")
    assert len(rows()) == 25


@pytest.mark.parametrize("value", ['{"n": NaN}', '{"n": 1e400}', '{"n": [-Infinity]}', "[1]", "{"])
def test_metadata_that_is_no_json_object_is_wrong_usage(
    run: Run, tmp_path: Path, value: str
) -> None:
    done = run("add", "--text", "x", "--metadata", value)
    assert done.returncode == 2, done.stderr
    assert "--metadata" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_field_of_a_table_may_be_long(add: Add, rows: Callable[[], Rows], tmp_path: Path) -> None:
    file = tmp_path / "long.csv"
    file.write_text(f'key,text\n1,one\n2,"{"long " * 40_000}"\n3,three\n')
    report = add(file)
    assert (report.added, report.errors) == (3, [])
    assert len(rows()[1][2]) == 200_000


def test_a_longer_one_than_a_file_may_be_costs_its_line(
    add: Add, rows: Callable[[], Rows], tmp_path: Path
) -> None:
    file = tmp_path / "long.csv"
    file.write_text(f'key,text\n1,"o\nne"\n2,{"x" * 2_000}\n3,three\n4,{"y" * 1_500}\n5,five\n')
    report = add(file, most=1_000)
    assert [row[2] for row in rows()] == ["o\nne", "three", "five"]
    assert [error.partition(": ")[0] for error in report.errors] == [f"{file}:4", f"{file}:6"]
    assert "more than 1000 characters" in report.errors[0]


def test_a_quote_that_is_never_closed_is_named_by_its_line(
    add: Add, rows: Callable[[], Rows], tmp_path: Path
) -> None:
    file = tmp_path / "open.csv"
    file.write_text('key,text\n1,one\n2,"two\n' + "3,three\n" * 1_000)
    report = add(file, most=1_000)  # longer than a field may be: nothing is begun again
    assert [row[2] for row in rows()] == ["one"]
    (error,) = report.errors
    assert error.startswith(f"{file}:3: ")
    assert "quote" in error


def test_a_head_that_is_too_long_is_an_error_of_the_file(add: Add, tmp_path: Path) -> None:
    file = tmp_path / "head.csv"
    file.write_text(f"{'x' * 2_000},text\n1,one\n")
    report = add(file, most=1_000)
    assert (report.added, len(report.errors)) == (0, 1)
    assert report.errors[0].startswith(f"{file}")


def test_an_empty_home_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_HOME", "")
    assert Settings.load().home is None


def test_the_home_of_nobody_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIPELINE_HOME", "PIPELINE_MEDIA_ROOTS"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "~nobodyhere/x")
            with pytest.raises(ConfigurationError, match=f"{name}.*nobodyhere"):
                Settings.load()
