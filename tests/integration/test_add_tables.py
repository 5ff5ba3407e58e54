"""Tables as other programs write them: delimiters, encodings, types, images within the table."""

import hashlib
import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.postgres.connections import Connection
from pipeline.sources.source_items import AddReport
from tests.helpers.command import Run
from tests.helpers.tables import add_tables

Add = Callable[..., AddReport]
Rows = Callable[[], list[tuple[Any, ...]]]


@pytest.fixture
def add(connection: Connection) -> Add:
    return partial(add_tables, connection)


@pytest.fixture
def rows(connection: Connection) -> Rows:
    def rows() -> list[tuple[Any, ...]]:
        return connection.execute(
            "SELECT source_key, modality, content_ref, metadata FROM source_items ORDER BY id"
        ).fetchall()

    return rows


def png(colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (2, 2), colour).save(file, "PNG")
    return file.getvalue()


def write_parquet(path: Path, **columns: list[Any]) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(columns), path)
    return path


# -- how columns are divided, and in which encoding ----------------------------------------------


@pytest.mark.parametrize(
    ("name", "divider", "encoding"),
    [
        ("t.tsv", "\t", "utf-8"),
        ("t.tab", "\t", "utf-8"),
        ("t.csv", ";", "utf-8-sig"),
        ("t.csv", "\t", "utf-16"),
        ("t.csv", "|", "utf-8"),
        ("t.csv", ",", "utf-16-le"),
        ("t.csv", ",", "utf-16-be"),
        ("t.csv", ";", "utf-32"),
        ("t.tsv", ",", "utf-8"),
    ],
)
def test_a_table_is_read_whatever_divides_and_encodes_it(
    add: Add, rows: Rows, tmp_path: Path, name: str, divider: str, encoding: str
) -> None:
    lines = [["key", "text", "made"], ["a", '"one; two, three|four"', "Ærø"], ["b", '"x\ny"', ""]]
    text = "".join(divider.join(fields) + "\r\n" for fields in lines)
    (tmp_path / name).write_bytes(text.encode(encoding))
    report = add(tmp_path / name)
    assert report.errors == []
    assert rows() == [
        ("a", "text", "one; two, three|four", {"made": "Ærø"}),
        ("b", "text", "x\ny", {}),
    ]


def test_a_table_of_one_column_needs_no_divider(add: Add, rows: Rows, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text\none\ntwo\n")
    assert add(tmp_path / "t.csv").errors == []
    assert [row[2] for row in rows()] == ["one", "two"]


@pytest.mark.parametrize("name", ["t.jsonl", "t.txt"])
def test_lines_in_utf16_are_read(add: Add, rows: Rows, tmp_path: Path, name: str) -> None:
    line = json.dumps({"text": "Ærø"}, ensure_ascii=False) if name == "t.jsonl" else "Ærø"
    (tmp_path / name).write_bytes(f"{line}\r\n".encode("utf-16"))
    assert add(tmp_path / name).errors == []
    assert [row[2] for row in rows()] == ["Ærø"]


def test_a_row_with_more_fields_than_columns_is_named_and_the_others_added(
    add: Add, rows: Rows, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text("key,text\na,one\nb,two, or three\nc,four,,\n")
    report = add(tmp_path / "t.csv")
    (error,) = report.errors
    assert error.startswith(f"{tmp_path}/t.csv:3: ")
    assert "3 fields" in error
    assert [row[2] for row in rows()] == ["one", "four"]


# -- types -------------------------------------------------------------------------------------


def test_numbers_of_a_csv_are_numbers(
    add: Add, connection: Connection, rows: Rows, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(
        "key,text,price,weight,sold,zip,mixed,empty,big,fine\n"
        "1,one,3,1.50,true,01234,7,,12345678901234567890,0.1234567890123456789\n"
        "2,two,,-2e3,FALSE,99999,x,,1,1\n"
    )
    report = add(tmp_path / "t.csv")
    assert [row[3] for row in rows()] == [
        {
            "price": 3, "weight": 1.5, "sold": True, "zip": "01234", "mixed": "7",
            "big": 12345678901234567890, "fine": "0.1234567890123456789",
        },
        {"weight": -2000.0, "sold": False, "zip": "99999", "mixed": "x", "big": 1, "fine": "1"},
    ]  # fmt: skip
    assert [row[0] for row in rows()] == ["1", "2"]
    found = connection.execute(
        """SELECT source_key FROM source_items WHERE metadata @> '{"price": 3, "sold": true}'"""
    ).fetchall()
    assert found == [("1",)]
    (said,) = report.notes
    found = "numbers: price, weight, big; true or false: sold (as they are: --as-text)"
    assert said == f"{tmp_path}/t.csv: {found}"


def test_a_csv_is_kept_as_text_if_asked(add: Add, rows: Rows, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("key,text,price\n1,one,3\n")
    report = add(tmp_path / "t.csv", as_text=True)
    assert rows()[0][3] == {"price": "3"}
    assert report.notes == []


def test_a_text_that_is_a_number_stays_what_it_says(add: Add, rows: Rows, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("key,text\n1,1.50\n2,007\n")
    assert add(tmp_path / "t.csv").notes == []
    assert [row[2] for row in rows()] == ["1.50", "007"]


def test_the_command_says_what_was_inferred(run: Run, tmp_path: Path) -> None:
    assert run("migrate", PIPELINE_MODEL="demo").returncode == 0
    (tmp_path / "t.csv").write_text("key;text;price\n1;one;3\n")
    done = run("add", "t.csv", "--json")
    assert done.returncode == 0, done.stderr
    assert "t.csv: numbers: price" in done.stderr
    assert json.loads(done.stdout)["notes"] == [
        f"{tmp_path}/t.csv: numbers: price (as they are: --as-text)"
    ]
    done = run("add", "t.csv", "--as-text", "--json")
    assert json.loads(done.stdout)["changed"] == 1


# -- content that is no text ---------------------------------------------------------------------


@pytest.mark.parametrize("value", [["a", "b"], {"a": 1}, [[1]], True])
@pytest.mark.parametrize("column", ["text", "image"])
def test_content_that_is_no_text_costs_its_line(
    add: Add, rows: Rows, tmp_path: Path, column: str, value: object
) -> None:
    file = tmp_path / "t.jsonl"
    lines: list[dict[str, Any]] = [{column: "one"}, {column: value}, {column: "three"}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = add(file)
    (error,) = report.errors
    assert error.startswith(f"{file}:2: {column} holds ")
    assert len(rows()) == 2


def test_a_nul_in_a_list_costs_its_line(add: Add, rows: Rows, tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text('{"text": "one"}\n{"text": "two", "tags": ["a\\u0000b"]}\n{"text": "three"}\n')
    (error,) = add(file).errors
    assert error.startswith(f"{file}:2: ")
    assert len(rows()) == 2


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.tsv"])
def test_a_table_without_a_known_column_is_one_line_that_names_its_columns(
    add: Add, rows: Rows, tmp_path: Path, name: str
) -> None:
    if name == "t.parquet":
        write_parquet(tmp_path / name, sku=["1", "2"], words=["a", "b"])
    else:
        divider = "," if name == "t.csv" else "\t"
        (tmp_path / name).write_text(f"sku{divider}words\n1{divider}a\n2{divider}b\n")
    (error,) = add(tmp_path / name).errors
    assert error.startswith(f"{tmp_path}/{name}: ")
    assert "there are: sku, words" in error
    assert "--text-column" in error
    assert rows() == []


@pytest.mark.parametrize("column", ["file_name", "filepath", "file_path", "filename", "img"])
def test_the_usual_names_of_image_columns_are_known(
    add: Add, rows: Rows, tmp_path: Path, column: str
) -> None:
    (tmp_path / "metadata.csv").write_text(f"{column},label\na.jpg,cat\n")
    assert add(tmp_path / "metadata.csv").errors == []
    assert [row[1:] for row in rows()] == [("image", f"{tmp_path}/a.jpg", {"label": "cat"})]


# -- images within the table ---------------------------------------------------------------------


def test_an_image_of_a_dataset_is_its_path_where_that_leads_somewhere(
    add: Add, rows: Rows, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(png())
    table = write_parquet(
        tmp_path / "t.parquet",
        key=["a", "b", "c", "d"],
        image=[
            {"bytes": b"", "path": "a.png"},
            {"bytes": None, "path": "https://example.org/b.png"},
            {"bytes": png(), "path": "a.png"},
            {"bytes": png("blue"), "path": "a.png"},  # another one of that name
        ],
    )
    (error,) = add(table).errors
    assert error.startswith(f"{table}: 1 rows ")
    here = f"{tmp_path}/a.png"
    assert [row[2] for row in rows()] == [here, "https://example.org/b.png", here]


def test_images_within_a_table_are_written_to_the_folder_that_is_named(
    add: Add, rows: Rows, tmp_path: Path
) -> None:
    """By their sums, so that adding again changes nothing."""
    table = write_parquet(
        tmp_path / "t.parquet",
        key=["a", "b", "c"],
        image=[
            {"bytes": png(), "path": "somewhere/else/a.JPG"},
            {"bytes": png("blue"), "path": None},
            {"bytes": None, "path": None},
        ],
    )
    media = tmp_path / "media"
    report = add(table, media_folder=media)
    assert report.added == 2
    assert [error.partition(": ")[0] for error in report.errors] == [f"{table}:3"]
    assert media in report.roots
    for row, content, suffix in zip(rows(), (png(), png("blue")), (".jpg", ".png"), strict=True):
        file = Path(row[2])
        assert file.read_bytes() == content
        assert file.is_relative_to(media)
        assert file.name == hashlib.sha256(content).hexdigest() + suffix
    assert add(table, media_folder=media).unchanged == 2
    assert len([path for path in media.rglob("*") if path.is_file()]) == 2


def test_without_a_folder_one_line_says_how_many_there_are(
    add: Add, rows: Rows, tmp_path: Path
) -> None:
    table = write_parquet(
        tmp_path / "t.parquet",
        key=[str(n) for n in range(60)],
        image=[{"bytes": png(), "path": None}] * 59
        + [{"bytes": png(), "path": "http://example.org/x.png"}],
    )
    (error,) = add(table).errors
    assert error.startswith(f"{table}: 59 ")
    assert "--media-dir" in error
    assert [row[0] for row in rows()] == ["59"]


def test_so_are_those_of_a_column_of_bytes(add: Add, rows: Rows, tmp_path: Path) -> None:
    table = write_parquet(tmp_path / "t.parquet", key=["a"], image=[png()])
    (error,) = add(table).errors
    assert "--media-dir" in error
    assert add(table, media_folder=tmp_path / "media").added == 1
    assert Path(rows()[0][2]).read_bytes() == png()


def test_bytes_are_no_metadata(add: Add, rows: Rows, tmp_path: Path) -> None:
    table = write_parquet(
        tmp_path / "t.parquet",
        key=["a"],
        text=["x"],
        mask=[{"bytes": png(), "path": None}],
        made=[{"path": "a"}],
        raw=[b"\x00\x01"],
        n=[1],
    )
    report = add(table)
    assert rows()[0][3] == {"n": 1, "made": {"path": "a"}}
    assert report.notes == [f"{table}: bytes are not kept as metadata: mask, raw"]


def test_the_command_writes_images_to_a_media_folder(run: Run, tmp_path: Path) -> None:
    assert run("migrate", PIPELINE_MODEL="demo").returncode == 0
    write_parquet(tmp_path / "t.parquet", key=["a"], image=[{"bytes": png(), "path": None}])
    media = tmp_path.parent / f"{tmp_path.name} media"
    done = run("add", "t.parquet", "--media-dir", f"../{media.name}", "--json")
    assert done.returncode == 0, done.stderr
    assert f"allowed from now on for file references: {media}" in done.stderr
    done = run("ingest", "--once")
    assert done.returncode == 0, done.stderr
