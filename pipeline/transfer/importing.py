"""Import: vectors that another system made become items of a space, without embedding anything.

An import trusts nothing: every vector is normalised and checked before the database sees it, and
all of it is one transaction, so that one bad row leaves everything as it was.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pgvector import HalfVector, Vector
from psycopg import sql

from pipeline import modalities
from pipeline.errors import ConfigurationError, PermanentRowError
from pipeline.modalities import ReadOptions
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.references import pointer
from pipeline.spaces import Space
from pipeline.spaces.tables import with_table
from pipeline.vectors import unit_rows

BATCH = 2_000  # rows checked and copied at a time
_OPTIONS = ReadOptions()
SMALLEST_LENGTH = 1e-6  # a vector shorter than this has no direction to speak of


@dataclass(frozen=True, slots=True)
class ForeignItem:
    """A row to import. ``where`` names it in a message, such as ``vectors.parquet row 7``."""

    where: str
    source_key: str
    modality: str
    content_ref: str
    metadata: dict[str, Any]
    embedding: npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class ImportReport:
    """``items`` were written; ``new_sources`` of their source rows were not there before."""

    space: str
    items: int
    new_sources: int


_STAGE = """
CREATE TEMPORARY TABLE imported (
    source_key text, modality text, content_ref text, item_ref text, metadata jsonb,
    content_sha256 bytea, embedding {type}
) ON COMMIT DROP
"""

# Unchanged rows are left alone: an update would make jobs of them in every space.
_SOURCES = """
WITH added AS (
    INSERT INTO source_items AS s (source, source_key, modality, content_ref, metadata)
    SELECT %(source)s, source_key, modality, content_ref, metadata FROM imported
    ORDER BY source_key
    ON CONFLICT (source, source_key) DO UPDATE SET
        modality = excluded.modality, content_ref = excluded.content_ref,
        metadata = excluded.metadata
    WHERE (s.modality, s.content_ref, s.metadata)
        IS DISTINCT FROM (excluded.modality, excluded.content_ref, excluded.metadata)
    RETURNING s.xmax = 0 AS is_new
)
SELECT count(*) FILTER (WHERE is_new) FROM added
"""

_ITEMS = """
INSERT INTO {table} AS i (source_id, part, modality, content_ref, metadata, space_id,
    content_sha256, embedding)
SELECT s.id, 0, m.modality, m.item_ref, m.metadata, {space}, m.content_sha256, m.embedding
FROM imported AS m JOIN source_items AS s ON s.source = {source} AND s.source_key = m.source_key
WHERE m.modality = {modality}
ORDER BY s.id
ON CONFLICT (source_id, part, modality) DO UPDATE SET
    content_ref = excluded.content_ref, metadata = excluded.metadata,
    content_sha256 = excluded.content_sha256, embedding = excluded.embedding, embedded_at = now()
"""

# Other parts of a text, and items of the modality it had before: as when a worker finishes.
_STALE = """
DELETE FROM {table} AS i USING imported AS m
JOIN source_items AS s ON s.source = {source} AND s.source_key = m.source_key
WHERE i.source_id = s.id AND (i.part > 0 OR m.modality <> {modality})
"""

_JOBS = """
DELETE FROM ingest_jobs AS j USING (
    SELECT own.space_id, own.source_id
    FROM ingest_jobs AS own JOIN source_items AS s ON s.id = own.source_id
    JOIN imported AS m ON s.source = %(source)s AND s.source_key = m.source_key
    WHERE own.space_id = %(space)s
    ORDER BY own.source_id FOR UPDATE OF own
) AS held
WHERE j.space_id = held.space_id AND j.source_id = held.source_id
"""


def import_items(
    connection: Connection, space: Space, source: str, rows: Iterable[ForeignItem]
) -> ImportReport:
    """Source rows, and items of the space with these vectors; nothing of it is embedded.

    Other spaces get jobs for rows that are new or changed, as for any other change of the source.
    Vectors are the caller's word for being of the space's model: the number of dimensions is all
    that can be checked, beside the fingerprint that a file may carry (``claimed_space``).

    Raises:
        ConfigurationError: a row cannot be used; nothing was changed.
    """
    count = 0
    keys: set[str] = set()
    found: set[str] = set()
    with connection.transaction():
        connection.execute(sql.SQL(_STAGE).format(type=space.column_type))
        with (
            connection.cursor() as cursor,
            cursor.copy(
                "COPY imported (source_key, modality, content_ref, item_ref, metadata, "
                "content_sha256, embedding) FROM STDIN"
            ) as copy,
        ):
            for batch in _batches(rows):
                vectors = _checked(batch, space)
                for item, vector in zip(batch, vectors, strict=True):
                    if item.source_key in keys:
                        raise ConfigurationError(
                            f"{item.where}: the key {item.source_key!r} occurs twice; keys must "
                            "be unique, and nothing was imported"
                        )
                    keys.add(item.source_key)
                    copy.write_row(_stored(item, vector, space))
                count += len(batch)
                found.update(item.modality for item in batch)
        if not count:
            raise ConfigurationError("there is no row to import")
        connection.execute("ANALYZE imported")
        (new_sources,) = fetch_one(connection.execute(_SOURCES, {"source": source}))
        # Jobs before items, as everybody does it who touches both.
        connection.execute(_JOBS, {"source": source, "space": space.id})
        for modality in found:
            space = with_table(connection, space, modality)
        for modality in space.modalities:
            names = {
                "table": space.table(modality),
                "space": sql.Literal(space.id),
                "source": sql.Literal(source),
                "modality": sql.Literal(modality),
            }
            connection.execute(sql.SQL(_STALE).format(**names))
            connection.execute(sql.SQL(_ITEMS).format(**names))
    return ImportReport(space.name, count, new_sources)


def check_claim(space: Space, claim: dict[str, Any]) -> None:
    """Refuse vectors that say of themselves that they are of another space.

    Args:
        claim: what a file says; ``fingerprint`` of it counts, ``space`` names it.

    Raises:
        ConfigurationError: naming both.
    """
    fingerprint = claim.get("fingerprint")
    if fingerprint is not None and fingerprint != space.fingerprint:
        raise ConfigurationError(
            f"these vectors are of the space {claim.get('space', '?')!r} ({claim.get('model', '?')}"
            f", fingerprint {fingerprint[:12]}), not of {space.name!r} ({space.model}, "
            f"{space.fingerprint[:12]}); import them into a space of their own model"
        )


def _batches(rows: Iterable[ForeignItem]) -> Iterator[list[ForeignItem]]:
    batch: list[ForeignItem] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _checked(batch: Sequence[ForeignItem], space: Space) -> npt.NDArray[np.float32]:
    """The batch's unit vectors, after everything about its rows has been looked at."""
    for item in batch:
        problem = _problem(item, space)
        if problem:
            raise ConfigurationError(f"{item.where}: {problem}; nothing was imported")
    vectors = np.stack([np.asarray(item.embedding, dtype=np.float64) for item in batch])
    short = np.flatnonzero(~(np.linalg.norm(vectors, axis=1) > SMALLEST_LENGTH))
    if short.size:
        raise ConfigurationError(
            f"{batch[short[0]].where}: the vector has no direction (zero, NaN or infinite); "
            "nothing was imported"
        )
    return unit_rows(vectors)


def _problem(item: ForeignItem, space: Space) -> str | None:
    vector = np.asarray(item.embedding)
    if vector.shape != (space.dimensions,):
        size = len(vector) if vector.ndim == 1 else f"shape {vector.shape}"
        return f"the vector has {size} dimensions, and the space {space.name!r} {space.dimensions}"
    if not np.isfinite(vector.astype(np.float64)).all():
        return "the vector has a NaN or an infinity in it"
    if item.modality not in space.embeds:
        return (
            f"the space {space.name!r} has no modality {item.modality!r}; it has: "
            f"{', '.join(space.embeds)}"
        )
    for name, text in (("key", item.source_key), ("content", item.content_ref)):
        if not text:
            return f"the {name} is empty"
        if "\x00" in text:
            return f"the {name} has a NUL character in it"
    return "the metadata has a NUL in it" if "\\u0000" in json.dumps(item.metadata) else None


def _stored(item: ForeignItem, vector: npt.NDArray[np.float32], space: Space) -> tuple[Any, ...]:
    """The row for COPY; pointer and hash as a worker would have written them."""
    modality = modalities.find(item.modality)
    if modality is not None and modality.inline:
        try:
            shown = modality.decode(item.content_ref.encode(), _OPTIONS).content
        except PermanentRowError as exc:
            raise ConfigurationError(f"{item.where}: {exc}; nothing was imported") from exc
        digest = hashlib.sha256(shown.encode()).digest()
    else:
        shown = pointer(item.content_ref)
        # The content's bytes are not here: a hash that no content has, so never reused.
        digest = hashlib.sha256(b"imported\x00" + item.content_ref.encode()).digest()
    kind = HalfVector if space.vector_type == "halfvec" else Vector
    return (
        item.source_key,
        item.modality,
        item.content_ref,
        shown,
        json.dumps(item.metadata),
        digest,
        kind(vector).to_text(),
    )
