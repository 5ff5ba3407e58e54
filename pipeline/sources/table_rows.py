"""The rows that a table gives: one for each modality that a record has content of."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipeline import modalities
from pipeline.references import from_folder
from pipeline.sources.records import Columns, missing_columns, records
from pipeline.sources.source_items import SOURCE, AddReport, NewSource
from pipeline.sources.table_media import TableMedia, holds_bytes, is_file, without_emptiness


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
    report.roots += [path.parent, *([columns.media_folder] if columns.media_folder else [])]
    media = TableMedia(path, columns.media_folder)
    left_out: dict[str, None] = {}
    for number, record in records(path, columns, report, max_bytes):
        key_column, content = columns.of_key(record), columns.of_content(record)
        own = record.get(key_column or "")
        key = f"{path}:{number}" if own in (None, "") else _own_key(path, source, own)
        given = {
            name: value
            for name, column in content.items()
            if (value := without_emptiness(record.get(column))) is not None
        }
        try:
            _check(record, given, content, columns)
            if own not in (None, "") and (problem := report.claim(key, path, number)):
                raise ValueError(problem)
            references = {n: _reference(n, given[n], content[n], path, media) for n in given}
        except (ValueError, OSError) as exc:
            report.errors.append(f"{path}:{number}: {exc}")
            continue
        if None in references.values():
            continue
        extra = dict(metadata) | _metadata(
            record, {key_column, *content.values()}, columns, left_out
        )
        if len(given) > 1:
            extra |= {"pair": key}  # says what belongs together
        for name, reference in references.items():
            yield NewSource(
                source or SOURCE,
                f"{key}#{name}" if len(given) > 1 else key,
                name,
                str(reference),
                extra,
                f"{path}:{number}",
            )
    if media.unplaced:
        report.errors.append(
            f"{path}: {media.unplaced} rows have their content within the table, and the database "
            "keeps references; name a folder that it is written to: --media-dir FOLDER"
        )
    if left_out:
        report.notes.append(f"{path}: bytes are not kept as metadata: {', '.join(left_out)}")


def _reference(modality: str, value: Any, column: str, path: Path, media: TableMedia) -> str | None:
    """Of one modality's content; None: see :meth:`TableMedia.reference`."""
    inline = modalities.get(modality).inline
    if not inline and (isinstance(value, bytes) or is_file(value)):
        return media.reference(modality, value)
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        expected = "a text" if inline else "a path or a URL"
        raise ValueError(f"{column} holds {_kind(value)}; {expected} is expected")
    return str(value) if inline else from_folder(str(value), path.parent)


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}"


def _metadata(
    record: Mapping[str, Any], used: set[str | None], columns: Columns, left_out: dict[str, None]
) -> dict[str, Any]:
    """What is kept as metadata; the names of columns of bytes, which is not, go to ``left_out``."""
    kept = columns.metadata
    found = {}
    for name, value in record.items():
        if value in (None, "") or not (name in kept if kept is not None else name not in used):
            continue
        if holds_bytes(value):
            left_out[name] = None
        else:
            found[name] = value
    return found


def _own_key(path: Path, source: str | None, own: Any) -> str:
    """Unique within its file, unless somebody named a source that it is the key of."""
    return f"{path}#{own}" if source is None else str(own)


def _check(
    record: Mapping[str, Any],
    given: Mapping[str, Any],
    content: Mapping[str, str],
    columns: Columns,
) -> None:
    """Raises ValueError: why a record cannot become a row."""
    if not given:
        wanted = " or ".join(content.values()) or "text, image"
        raise ValueError(
            f"no value in {wanted}; name the columns with --text-column and --image-column, or "
            "--column MODALITY=COLUMN"
        )
    if columns.key is not None and record.get(columns.key) in (None, ""):
        raise ValueError(f"no key in {columns.key}")
