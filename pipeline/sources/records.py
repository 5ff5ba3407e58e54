"""Tables as files: their records, whatever the format, and which columns mean what."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline import modalities
from pipeline.errors import MissingExtra
from pipeline.sources import delimited, value_types
from pipeline.sources.source_items import AddReport
from pipeline.sources.text_files import open_text

_LINES = frozenset({".jsonl", ".ndjson"})
TABLE_SUFFIXES = frozenset({*_LINES, *delimited.SUFFIXES, ".parquet"})
# Rows of a Parquet file at a time: fewer where they may hold whole images.
_BATCH, _BATCH_OF_BYTES = 4096, 32
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
        as_text: whether the values of a table of texts stay texts, also where they are numbers.
        media_folder: where content that a table holds itself is written to.
    """

    key: str | None = None
    content: Mapping[str, str] = field(default_factory=dict)
    metadata: tuple[str, ...] | None = None
    as_text: bool = False
    media_folder: Path | None = None

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
    """The first usual name that is there; as it is, or else in other letters and with blanks."""
    return next((name for name in usual if name in record), None) or _alike(
        tuple(usual), tuple(record)
    )


@lru_cache(maxsize=256)  # most records of a table have the names of the one before
def _alike(usual: tuple[str, ...], names: tuple[str, ...]) -> str | None:
    by_usual = {name.strip().lower(): name for name in reversed(names)}
    return next((by_usual[name] for name in usual if name in by_usual), None)


def missing_columns(path: Path, columns: Columns, max_bytes: int) -> str | None:
    """A sentence about what the table lacks: a column that somebody named, or one with content.

    None: all are there.
    """
    is_by_line = path.suffix.lower() in _LINES  # each line has its own, and may be wrong alone
    asked = columns.asked()
    if is_by_line and not asked:
        return None
    names = list(_column_names(path, max_bytes))
    there = [name for name in dict.fromkeys(names) if name]
    twice = [] if is_by_line else [repr(name) for name in there if names.count(name) > 1]
    if twice:
        return f"the column {', '.join(twice)} is there twice, and one would be lost; rename one"
    all_of_them = f"there are: {', '.join(there) or 'none'}"
    missing = [repr(column) for column in asked if column not in there]
    if missing:
        return f"there is no column {', '.join(missing)}; {all_of_them}"
    if not is_by_line and there and not columns.of_content(dict.fromkeys(there)):
        return (
            f"no column has a usual name of content; {all_of_them}; name those that have it with "
            "--text-column and --image-column, or --column MODALITY=COLUMN"
        )
    return None


def records(
    path: Path, columns: Columns, report: AddReport, max_bytes: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each record with its line (Parquet: its row); what is no record is an error of the report.

    Raises:
        OSError, ValueError: the file cannot be read as what its name says.
    """
    nameless = False
    for number, record in _all_records(path, columns, report, max_bytes):
        nameless |= record.pop("", None) not in (None, "")
        yield number, record
    if nameless:
        report.notes.append(f"{path}: what stands in a column without a name is left out")


def _all_records(
    path: Path, columns: Columns, report: AddReport, max_bytes: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    suffix = path.suffix.lower()
    if suffix in delimited.SUFFIXES:
        kinds = {} if columns.as_text else _inferred(path, columns, report, max_bytes)
        converts = {name: value_types.KINDS[kind] for name, kind in kinds.items()}
        yield from delimited.records(path, report.errors, max_bytes, converts)
    elif suffix == ".parquet":
        yield from _parquet_records(path)
    else:
        yield from _json_records(path, report.errors)


def _inferred(path: Path, columns: Columns, report: AddReport, max_bytes: int) -> dict[str, str]:
    """The kinds of the columns that become metadata; the report says which."""
    names = delimited.column_names(path, max_bytes)
    record = dict.fromkeys(names)
    own = {columns.of_key(record), *columns.of_content(record).values()}
    kinds = value_types.kinds(names, delimited.values(path, max_bytes))
    found = {
        name: kind
        for name, kind in kinds.items()
        if name and name not in own and (columns.metadata is None or name in columns.metadata)
    }
    if found:
        said = (
            f"{kind}: {', '.join(name for name, of in found.items() if of == kind)}"
            for kind in value_types.KINDS
            if kind in found.values()
        )
        report.notes.append(f"{path}: {'; '.join(said)} (as they are: --as-text)")
    return found


def _json_records(path: Path, errors: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    with open_text(path, newline="") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line, object_pairs_hook=_distinct)
            except _DuplicateNameError as exc:
                errors.append(f"{path}:{number}: {exc}")
                continue
            except (ValueError, RecursionError) as exc:
                errors.append(f"{path}:{number}: no JSON: {exc}")
                continue
            if not isinstance(record, dict):
                errors.append(f"{path}:{number}: a JSON object is expected in each line")
                continue
            yield number, record


class _DuplicateNameError(ValueError):
    """An object of JSON has a name twice; Python would keep the last value."""


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _DuplicateNameError(f"the name {name[:80]!r} is there twice; one would be lost")
        found[name] = value
    return found


def _parquet_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    number, file = 0, _parquet(path)
    has_bytes = "binary" in str(file.schema_arrow)
    for batch in file.iter_batches(_BATCH_OF_BYTES if has_bytes else _BATCH):
        for record in batch.to_pylist():
            number += 1
            yield number, record


def _column_names(path: Path, max_bytes: int) -> Iterator[str]:
    suffix = path.suffix.lower()
    if suffix in delimited.SUFFIXES:
        yield from delimited.column_names(path, max_bytes)
    elif suffix == ".parquet":
        yield from _parquet(path).schema_arrow.names
    else:
        # Each line has its own; one that only later lines have is no misspelling.
        for _, record in _json_records(path, []):
            yield from record


def _parquet(path: Path) -> Any:
    try:
        import pyarrow.parquet as parquet  # an optional extra
    except ImportError as exc:
        raise MissingExtra("Parquet", "parquet") from exc
    return parquet.ParquetFile(path)
