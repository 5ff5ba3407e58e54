"""Tables as files: their records, whatever the format, and which columns mean what."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pipeline import modalities
from pipeline.errors import MissingExtra

TABLE_SUFFIXES = frozenset({".jsonl", ".ndjson", ".csv", ".parquet"})
# Of a field of a table, unless somebody says otherwise; as the default of the setting max_bytes.
MAX_BYTES = 64 * 2**20
USUAL_KEYS = ("key", "id", "source_key", "uid")


@dataclass(frozen=True)
class Columns:
    """Which columns of a table mean what.

    Attributes:
        key: None: the first of the usual names that is there.
        content: by modality, those that somebody named; of the others the first of the modality's
            usual names that is there.
        metadata: None: every other column.
    """

    key: str | None = None
    content: Mapping[str, str] = field(default_factory=dict)
    metadata: tuple[str, ...] | None = None

    def asked(self) -> list[str]:
        """Those that somebody named, so that they must be there."""
        named = [self.key, *self.content.values(), *(self.metadata or ())]
        return [column for column in named if column is not None]

    def of_key(self, record: Mapping[str, Any]) -> str | None:
        """The column of a record that holds its key."""
        return self.key or _first(USUAL_KEYS, record)

    def of_content(self, record: Mapping[str, Any]) -> dict[str, str]:
        """By modality the column of a record that holds its content."""
        found = {
            modality.name: self.content.get(modality.name) or _first(modality.columns, record)
            for modality in modalities.registered()
        }
        return {name: column for name, column in found.items() if column is not None}


def _first(usual: Sequence[str], record: Mapping[str, Any]) -> str | None:
    return next((name for name in usual if name in record), None)


def missing_columns(path: Path, columns: Columns, max_bytes: int) -> str | None:
    """A sentence about the columns that somebody named and the table lacks; None: all are there."""
    if not (asked := columns.asked()):
        return None
    there = list(dict.fromkeys(_column_names(path, max_bytes)))
    missing = [repr(column) for column in asked if column not in there]
    if not missing:
        return None
    return f"there is no column {', '.join(missing)}; there are: {', '.join(there) or 'none'}"


def records(path: Path, errors: list[str], max_bytes: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each record with its line (Parquet: its row); what is no record goes into ``errors``.

    Raises:
        OSError, ValueError: the file cannot be read as what its name says.
    """
    suffix = path.suffix.lower()
    if suffix == ".csv":
        with _open(path) as lines:
            yield from _csv_records(path, lines, errors, max_bytes)
    elif suffix == ".parquet":
        number = 0
        for batch in _parquet(path).iter_batches():
            for record in batch.to_pylist():
                number += 1
                yield number, record
    else:
        with _open(path) as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError) as exc:
                    errors.append(f"{path}:{number}: no JSON: {exc}")
                    continue
                if not isinstance(record, dict):
                    errors.append(f"{path}:{number}: a JSON object is expected in each line")
                    continue
                yield number, record


def _csv_records(
    path: Path, lines: Iterable[str], errors: list[str], max_bytes: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """A field that is longer than ``max_bytes`` costs its record."""
    reader = csv.reader(lines)
    names = _head(reader, max_bytes)
    while True:
        begins = reader.line_num + 1
        try:
            with _field_limit(max_bytes):
                values = next(reader, None)
        except csv.Error as exc:
            problem = f"{path}:{begins}: {_field_problem(exc, max_bytes)}"
            if reader.line_num > begins:  # within quotes: no line begins a record from here on
                errors.append(f"{problem}; is a quote open? Nothing after it was read")
                return
            errors.append(problem)
            continue
        if values is None:
            return
        if values:
            yield reader.line_num, dict(zip_longest(names, values[: len(names)]))


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


def _column_names(path: Path, max_bytes: int) -> Iterator[str]:
    suffix = path.suffix.lower()
    if suffix == ".csv":
        with _open(path) as lines:
            yield from _head(csv.reader(lines), max_bytes)
    elif suffix == ".parquet":
        yield from _parquet(path).schema_arrow.names
    else:
        # Each line has its own; one that only later lines have is no misspelling.
        for _, record in records(path, [], max_bytes):
            yield from record


def _open(path: Path) -> Any:
    # What is no UTF-8 comes out as lone surrogates, so that its line can be named.
    return path.open(encoding="utf-8-sig", newline="", errors="surrogateescape")


def _parquet(path: Path) -> Any:
    try:
        import pyarrow.parquet as parquet  # an optional extra
    except ImportError as exc:
        raise MissingExtra("Parquet", "parquet") from exc
    return parquet.ParquetFile(path)
