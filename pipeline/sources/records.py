"""Tables as files: their records, whatever the format, and which columns mean what."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import modalities
from pipeline.errors import MissingExtra

TABLE_SUFFIXES = frozenset({".jsonl", ".ndjson", ".csv", ".parquet"})
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


def missing_columns(path: Path, columns: Columns) -> str | None:
    """A sentence about the columns that somebody named and the table lacks; None: all are there."""
    if not (asked := columns.asked()):
        return None
    there = list(dict.fromkeys(_column_names(path)))
    missing = [repr(column) for column in asked if column not in there]
    if not missing:
        return None
    return f"there is no column {', '.join(missing)}; there are: {', '.join(there) or 'none'}"


def records(path: Path, errors: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each record with its line (Parquet: its row); what is no record goes into ``errors``.

    Raises:
        OSError, ValueError: the file cannot be read as what its name says.
    """
    suffix = path.suffix.lower()
    if suffix == ".csv":
        with _open(path) as lines:
            reader = csv.DictReader(lines)
            try:
                for record in reader:
                    yield reader.line_num, {k: v for k, v in record.items() if k is not None}
            except csv.Error as exc:
                raise ValueError(f"line {reader.line_num}: {exc}") from exc
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


def _column_names(path: Path) -> Iterator[str]:
    suffix = path.suffix.lower()
    if suffix == ".csv":
        with _open(path) as lines:
            yield from csv.DictReader(lines).fieldnames or ()
    elif suffix == ".parquet":
        yield from _parquet(path).schema_arrow.names
    else:
        # Each line has its own; one that only later lines have is no misspelling.
        for _, record in records(path, []):
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
