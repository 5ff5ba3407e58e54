"""The rows that a table gives: one for each modality that a record has content of."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline import modalities
from pipeline.references import from_folder
from pipeline.sources.records import Columns, missing_columns, records
from pipeline.sources.source_items import SOURCE, AddReport, NewSource


def table_rows(
    path: Path,
    source: str | None,
    columns: Columns,
    metadata: Mapping[str, Any],
    report: AddReport,
    max_bytes: int,
) -> Iterator[NewSource]:
    """See ``rows_of``. Raises OSError or ValueError where the file cannot be read at all."""
    problem = missing_columns(path, columns, max_bytes)
    if problem:
        report.errors.append(f"{path}: {problem}")
        return
    report.roots.append(path.parent)
    for number, record in records(path, report.errors, max_bytes):
        key_column, content = columns.of_key(record), columns.of_content(record)
        own = record.get(key_column or "")
        key = f"{path}:{number}" if own in (None, "") else _own_key(path, source, own)
        problem = _problem(record, content, columns)
        if problem is None and own not in (None, ""):
            problem = report.claim(key, path, number)
        if problem:
            report.errors.append(f"{path}:{number}: {problem}")
            continue
        extra = dict(metadata) | _metadata(record, {key_column, *content.values()}, columns)
        given = {name: record[column] for name, column in content.items() if record.get(column)}
        if len(given) > 1:
            extra |= {"pair": key}  # says what belongs together
        for name, value in given.items():
            yield NewSource(
                source or SOURCE,
                f"{key}#{name}" if len(given) > 1 else key,
                name,
                _reference(name, str(value), path.parent),
                extra,
                f"{path}:{number}",
            )


def _reference(modality: str, value: str, folder: Path) -> str:
    return value if modalities.get(modality).inline else from_folder(value, folder)


def _metadata(record: Mapping[str, Any], used: set[str | None], columns: Columns) -> dict[str, Any]:
    kept = columns.metadata
    return {
        name: value
        for name, value in record.items()
        if (name in kept if kept is not None else name not in used) and value not in (None, "")
    }


def _own_key(path: Path, source: str | None, own: Any) -> str:
    """Unique within its file, unless somebody named a source that it is the key of."""
    return f"{path}#{own}" if source is None else str(own)


def _problem(record: Mapping[str, Any], content: Mapping[str, str], columns: Columns) -> str | None:
    """Why a record cannot become a row."""
    if not any(record.get(column) for column in content.values()):
        wanted = " or ".join(content.values()) or "text, image"
        return (
            f"no value in {wanted}; name the columns with --text-column and --image-column, or "
            "--column MODALITY=COLUMN"
        )
    if columns.key is not None and record.get(columns.key) in (None, ""):
        return f"no key in {columns.key}"
    return None
