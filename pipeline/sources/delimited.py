"""CSV and its kin: columns divided by commas, semicolons, tabs or bars."""

import csv
import re
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, TextIO

from pipeline.sources.text_files import open_text
from pipeline.sources.value_types import Convert

SUFFIXES = frozenset({".csv", ".tsv", ".tab"})
_DIVIDERS = ",;\t|"
_NAMED_DIVIDER = re.compile('sep=([^\r\n"])[\r\n]*', re.IGNORECASE)
_LINE_END = re.compile("\r\n|\r|\n")


def column_names(path: Path, max_bytes: int) -> list[str]:
    """Of the head, without blanks around them; raises OSError or ValueError where it cannot be
    read."""
    with open_text(path, newline="") as lines:
        return _head(_Table(path, lines, max_bytes))


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
        table = _Table(path, lines, max_bytes)
        _head(table)
        while True:
            begins = table.line + 1
            try:
                fields = table.record()
            except _OpenQuote as exc:
                errors.append(f"{path}:{exc.line}: {exc}")
                continue
            except csv.Error as exc:
                problem = f"{path}:{begins}: {_field_problem(exc, max_bytes)}"
                if table.line > begins:  # within quotes: no line begins a record from here on
                    errors.append(f"{problem}; is a quote open? Nothing after it was read")
                    return
                errors.append(problem)
                continue
            if fields is None:
                return
            if fields:
                yield table.line, fields


class _OpenQuote(csv.Error):
    """A field whose quote is not closed, or not where a field ends; it begins on ``line``."""

    def __init__(self, line: int) -> None:
        super().__init__(
            "a quote is opened and not closed; its line is left out (a quote within a field in "
            "quotes is written twice)"
        )
        self.line = line


class _Table:
    """The records of a file; after an open quote again from the line after it.

    Attributes:
        line: of those read, the last; from 1.
    """

    def __init__(self, path: Path, lines: TextIO, max_bytes: int) -> None:
        self.line = 0
        self.max_bytes = max_bytes
        self._lines = lines
        self._again: deque[str] = deque()
        self._taken: list[str] = []  # by the record that is being read
        self._divider = self._found_divider(path)
        self._reader = csv.reader(self, delimiter=self._divider, strict=True)

    def record(self) -> list[str] | None:
        """The next one's fields; None at the end.

        Raises:
            csv.Error: it is none; the next call goes on after it.
        """
        self._taken.clear()
        try:
            with _field_limit(self.max_bytes):
                return next(self._reader, None)
        except csv.Error as exc:
            if "limit" in str(exc):
                raise
            return self._leniently()

    def _leniently(self) -> list[str]:
        """What breaks the rules on one line is read as it ever was, but for an open quote."""
        ended = [*self._taken[:-1], self._taken[-1].rstrip("\r\n") + "\n"]
        with _field_limit(self.max_bytes):
            fields = next(csv.reader(ended, delimiter=self._divider))
        is_open = fields[-1].endswith("\n")
        if len(self._taken) == 1 and not is_open:
            return fields
        # The open field is the last one, and ends where the file does; otherwise a later quote
        # closed it, and only the record's own first line is known.
        own = len(_LINE_END.findall(fields[-1])) if is_open else len(self._taken)
        last = len(self._taken) - own  # of the lines taken, the one that it begins on
        self._again.extendleft(reversed(self._taken[last + 1 :]))
        self.line -= own - 1
        raise _OpenQuote(self.line)

    def __iter__(self) -> "_Table":
        return self

    def __next__(self) -> str:
        """A line for the reader; no generator, which would stay at its end after an open quote."""
        line = self._again.popleft() if self._again else self._lines.readline()
        if not line:
            raise StopIteration
        self.line += 1
        self._taken.append(line)
        return line

    def _found_divider(self, path: Path) -> str:
        """The one that the file names, as Excel does; or that gives the head the most columns, by
        its suffix where two do."""
        head = self._lines.readline(self.max_bytes)
        if named := _NAMED_DIVIDER.fullmatch(head):
            self.line = 1
            return named[1]
        self._lines.seek(0)
        usual = "\t" if path.suffix.lower() != ".csv" else ","

        def columns(divider: str) -> tuple[int, bool]:
            try:
                with _field_limit(self.max_bytes):
                    found = next(csv.reader([head], delimiter=divider), [])
                    return len(found), divider == usual
            except csv.Error:
                return 0, divider == usual

        return max(_DIVIDERS, key=columns)


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


def _head(table: _Table) -> list[str]:
    """The names of the columns; raises ValueError where they cannot be read."""
    begins = table.line + 1
    try:
        return [name.strip() for name in table.record() or []]
    except csv.Error as exc:
        raise ValueError(f"line {begins}: {_field_problem(exc, table.max_bytes)}") from exc
