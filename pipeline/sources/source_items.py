"""Rows of ``source_items``: what they are made of, and adding them so that adding again changes
nothing."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg

from pipeline.errors import ConfigurationError
from pipeline.modalities import TEXT
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.references import redact

BATCH = 2_000
# What the database refuses for a value in a row; anything else it would refuse of every row.
_OF_A_ROW = (
    psycopg.DataError,
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.StatementTooComplex,
)
_NUL_IN_JSON = re.compile(r"(?<!\\)(\\\\)*\\u0000")
# Where rows come from unless somebody says otherwise. The keys of its rows begin with the path of
# their file, so that two tables may count from 1 both.
SOURCE = "files"


@dataclass(frozen=True, slots=True)
class NewSource:
    """A row for ``source_items``.

    Attributes:
        origin: where it was read, such as ``file:line``, for messages; empty: its key says it.
        row_key: of an attached source, the key of the row, file or object.
    """

    source: str
    source_key: str
    modality: str
    content_ref: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""
    row_key: str | None = None

    def name(self) -> str:
        """For messages."""
        return self.origin or redact(self.source_key)


@dataclass
class AddReport:
    """What :func:`add` did, and what those who read files for it found.

    Attributes:
        roots: folders that the rows' files lie in.
        unread: tables and texts that stand in a folder.
        seen: keys of tables, and where.
        notes: what was made of tables, for people.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    skipped: int = 0
    errors: list[str] = field(default_factory=list)
    roots: list[Path] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)
    seen: dict[str, tuple[Path, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def claim(self, key: str, path: Path, number: int) -> str | None:
        """Why a row of a table cannot have this key: another row has it."""
        other, line = self.seen.setdefault(key, (path, number))
        if (other, line) == (path, number):
            return None
        where = f"line {line}" if other == path else f"{other}:{line}"
        return f"its key is that of {where}; only the first was added (see --key-column)"


_UPSERT = """
WITH given AS (
    SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::jsonb[], %s::text[])
        AS g (source, source_key, modality, content_ref, metadata, row_key)
), written AS (
    INSERT INTO source_items AS s (source, source_key, modality, content_ref, metadata, row_key)
    SELECT * FROM given ORDER BY source, source_key
    ON CONFLICT (source, source_key) DO UPDATE SET modality = excluded.modality,
        content_ref = excluded.content_ref, metadata = excluded.metadata,
        row_key = coalesce(excluded.row_key, s.row_key)
    WHERE (s.modality, s.content_ref, s.metadata, s.row_key) IS DISTINCT FROM (excluded.modality,
        excluded.content_ref, excluded.metadata, coalesce(excluded.row_key, s.row_key))
    RETURNING (xmax = 0) AS inserted
)
SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM written
"""


def add(connection: Connection, rows: Iterable[NewSource], report: AddReport) -> AddReport:
    """Add rows, in batches; idempotent by (source, source_key): equal rows are not touched.

    A row that the database cannot hold goes into the report, and costs no other row.
    """
    remaining = iter(rows)
    while batch := list(islice(remaining, BATCH)):
        usable: list[tuple[NewSource, str]] = []
        for row in batch:
            try:
                usable.append((row, stored_metadata(row)))
            except ValueError as exc:
                report.errors.append(f"{row.name()}: {exc}")
        distinct = {(row.source, row.source_key): (row, m) for row, m in usable}
        refused, added, changed = _write(connection, list(distinct.values()), report)
        report.added += added
        report.changed += changed
        report.unchanged += len(usable) - refused - added - changed
    return report


def _write(
    connection: Connection, rows: Sequence[tuple[NewSource, str]], report: AddReport
) -> tuple[int, int, int]:
    """Write these rows; how many were refused, added and changed.

    A statement that the database refuses for what is in it is halved, down to the row to blame.
    """
    try:
        with connection.transaction():
            added, changed = fetch_one(
                connection.execute(
                    _UPSERT,
                    (
                        [row.source for row, _ in rows],
                        [row.source_key for row, _ in rows],
                        [row.modality for row, _ in rows],
                        [row.content_ref for row, _ in rows],
                        [metadata for _, metadata in rows],
                        [row.row_key for row, _ in rows],
                    ),
                )
            )
    except _OF_A_ROW as exc:
        if len(rows) > 1:
            middle = len(rows) // 2
            halves = (_write(connection, some, report) for some in (rows[:middle], rows[middle:]))
            refused, added, changed = map(sum, zip(*halves, strict=True))
            return refused, added, changed
        report.errors.append(f"{rows[0][0].name()}: {_refusal(connection, rows[0][0], exc)}")
        return 1, 0, 0
    return 0, added, changed


def _refusal(connection: Connection, row: NewSource, exc: psycopg.Error) -> str:
    if isinstance(exc, psycopg.errors.ProgramLimitExceeded) and "index" in str(exc):
        length = len(row.source_key.encode())
        return f"a key of {length} bytes does not fit into its index; at most 2,600 always do"
    if isinstance(exc, psycopg.errors.UntranslatableCharacter):
        encoding = connection.info.parameter_status("server_encoding")
        return (
            f"it has a character that the database's encoding, {encoding}, lacks; leave it out, or "
            "use a database with ENCODING 'UTF8'"
        )
    return exc.diag.message_primary or str(exc)


def stored_metadata(row: NewSource) -> str:
    """The metadata as JSON for PostgreSQL.

    Raises:
        ValueError: it, the key or the content is nothing that PostgreSQL can hold.
    """
    try:
        metadata = json.dumps(row.metadata, default=str, allow_nan=False, ensure_ascii=False)
    except ValueError as exc:
        raise ValueError(
            "a value is NaN or infinite, which JSON does not have; leave it out"
        ) from exc
    except (TypeError, RecursionError) as exc:
        raise ValueError(f"the metadata cannot be written as JSON: {exc}") from exc
    if _NUL_IN_JSON.search(metadata):
        raise ValueError("a value has a NUL byte; remove it")
    for text in (row.source, row.source_key, row.content_ref, metadata):
        if problem := unusable(text):
            raise ValueError(problem)
    return metadata


def unusable(text: str) -> str | None:
    """Why PostgreSQL could not hold this text."""
    if "\x00" in text:
        return "the text has a NUL byte; remove it"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "the text is not UTF-8; convert the file"
    return None


def text_row(text: str, source: str, metadata: Mapping[str, Any] | None = None) -> NewSource:
    """A text given on the command line: its own hash is its key."""
    # A lone surrogate is what a command line in another encoding leaves behind.
    try:
        digest = hashlib.sha256(text.encode()).hexdigest()
    except UnicodeEncodeError as exc:
        raise ConfigurationError("the text is not valid Unicode; pass it in UTF-8") from exc
    return NewSource(source, f"text:{digest[:32]}", TEXT.name, text, metadata or {})


def reopen(connection: Connection, ids: Sequence[int], *, changed: bool = False) -> list[int]:
    """Create or re-open the jobs of these source items, in every space that has their modality.

    Waits for nobody; returns those that somebody else has locked, of which nothing is changed.

    Args:
        changed: their content is another than their items are of, so that these go if it cannot be
            embedded.
    """
    with connection.transaction():
        (others,) = fetch_one(
            connection.execute("SELECT reopen_source_items(%s::bigint[])", (list(ids),))
        )
        if changed:  # held by the statement above
            connection.execute(
                "UPDATE ingest_jobs SET content_changed = true WHERE source_id = ANY (%s)",
                (sorted(set(ids) - set(others)),),
            )
    return list(others)


def estimated_count(connection: Connection) -> int:
    """How many rows there are, as of the last ANALYZE; for progress."""
    (count,) = fetch_one(
        connection.execute(
            """
            SELECT greatest(reltuples, 0)::bigint FROM pg_class
            WHERE oid = 'source_items'::regclass
            """
        )
    )
    return int(count)
