"""What ``pipeline add`` takes: files, folders, lines and tables become rows of ``source_items``."""

import csv
import glob
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.database import Connection
from pipeline.errors import ConfigurationError

IMAGE_SUFFIXES = frozenset(
    f".{name}"
    for kinds in ("jpg jpeg jpe jfif", "png apng", "webp", "gif", "tif tiff", "bmp dib", "avif")
    for name in kinds.split()
) | {".heic", ".heif"}
TABLE_SUFFIXES = frozenset({".jsonl", ".ndjson", ".csv", ".parquet"})
BATCH = 2_000


@dataclass(frozen=True, slots=True)
class NewSource:
    """A row for ``source_items``."""

    source: str
    source_key: str
    modality: str
    content_ref: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Columns:
    """Which columns of a table mean what; None: the first of the usual names that is there."""

    key: str | None = None
    text: str | None = None
    image: str | None = None
    metadata: tuple[str, ...] | None = None  # None: every other column


USUAL = {
    "key": ("key", "id", "source_key", "uid"),
    "text": ("text", "caption", "title", "description"),
    "image": ("image", "image_path", "image_url", "file", "path", "url", "uri", "content_ref"),
}


@dataclass
class AddReport:
    """What :func:`add` did."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    skipped: int = 0
    errors: list[str] = field(default_factory=list)
    roots: list[Path] = field(default_factory=list)


_UPSERT = """
WITH given AS (
    SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::jsonb[])
        AS g (source, source_key, modality, content_ref, metadata)
), written AS (
    INSERT INTO source_items AS s (source, source_key, modality, content_ref, metadata)
    SELECT * FROM given ORDER BY source, source_key
    ON CONFLICT (source, source_key) DO UPDATE SET modality = excluded.modality,
        content_ref = excluded.content_ref, metadata = excluded.metadata
    WHERE (s.modality, s.content_ref, s.metadata)
        IS DISTINCT FROM (excluded.modality, excluded.content_ref, excluded.metadata)
    RETURNING (xmax = 0) AS inserted
)
SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM written
"""


def add(connection: Connection, rows: Iterable[NewSource], report: AddReport) -> AddReport:
    """Add rows, in batches; idempotent by (source, source_key): equal rows are not touched."""
    remaining = iter(rows)
    while batch := list(islice(remaining, BATCH)):
        distinct = {(row.source, row.source_key): row for row in batch}.values()
        found = connection.execute(
            _UPSERT,
            (
                [row.source for row in distinct],
                [row.source_key for row in distinct],
                [row.modality for row in distinct],
                [row.content_ref for row in distinct],
                [json.dumps(row.metadata, default=str) for row in distinct],
            ),
        ).fetchone()
        assert found is not None
        report.added += found[0]
        report.changed += found[1]
        report.unchanged += len(batch) - found[0] - found[1]
    return report


def register_roots(connection: Connection, folders: Iterable[Path]) -> list[Path]:
    """Allow file references into these folders; returns those that were not allowed before."""
    new = []
    for folder in folders:
        resolved = folder.resolve()
        covered = connection.execute(
            "SELECT 1 FROM media_roots WHERE %s = path OR starts_with(%s, rtrim(path, '/') || '/')",
            (str(resolved), str(resolved)),
        ).fetchone()
        if covered is None:
            connection.execute(
                "INSERT INTO media_roots (path) VALUES (%s) ON CONFLICT DO NOTHING",
                (str(resolved),),
            )
            new.append(resolved)
    return new


def media_roots(connection: Connection) -> list[Path]:
    """The folders that ``pipeline add`` registered."""
    return [Path(path) for (path,) in connection.execute("SELECT path FROM media_roots")]


def text_row(text: str, source: str) -> NewSource:
    """A text given on the command line: its own hash is its key."""
    # A lone surrogate is what a command line in another encoding leaves behind.
    try:
        digest = hashlib.sha256(text.encode()).hexdigest()
    except UnicodeEncodeError as exc:
        raise ConfigurationError("the text is not valid Unicode; pass it in UTF-8") from exc
    return NewSource(source, f"text:{digest[:32]}", "text", text)


def expand(arguments: Sequence[str], report: AddReport) -> Iterator[Path]:
    """Files, from files, folders and globs; what is missing goes into the report."""
    for argument in arguments:
        path = Path(argument).expanduser()
        if path.is_dir():
            report.roots.append(path)
            for file in sorted(path.rglob("*")):
                if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file():
                    yield file
                elif file.is_file():
                    report.skipped += 1
        elif path.exists():
            yield path
        elif any(char in argument for char in "*?[") and (
            found := sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 (absolute globs)
        ):
            yield from (Path(name) for name in found if Path(name).is_file())
        else:
            report.errors.append(f"{argument}: there is no such file or folder")


def rows_of(
    file: Path, source: str, columns: Columns, metadata: Mapping[str, Any], report: AddReport
) -> Iterator[NewSource]:
    """The rows that one file gives; a file of no known kind goes into the report."""
    suffix = file.suffix.lower()
    path = file.absolute()
    if suffix in IMAGE_SUFFIXES:
        report.roots.append(path.parent)
        yield NewSource(source, str(path), "image", str(path), metadata)
    elif suffix == ".txt":
        yield from _lines(path, source, metadata, report)
    elif suffix in TABLE_SUFFIXES:
        yield from _table(path, source, columns, metadata, report)
    else:
        report.errors.append(
            f"{file}: no known kind of file; give pictures, .txt, .jsonl, .csv or .parquet"
        )


def _lines(
    path: Path, source: str, metadata: Mapping[str, Any], report: AddReport
) -> Iterator[NewSource]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            text = line.strip()
            if not text:
                continue
            problem = _unusable(text)
            if problem:
                report.errors.append(f"{path}:{number}: {problem}")
                continue
            yield NewSource(source, f"{path}:{number}", "text", text, metadata)


def _unusable(text: str) -> str | None:
    """Why PostgreSQL could not hold this text."""
    if "\x00" in text:
        return "the text has a NUL byte; remove it"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "the text is not UTF-8; convert the file"
    return None


def _table(
    path: Path,
    source: str,
    columns: Columns,
    metadata: Mapping[str, Any],
    report: AddReport,
) -> Iterator[NewSource]:
    report.roots.append(path.parent)
    for number, record in _records(path, report):
        names = {kind: _column(kind, columns, record) for kind in USUAL}
        text, image = (record.get(names[kind] or "") for kind in ("text", "image"))
        if not text and not image:
            wanted = " or ".join(filter(None, (names["text"], names["image"]))) or "text, image"
            report.errors.append(
                f"{path}:{number}: no value in {wanted}; "
                "name the columns with --text-column and --image-column"
            )
            continue
        problem = _unusable(json.dumps(record, default=str, ensure_ascii=False))
        if problem or "\\u0000" in json.dumps(record, default=str):
            report.errors.append(f"{path}:{number}: {problem or 'a value has a NUL byte'}")
            continue
        key = record.get(names["key"] or "")
        key = f"{path}:{number}" if key in (None, "") else str(key)
        kept = columns.metadata
        used = {name for name in names.values() if name}
        extra = {
            name: value
            for name, value in record.items()
            if (name in kept if kept is not None else name not in used) and value not in (None, "")
        }
        both = {**metadata, **extra}
        if text and image:
            both = {**both, "pair": key}  # says which text and picture belong together
        if text:
            yield NewSource(source, f"{key}#text" if image else key, "text", str(text), both)
        if image:
            reference = str(image)
            if "://" not in reference and not reference.startswith("data:"):
                reference = str((path.parent / reference).absolute())
            yield NewSource(source, f"{key}#image" if text else key, "image", reference, both)


def _column(kind: str, columns: Columns, record: Mapping[str, Any]) -> str | None:
    asked: str | None = getattr(columns, kind)
    if asked is not None:
        return asked
    return next((name for name in USUAL[kind] if name in record), None)


def _records(path: Path, report: AddReport) -> Iterator[tuple[int, dict[str, Any]]]:
    suffix = path.suffix.lower()
    if suffix == ".csv":
        with path.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as lines:
            for record in (reader := csv.DictReader(lines)):
                yield reader.line_num, {k: v for k, v in record.items() if k is not None}
    elif suffix == ".parquet":
        try:
            import pyarrow.parquet as parquet  # an optional extra
        except ImportError as exc:
            raise ConfigurationError(
                "Parquet needs pyarrow: pip install 'pgvector-crossmodal-pipeline[parquet]'"
            ) from exc
        number = 0
        for batch in parquet.ParquetFile(path).iter_batches():
            for record in batch.to_pylist():
                number += 1
                yield number, record
    else:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line)
                except ValueError as exc:
                    report.errors.append(f"{path}:{number}: no JSON: {exc}")
                    continue
                if not isinstance(record, dict):
                    report.errors.append(f"{path}:{number}: a JSON object is expected in each line")
                    continue
                yield number, record
