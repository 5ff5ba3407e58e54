"""`pipeline add`: files, folders, lines and tables become source items, once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.errors import ConfigurationError
from pipeline.modalities import DEPTH, IMU, Modality
from pipeline.postgres.connections import Connection
from pipeline.references import is_elsewhere
from pipeline.sources import source_items
from pipeline.sources.files import expand, reference_rows, rows_of
from pipeline.sources.media_roots import media_roots, register_roots
from pipeline.sources.records import Columns
from pipeline.sources.source_items import AddReport

Rows = list[tuple[Any, ...]]
Add = Callable[..., AddReport]


@pytest.fixture
def add(connection: Connection) -> Add:
    def add(
        *arguments: Path | str,
        columns: Columns | None = None,
        source: str | None = "test",
        told: Modality | None = None,
        **metadata: Any,
    ) -> AddReport:
        report = AddReport()
        among = None if told is None else [told]
        files = expand([str(argument) for argument in arguments], report, among=among)
        rows = (
            row
            for file in files
            for row in rows_of(file, source, columns or Columns(), metadata, report, told=told)
        )
        return source_items.add(connection, rows, report)

    return add


@pytest.fixture
def rows(connection: Connection) -> Callable[[], Rows]:
    def rows() -> Rows:
        return connection.execute(
            "SELECT source_key, modality, content_ref, metadata FROM source_items ORDER BY id"
        ).fetchall()

    return rows


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a picture.png"
    Image.new("RGB", (2, 2)).save(path)
    return path


def test_a_picture_becomes_an_image_row_with_its_absolute_path(
    add: Add, rows: Callable[[], Rows], picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(picture.parent)
    assert add(picture.name, album="holidays").added == 1
    assert rows() == [(str(picture), "image", str(picture), {"album": "holidays"})]


def test_adding_the_same_again_changes_nothing(
    add: Add, connection: Connection, picture: Path
) -> None:
    add(picture)
    before = connection.execute("SELECT xmin::text, * FROM source_items").fetchall()
    report = add(picture)
    assert (report.added, report.changed, report.unchanged) == (0, 0, 1)
    assert connection.execute("SELECT xmin::text, * FROM source_items").fetchall() == before


def test_a_folder_gives_its_pictures_and_counts_the_rest(
    add: Add, rows: Callable[[], Rows], picture: Path
) -> None:
    (picture.parent / "deep").mkdir()
    Image.new("RGB", (2, 2)).save(picture.parent / "deep" / "b.JPG", "JPEG")
    (picture.parent / "notes.md").write_text("no picture")
    report = add(picture.parent)
    assert (report.added, report.skipped, report.errors) == (2, 1, [])
    assert [Path(row[2]).name for row in rows()] == ["a picture.png", "b.JPG"]


def test_a_glob_that_the_shell_left_alone_is_expanded(add: Add, picture: Path) -> None:
    assert add(f"{picture.parent}/*.png").added == 1


def test_each_line_of_a_txt_is_a_text_and_an_edited_line_updates_its_row(
    add: Add, rows: Callable[[], Rows], tmp_path: Path
) -> None:
    file = tmp_path / "captions.txt"
    file.write_text("\N{ZERO WIDTH NO-BREAK SPACE}first\n\n  second  \n", encoding="utf-8")
    add(file)
    assert [row[:3] for row in rows()] == [
        (f"{file}:1", "text", "first"),
        (f"{file}:3", "text", "second"),
    ]
    file.write_text("first\n\nchanged\n")
    report = add(file)
    assert (report.added, report.changed, report.unchanged) == (0, 1, 1)


def test_a_table_row_with_text_and_picture_becomes_a_pair(
    add: Add, rows: Callable[[], Rows], tmp_path: Path
) -> None:
    file = tmp_path / "pairs.jsonl"
    record = {"id": 7, "caption": "a bike", "image": "pics/bike.jpg", "price": 12.5}
    file.write_text(json.dumps(record) + "\n")
    add(file)
    metadata = {"pair": "7", "price": 12.5}
    assert rows() == [
        ("7#image", "image", str(tmp_path / "pics/bike.jpg"), metadata),
        ("7#text", "text", "a bike", metadata),
    ]


def test_a_csv_takes_a_column_mapping(add: Add, rows: Callable[[], Rows], tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("sku,shown,where,secret\nA1,A bike,https://example.org/a.jpg,x\n")
    add(file, columns=Columns("sku", {"image": "where"}, ("shown",)))
    assert rows() == [("A1", "image", "https://example.org/a.jpg", {"shown": "A bike"})]


def test_a_parquet_file_is_read(add: Add, rows: Callable[[], Rows], tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"key": ["a", "b"], "text": ["one", "two"], "n": [1, 2]})
    parquet.write_table(table, tmp_path / "t.parquet")
    add(tmp_path / "t.parquet")
    assert rows() == [("a", "text", "one", {"n": 1}), ("b", "text", "two", {"n": 2})]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("bad.jsonl", '{"text": "good"}\nnot json\n', "bad.jsonl:2: no JSON"),
        ("list.jsonl", '{"text": "good"}\n[1]\n', "list.jsonl:2: a JSON object is expected"),
        ("none.csv", "text,n\ngood,1\n,2\n", "none.csv:3: no value in text"),
        ("nul.txt", "good\nba\x00d\n", "nul.txt:2: the text has a NUL byte"),
        ("nul.jsonl", '{"text": "good"}\n{"text": "b\\u0000d"}\n', "nul.jsonl:2:"),
        ("paper.odt", "PK", "paper.odt: no known kind of file"),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_added(
    add: Add, tmp_path: Path, name: str, content: str, problem: str
) -> None:
    (tmp_path / name).write_text(content)
    report = add(tmp_path / name)
    assert len(report.errors) == 1
    assert problem in report.errors[0]
    assert report.added == (0 if name == "paper.odt" else 1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.parquet", b""),
        ("garbage.parquet", b"PAR1 no table PAR1"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_the_others_are_added(
    add: Add, tmp_path: Path, picture: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    report = add(tmp_path / name, picture)
    assert report.added == 1
    assert len(report.errors) == 1
    assert report.errors[0].startswith(f"{tmp_path / name}: cannot be read as .")
    assert "\n" not in report.errors[0]


def test_two_tables_may_count_from_one(add: Add, rows: Callable[[], Rows], tmp_path: Path) -> None:
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text(f"id,text\n1,of {name}\n")
    files = tmp_path / "one.csv", tmp_path / "two.csv"
    assert add(*files, source=None).added == 2
    assert add(*files, source=None).unchanged == 2
    assert [row[::2] for row in rows()] == [
        (f"{tmp_path}/one.csv#1", "of one.csv"),
        (f"{tmp_path}/two.csv#1", "of two.csv"),
    ]
    # In a source of their own they are the same row: said, not silently the last.
    report = add(*files, source="shop")
    assert report.added == 1
    assert report.errors == [
        f"{tmp_path}/two.csv:2: its key is that of {tmp_path}/one.csv:2; only the first was added "
        "(see --key-column)"
    ]


@pytest.mark.parametrize("source", [None, "shop"])
def test_a_key_twice_in_a_table_is_named_with_both_lines(
    add: Add, rows: Callable[[], Rows], tmp_path: Path, source: str | None
) -> None:
    file = tmp_path / "t.csv"
    file.write_text("id,text\n1,first\n2,other\n1,second\n")
    report = add(file, source=source)
    assert report.errors == [
        f"{file}:4: its key is that of line 2; only the first was added (see --key-column)"
    ]
    assert [row[2] for row in rows()] == ["first", "other"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("t.csv", "sku,text,n\nA,a,1\n"), ("t.jsonl", '{"sku": "A"}\n{"text": "a", "n": 1}\n')],
)
@pytest.mark.parametrize(
    "columns",
    [Columns(key="skew"), Columns("sku", {"text": "skew"}), Columns(metadata=("n", "skew"))],
)
def test_a_column_that_is_not_there_is_named_with_those_that_are(
    add: Add, rows: Callable[[], Rows], tmp_path: Path, name: str, content: str, columns: Columns
) -> None:
    (tmp_path / name).write_text(content)
    report = add(tmp_path / name, columns=columns)
    assert report.errors == [
        f"{tmp_path / name}: there is no column 'skew'; there are: sku, text, n"
    ]
    assert rows() == []


def test_a_parquet_column_that_is_not_there_is_named(add: Add, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"key": ["a"], "text": ["one"]}), tmp_path / "t.parquet")
    report = add(tmp_path / "t.parquet", columns=Columns(key="sku"))
    assert "there is no column 'sku'; there are: key, text" in report.errors[0]


def test_a_row_without_its_asked_key_is_named(add: Add, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("sku,text\nA,a\n,b\n")
    report = add(tmp_path / "t.csv", columns=Columns("sku"))
    assert report.added == 1
    assert report.errors == [f"{tmp_path / 't.csv'}:3: no key in sku"]


def test_pictures_elsewhere_are_their_own_keys(
    connection: Connection, rows: Callable[[], Rows]
) -> None:
    report = AddReport()
    references = ["https://example.org/a.jpg?v=1", "s3://b/x.jpg", "ftp://h/x.jpg", "s3://b/t.csv"]
    assert all(map(is_elsewhere, references))
    source_items.add(connection, reference_rows(references, "test", {"n": 1}, report), report)
    assert rows() == [(ref, "image", ref, {"n": 1}) for ref in references[:2]]
    assert report.errors == [
        "ftp://h/x.jpg: content can be at http://, https://, s3://, gs://, az:// or in files",
        "s3://b/t.csv: download the file, then add it",
    ]


def test_a_latin1_line_is_named(add: Add, tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_bytes("good\ncafé\n".encode("latin-1"))
    report = add(tmp_path / "l.txt")
    assert report.added == 1
    assert "l.txt:2: the text is not UTF-8" in report.errors[0]


def test_a_missing_file_is_named_and_the_others_are_added(add: Add, picture: Path) -> None:
    report = add("/nowhere/x.png", picture)
    assert report.added == 1
    assert report.errors == ["/nowhere/x.png: there is no such file or folder"]


def test_a_given_text_is_its_own_key(connection: Connection) -> None:
    rows = [source_items.text_row("a red bicycle", "cli", {"n": 1})] * 2
    assert rows[0].metadata == {"n": 1}
    report = source_items.add(connection, rows, AddReport())
    assert (report.added, report.unchanged) == (1, 1)
    with pytest.raises(ConfigurationError, match="UTF-8"):
        source_items.text_row("\udcff", "cli")


def test_a_folder_is_registered_once_and_covers_what_is_below(
    connection: Connection, tmp_path: Path
) -> None:
    (tmp_path / "below").mkdir()
    assert register_roots(connection, [tmp_path]) == [tmp_path.resolve()]
    assert register_roots(connection, [tmp_path, tmp_path / "below"]) == []
    beside = tmp_path.with_name(tmp_path.name + "-beside")
    assert register_roots(connection, [beside]) == [beside.resolve()]
    assert sorted(media_roots(connection)) == [tmp_path.resolve(), beside.resolve()]


def test_what_is_said_of_files_goes_before_their_endings(
    add: Add, rows: Callable[[], Rows], tmp_path: Path
) -> None:
    for name in ("a.png", "b.tiff", "walk.csv", "walk.npy", "c.jpg", "readme.txt", "noending"):
        (tmp_path / name).write_bytes(b"x")
    assert add(tmp_path, told=IMU).skipped == 5
    assert [(Path(key).name, modality) for key, modality, *_ in rows()] == [
        ("walk.csv", "imu"), ("walk.npy", "imu"),
    ]  # fmt: skip
    report = add(tmp_path, tmp_path / "noending", told=DEPTH)
    assert (report.added, report.errors) == (3, [])
    assert {Path(key).name for key, modality, *_ in rows() if modality == "depth"} == {
        "a.png", "b.tiff", "noending",
    }  # fmt: skip
    (refused,) = add(tmp_path / "walk.csv", told=DEPTH).errors
    assert refused.endswith("no file of depth; add it without --modality")
    report = AddReport()
    (row,) = reference_rows(["s3://b/walk.csv"], "test", {}, report, IMU)
    assert (row.modality, report.errors) == ("imu", [])
