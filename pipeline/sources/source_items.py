"""Rows of ``source_items``: what they are made of, and adding them so that adding again changes
nothing."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg

from pipeline.errors import ConfigurationError
from pipeline.modalities import TEXT
from pipeline.postgres.connections import Connection, fetch_one

BATCH = 2_000
# Where rows come from unless somebody says otherwise. The keys of its rows begin with the path of
# their file, so that two tables may count from 1 both.
SOURCE = "files"


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
    """What :func:`add` did, and what those who read files for it found.

    Attributes:
        roots: folders that the rows' files lie in.
        unread: tables and texts that stand in a folder.
        seen: keys of tables, and where.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    skipped: int = 0
    errors: list[str] = field(default_factory=list)
    roots: list[Path] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)
    seen: dict[str, tuple[Path, int]] = field(default_factory=dict)

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
    """Add rows, in batches; idempotent by (source, source_key): equal rows are not touched.

    Raises:
        ConfigurationError: the database's encoding lacks a character of a row; none of its batch
            was added.
    """
    remaining = iter(rows)
    while batch := list(islice(remaining, BATCH)):
        distinct = list({(row.source, row.source_key): row for row in batch}.values())
        try:
            added, changed = fetch_one(connection.execute(_UPSERT, _columns(distinct)))
        except psycopg.errors.UntranslatableCharacter as exc:
            raise ConfigurationError(_why_not_held(connection, distinct)) from exc
        report.added += added
        report.changed += changed
        report.unchanged += len(batch) - added - changed
    return report


def _columns(rows: Sequence[NewSource]) -> tuple[list[str], ...]:
    return (
        [row.source for row in rows],
        [row.source_key for row in rows],
        [row.modality for row in rows],
        [row.content_ref for row in rows],
        [json.dumps(row.metadata, default=str) for row in rows],
    )


def _why_not_held(connection: Connection, rows: Sequence[NewSource]) -> str:
    """Which of the rows has a character that the database's encoding lacks, and what to do."""
    encoding = connection.info.parameter_status("server_encoding")
    where = "a row"
    for row in rows:
        try:
            connection.execute(
                "SELECT unnest(%s::text[]), %s::jsonb",
                (
                    [row.source, row.source_key, row.content_ref],
                    json.dumps(row.metadata, default=str),
                ),
            )
        except psycopg.Error:
            where = f"the row {row.source_key!r} of {row.source!r}"
            break
    return (
        f"{where} has a character that the database's encoding, {encoding}, lacks; leave it out, "
        "or use a database with ENCODING 'UTF8'"
    )


def text_row(text: str, source: str, metadata: Mapping[str, Any] | None = None) -> NewSource:
    """A text given on the command line: its own hash is its key."""
    # A lone surrogate is what a command line in another encoding leaves behind.
    try:
        digest = hashlib.sha256(text.encode()).hexdigest()
    except UnicodeEncodeError as exc:
        raise ConfigurationError("the text is not valid Unicode; pass it in UTF-8") from exc
    return NewSource(source, f"text:{digest[:32]}", TEXT.name, text, metadata or {})


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
