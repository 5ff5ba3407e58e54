"""CSV and its kin: columns divided by commas, semicolons, tabs or bars."""

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, TextIO

from pipeline.sources.text_files import open_text
from pipeline.sources.value_types import Convert

SUFFIXES = frozenset({".csv", ".tsv", ".tab"})
_DIVIDERS = ",;\t|"


def column_names(path: Path, max_bytes: int) -> list[str]:
    """As the head has them; raises OSError or ValueError where it cannot be read."""
    with open_text(path, newline="") as lines:
        return _head(_reader(path, lines, max_bytes), max_bytes)


def values(path: Path, max_bytes: int) -> Iterator[list[str]]:
    """The fields of each record, without a word about those that cannot be read."""
    for _, fields in _records(path, [], max_bytes):
        yield fields


def records(
    path: Path, errors: list[str], max_bytes: int, converts: Mapping[str, Convert]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each record with its line; what is no record goes into ``errors``.

    Args:
        max_bytes: a field that is longer costs its record.
        converts: by column, what makes its values of the texts that they are.
    """
    names = column_names(path, max_bytes)
    for number, fields in _records(path, errors, max_bytes):
        if any(fields[len(names) :]):  # a spreadsheet may have empty columns on the right
            errors.append(
                f"{path}:{number}: it has {len(fields)} fields and the head {len(names)}; a field "
                "that holds the divider is written in quotes"
            )
            continue
        record: dict[str, Any] = dict(zip_longest(names, fields[: len(names)]))
        for name, convert in converts.items():
            if record[name]:
                record[name] = convert(record[name])
        yield number, record


def _records(path: Path, errors: list[str], max_bytes: int) -> Iterator[tuple[int, list[str]]]:
    with open_text(path, newline="") as lines:
        reader = _reader(path, lines, max_bytes)
        _head(reader, max_bytes)
        while True:
            begins = reader.line_num + 1
            try:
                with _field_limit(max_bytes):
                    fields = next(reader, None)
            except csv.Error as exc:
                problem = f"{path}:{begins}: {_field_problem(exc, max_bytes)}"
                if reader.line_num > begins:  # within quotes: no line begins a record from here on
                    errors.append(f"{problem}; is a quote open? Nothing after it was read")
                    return
                errors.append(problem)
                continue
            if fields is None:
                return
            if fields:
                yield reader.line_num, fields


def _reader(path: Path, lines: TextIO, max_bytes: int) -> Any:
    """A reader by the divider that gives the head the most columns; by its suffix where two do."""
    head = lines.readline(max_bytes)
    lines.seek(0)
    usual = "\t" if path.suffix.lower() != ".csv" else ","

    def columns(divider: str) -> tuple[int, bool]:
        try:
            with _field_limit(max_bytes):
                return len(next(csv.reader([head], delimiter=divider), [])), divider == usual
        except csv.Error:
            return 0, divider == usual

    return csv.reader(lines, delimiter=max(_DIVIDERS, key=columns))


@contextmanager
def _field_limit(characters: int) -> Iterator[None]:
    """The csv module's, which is the whole process's: only while a record is read."""
    before = csv.field_size_limit(characters)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _field_problem(exc: csv.Error, max_bytes: int) -> str:
    if "limit" in str(exc):
        return f"a field has more than {max_bytes} characters (PIPELINE_MAX_BYTES)"
    return str(exc)


def _head(reader: Iterator[list[str]], max_bytes: int) -> list[str]:
    """The names of the columns; raises ValueError where they cannot be read."""
    try:
        with _field_limit(max_bytes):
            return next(reader, [])
    except csv.Error as exc:
        raise ValueError(f"line 1: {_field_problem(exc, max_bytes)}") from exc
