"""What ``pipeline add`` takes: files, folders, lines and tables become rows of ``source_items``."""

import glob
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import ConfigurationError
from pipeline.modalities.text.cleaning import redact
from pipeline.postgres.connections import Connection
from pipeline.sources.records import TABLE_SUFFIXES, USUAL, Columns, missing_columns, records

IMAGE_SUFFIXES = frozenset(
    f".{name}"
    for kinds in ("jpg jpeg jpe jfif", "png apng", "webp", "gif", "tif tiff", "bmp dib", "avif")
    for name in kinds.split()
) | {".heic", ".heif"}
BATCH = 2_000
# Where rows come from unless somebody says otherwise. The keys of its rows begin with the path of
# their file, so that two tables may count from 1 both.
SOURCE = "files"
REFERENCE = re.compile(r"(?i)([a-z][a-z0-9+.-]*)://")
REMOTE = ("http", "https", "s3", "gs", "az")


@dataclass(frozen=True, slots=True)
class NewSource:
    """A row for ``source_items``."""

    source: str
    source_key: str
    modality: str
    content_ref: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class AddReport:
    """What :func:`add` did."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    skipped: int = 0
    errors: list[str] = field(default_factory=list)
    roots: list[Path] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)  # tables and texts that stand in a folder
    seen: dict[str, tuple[Path, int]] = field(default_factory=dict)  # keys of tables, and where

    def claim(self, key: str, path: Path, number: int) -> str | None:
        """Why a row of a table cannot have this key: another row has it."""
        other, line = self.seen.setdefault(key, (path, number))
        if (other, line) == (path, number):
            return None
        where = f"line {line}" if other == path else f"{other}:{line}"
        return f"its key is that of {where}; only the first was added (see --key-column)"


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


def text_row(text: str, source: str, metadata: Mapping[str, Any] | None = None) -> NewSource:
    """A text given on the command line: its own hash is its key."""
    # A lone surrogate is what a command line in another encoding leaves behind.
    try:
        digest = hashlib.sha256(text.encode()).hexdigest()
    except UnicodeEncodeError as exc:
        raise ConfigurationError("the text is not valid Unicode; pass it in UTF-8") from exc
    return NewSource(source, f"text:{digest[:32]}", "text", text, metadata or {})


def is_reference(argument: str) -> bool:
    """Whether it names something elsewhere, not a file or folder here."""
    return REFERENCE.match(argument) is not None


def reference_rows(
    references: Iterable[str], source: str, metadata: Mapping[str, Any], report: AddReport
) -> Iterator[NewSource]:
    """Pictures elsewhere, each its own key; whether they may be loaded is decided when they are."""
    for reference in references:
        match = REFERENCE.match(reference)
        assert match is not None
        suffix = Path(urlsplit(reference).path).suffix.lower()
        if match[1].lower() not in REMOTE:
            report.errors.append(
                f"{redact(reference)}: pictures can be at {'://, '.join(REMOTE)}:// or in files"
            )
        elif suffix in TABLE_SUFFIXES or suffix == ".txt":
            report.errors.append(f"{redact(reference)}: download the file, then add it")
        else:
            yield NewSource(source, reference, "image", reference, metadata)


def expand(arguments: Sequence[str], report: AddReport) -> Iterator[Path]:
    """Files, from files, folders and globs; what is missing goes into the report."""
    for argument in arguments:
        path = Path(argument).expanduser()
        if path.is_dir():
            report.roots.append(path)
            for file in sorted(path.rglob("*")):
                suffix = file.suffix.lower()
                if suffix in IMAGE_SUFFIXES and file.is_file():
                    yield file
                elif file.is_file():
                    report.skipped += 1
                    if suffix in TABLE_SUFFIXES or suffix == ".txt":
                        report.unread.append(file)
        elif path.exists():
            yield path
        elif any(char in argument for char in "*?[") and (
            found := sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 (absolute globs)
        ):
            yield from (Path(name) for name in found if Path(name).is_file())
        else:
            report.errors.append(f"{argument}: there is no such file or folder")


def rows_of(
    file: Path,
    source: str | None,
    columns: Columns,
    metadata: Mapping[str, Any],
    report: AddReport,
) -> Iterator[NewSource]:
    """The rows that one file gives; a file that cannot be read goes into the report.

    Args:
        source: None: the default one, in which a table's own keys hold within the table only.
    """
    suffix = file.suffix.lower()
    path = file.absolute()
    try:
        if suffix in IMAGE_SUFFIXES:
            report.roots.append(path.parent)
            yield NewSource(source or SOURCE, str(path), "image", str(path), metadata)
        elif suffix == ".txt":
            yield from _lines(path, source or SOURCE, metadata, report)
        elif suffix in TABLE_SUFFIXES:
            yield from _table(path, source, columns, metadata, report)
        else:
            report.errors.append(
                f"{file}: no known kind of file; give pictures, .txt, .jsonl, .csv or .parquet"
            )
    except (OSError, ValueError) as exc:  # pyarrow's own errors are ValueErrors
        reason = getattr(exc, "strerror", None) or str(exc).partition("\n")[0]
        report.errors.append(f"{file}: cannot be read as {suffix}: {reason}")


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
    source: str | None,
    columns: Columns,
    metadata: Mapping[str, Any],
    report: AddReport,
) -> Iterator[NewSource]:
    problem = missing_columns(path, columns)
    if problem:
        report.errors.append(f"{path}: {problem}")
        return
    report.roots.append(path.parent)
    for number, record in records(path, report.errors):
        names = {kind: columns.name(kind, record) for kind in USUAL}
        own = record.get(names["key"] or "")
        key = f"{path}:{number}" if own in (None, "") else _own_key(path, source, own)
        problem = _problem(record, names, columns)
        if problem is None and own not in (None, ""):
            problem = report.claim(key, path, number)
        if problem:
            report.errors.append(f"{path}:{number}: {problem}")
            continue
        text, image = (record.get(names[kind] or "") for kind in ("text", "image"))
        used = {name for name in names.values() if name}
        kept = columns.metadata
        extra = {
            name: value
            for name, value in record.items()
            if (name in kept if kept is not None else name not in used) and value not in (None, "")
        }
        both = {**metadata, **extra}
        if text and image:
            both = {**both, "pair": key}  # says which text and picture belong together
        home = source or SOURCE
        if text:
            yield NewSource(home, f"{key}#text" if image else key, "text", str(text), both)
        if image:
            reference = str(image)
            if "://" not in reference and not reference.startswith("data:"):
                reference = str((path.parent / reference).absolute())
            yield NewSource(home, f"{key}#image" if text else key, "image", reference, both)


def _own_key(path: Path, source: str | None, own: Any) -> str:
    """Unique within its file, unless somebody named a source that it is the key of."""
    return f"{path}#{own}" if source is None else str(own)


def _problem(
    record: Mapping[str, Any], names: Mapping[str, str | None], columns: Columns
) -> str | None:
    """Why a record cannot become a row."""
    if not any(record.get(names[kind] or "") for kind in ("text", "image")):
        wanted = " or ".join(filter(None, (names["text"], names["image"]))) or "text, image"
        return f"no value in {wanted}; name the columns with --text-column and --image-column"
    if columns.key is not None and record.get(columns.key) in (None, ""):
        return f"no key in {columns.key}"
    if "\\u0000" in json.dumps(record, default=str):
        return "a value has a NUL byte"
    return _unusable(json.dumps(record, default=str, ensure_ascii=False))
