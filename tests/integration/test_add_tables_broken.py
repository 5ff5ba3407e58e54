"""Tables with an open quote, a column twice or without a name: an error, and nothing is lost."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

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
            "SELECT content_ref, metadata FROM source_items ORDER BY id"
        ).fetchall()

    return rows


# -- quotes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "line", "texts"),
    [
        ('text,price\n"open,3\nfoo,4\nbar,5\n', 2, ["foo", "bar"]),
        ('text,price\n"open,3\nfoo,4\nbar,5', 2, ["foo", "bar"]),
        ('text,price\nfoo,4\nbar,"5', 3, ["foo"]),
        ('text,price\nfoo,4\nbar,"', 3, ["foo"]),
        ('text,price\r\n"open,3\r\nfoo,4\r\nbar,5\r\n', 2, ["foo", "bar"]),
        # The quote of a later record closes it: what follows that shows it.
        ('text,price\n"open,3\nfoo,4\n"b\nar",5\nlast,6\n', 2, ["foo", "b\nar", "last"]),
        # The field begins on a later line than its record.
        ('text,price\n"two\nlines","4\nfoo,5\nbar,6\n', 3, ["foo", "bar"]),
        ('text,price\nfoo,1\n\n\n"open,3\nbar,4\n', 5, ["foo", "bar"]),
        ('text,price\n"" ,"open\nfoo,4\n', 2, ["foo"]),
    ],
)
def test_an_open_quote_costs_its_line(
    add: Add, rows: Rows, tmp_path: Path, table: str, line: int, texts: list[str]
) -> None:
    file = tmp_path / "open.csv"
    file.write_text(table, newline="")
    report = add(file)
    (error,) = report.errors
    assert error.startswith(f"{file}:{line}: ")
    assert "quote" in error
    assert [text for text, _ in rows()] == texts


@pytest.mark.parametrize("table", ['text,price\n"a"b,"c"d\nx,"1\n2"\n', 'text\r"a""b"\r\rx\r'])
def test_quotes_that_are_closed_are_none(add: Add, rows: Rows, tmp_path: Path, table: str) -> None:
    file = tmp_path / "closed.csv"
    file.write_text(table, newline="")
    assert add(file).errors == []
    assert [text for text, _ in rows()] in (["ab", "x"], ['a"b', "x"])


def test_an_open_quote_in_the_head_is_an_error_of_the_file(add: Add, tmp_path: Path) -> None:
    file = tmp_path / "head.csv"
    file.write_text('text,"price\none,1\n')
    report = add(file)
    (error,) = report.errors
    assert error.startswith(f"{file}")
    assert "line 1" in error
    assert "quote" in error


def test_the_command_ends_as_with_any_error(run: Run, tmp_path: Path) -> None:
    assert run("migrate", PIPELINE_MODEL="demo").returncode == 0
    (tmp_path / "q.csv").write_text('text,price\n"unterminated,3\nfoo,4\nbar,5\n')
    done = run("add", "q.csv")
    assert done.returncode == 1, done.stderr
    assert "q.csv:2: " in done.stderr


# -- columns -------------------------------------------------------------------------------------


def test_a_column_twice_is_an_error_of_the_table(add: Add, rows: Rows, tmp_path: Path) -> None:
    for head in ("text,text,price", "text, text ,price"):
        (tmp_path / "twice.csv").write_text(f"{head}\na,b,1\n")
        (error,) = add(tmp_path / "twice.csv").errors
        assert "'text'" in error
        assert "twice" in error
    assert rows() == []


def test_so_it_is_in_parquet(add: Add, rows: Rows, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.Table.from_arrays([arrow.array(["a"]), arrow.array(["b"])], ["text", "text"])
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "twice.parquet")
    (error,) = add(tmp_path / "twice.parquet").errors
    assert "'text'" in error
    assert rows() == []


def test_a_name_twice_in_a_line_of_json_costs_the_line(
    add: Add, rows: Rows, tmp_path: Path
) -> None:
    file = tmp_path / "twice.jsonl"
    file.write_text(
        '{"text": "a", "text": "b"}\n{"text": "c", "more": {"n": 1, "n": 2}}\n{"text": "d"}\n'
    )
    first, second = add(file).errors
    assert first.startswith(f"{file}:1: ")
    assert "'text'" in first
    assert second.startswith(f"{file}:2: ")
    assert "'n'" in second
    assert [text for text, _ in rows()] == ["d"]


@pytest.mark.parametrize(
    ("name", "table"),
    [("t.csv", "text,,\na,1,2\n"), ("t.csv", ",text\n0,a\n"), ("t.jsonl", '{"text":"a","":2}\n')],
)
def test_a_column_without_a_name_is_left_out_and_said(
    add: Add, rows: Rows, tmp_path: Path, name: str, table: str
) -> None:
    (tmp_path / name).write_text(table)
    report = add(tmp_path / name)
    assert rows() == [("a", {})]
    assert report.errors == []
    (note,) = report.notes
    assert "without a name" in note


@pytest.mark.parametrize("head", ["Text, Price", " TEXT ,Price"])
def test_usual_names_are_found_however_they_are_written(
    add: Add, rows: Rows, tmp_path: Path, head: str
) -> None:
    (tmp_path / "t.csv").write_text(f"{head}\na,1\n")
    assert add(tmp_path / "t.csv").errors == []
    assert rows() == [("a", {"Price": 1})]


def test_the_name_as_it_is_comes_first(add: Add, rows: Rows, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"Text": "A", "text": "a"}\n{"Text": "B"}\n')
    assert add(tmp_path / "t.jsonl").errors == []
    assert rows() == [("a", {"Text": "A"}), ("B", {})]


def test_the_divider_that_excel_writes_first_is_no_head(
    add: Add, rows: Rows, tmp_path: Path
) -> None:
    file = tmp_path / "t.csv"
    file.write_text('sep=;\r\ntext;price\r\na,b,c;1\r\n"open;2\r\n', newline="")
    report = add(file)
    (error,) = report.errors
    assert error.startswith(f"{file}:4: ")
    assert rows() == [("a,b,c", {"price": 1})]


@pytest.mark.parametrize("number", ["01", "1.", ".5", "+1", "0.1234567890123456789", "1e400"])
def test_a_number_that_would_print_as_another_stays_a_text(
    add: Add, rows: Rows, tmp_path: Path, number: str
) -> None:
    (tmp_path / "t.csv").write_text(f"text,price,fine\na,{number},1.25\nb,2,-7\n")
    add(tmp_path / "t.csv")
    assert [m for _, m in rows()] == [
        {"price": number, "fine": 1.25},
        {"price": "2", "fine": -7},
    ]
