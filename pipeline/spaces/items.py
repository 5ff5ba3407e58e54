"""Vectors -> the space's tables, and the finished jobs out of the queue, in one statement.

The vectors travel as one binary ``halfvec[]`` parameter that numpy packs: no temporary table, so
no catalogue churn, and nothing that PgBouncer's transaction mode would lose.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from psycopg import sql

from pipeline.jobs import NOTES, FinishedJob
from pipeline.postgres.arrays import (
    allow_packed,
    pack_bytes,
    pack_integers,
    pack_json,
    pack_texts,
)
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.vector_arrays import pack_vectors, unpack_vector
from pipeline.spaces.space import Space, get_space
from pipeline.spaces.tables import with_table
from pipeline.vectors import Vectors


@dataclass(frozen=True, slots=True)
class Written:
    """What :meth:`Writer.finish` finished; the jobs it was given may be more."""

    jobs: int
    items: int


@dataclass(frozen=True, slots=True)
class KnownContent:
    """What an item of some content has: its vector, and its notes (see ``pipeline.jobs.NOTES``)."""

    vector: Vectors
    notes: Mapping[str, Any]


class Writer:
    """Writes into the tables of one space."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._oids: dict[int, int] = {}

    def finish(
        self, connection: Connection, worker: str, finished: Sequence[FinishedJob]
    ) -> Written:
        """Deletes the jobs that ``worker`` still holds and writes their items, or neither.

        A job whose source item changed, whose lease passed to another worker, which is gone, or
        which somebody else has locked is not touched and nothing of it is written. An item whose
        content is unchanged keeps its row (and its place in the HNSW index). Items that a source
        item no longer has, such as parts of a text that became shorter, go.
        """
        for modality in {f.job.modality for f in finished} - set(self.space.modalities):
            self.space = with_table(connection, self.space, modality)
        # One statement per modality, each its own transaction.
        written = [
            self._finish(connection, worker, modality, of_modality)
            for modality in self.space.modalities
            if (of_modality := [f for f in finished if f.job.modality == modality])
        ]
        return Written(sum(w.jobs for w in written), sum(w.items for w in written))

    def _finish(
        self,
        connection: Connection,
        worker: str,
        modality: str,
        finished: Sequence[FinishedJob],
    ) -> Written:
        # An item belongs to its claim (by number), not merely to its source item: a row that
        # changed may be here twice, with a claim that still holds and one that does not.
        items = [(number, item) for number, f in enumerate(finished, 1) for item in f.items]
        packed = pack_vectors(
            np.stack([item.vector for _, item in items]),
            self.space.vector_type,
            self._element_oid(connection),
        )
        row = fetch_one(
            allow_packed(connection.cursor()).execute(
                self._statement(modality),
                {
                    "space": self.space.id,
                    "worker": worker,
                    "modality": modality,
                    "source_ids": pack_integers([f.job.source_id for f in finished]),
                    "versions": pack_integers([f.job.version for f in finished]),
                    "attempts": pack_integers([f.job.attempts for f in finished], "integer"),
                    "parts_of": pack_integers([len(f.items) for f in finished], "integer"),
                    "claims": pack_integers([number for number, _ in items]),
                    "parts": pack_integers([item.part for _, item in items], "integer"),
                    "refs": pack_texts([item.content_ref for _, item in items]),
                    "metadata": pack_json([item.metadata for _, item in items]),
                    "notes": pack_json([_as_json(item.notes) for _, item in items]),
                    "hashes": pack_bytes([item.content_sha256 for _, item in items]),
                    "vectors": packed,
                },
            )
        )
        return Written(*row)

    def _statement(self, modality: str) -> sql.Composed:
        others = [other for other in self.space.modalities if other != modality]
        return sql.SQL(
            """
            WITH held AS MATERIALIZED (
                SELECT f.claim, j.source_id, f.parts
                FROM unnest(%(source_ids)s::bigint[], %(versions)s::bigint[],
                            %(attempts)s::integer[], %(parts_of)s::integer[]) WITH ORDINALITY
                    AS f (source_id, version, attempts, parts, claim)
                JOIN ingest_jobs AS j USING (source_id, version, attempts)
                WHERE j.space_id = %(space)s AND j.state = 'running' AND j.worker = %(worker)s
                ORDER BY j.source_id
                FOR UPDATE OF j SKIP LOCKED
            ),
            finished AS (
                DELETE FROM ingest_jobs AS j USING held
                WHERE j.space_id = %(space)s AND j.source_id = held.source_id
            ),
            shortened AS (
                DELETE FROM {table} AS i USING held
                WHERE i.source_id = held.source_id AND i.part >= held.parts
            ),
            {moved}
            written AS (
                INSERT INTO {table} AS i (source_id, part, modality, content_ref, metadata,
                    space_id, content_sha256, embedding)
                SELECT held.source_id, v.part, %(modality)s, v.content_ref,
                    CASE WHEN jsonb_typeof(v.metadata) = 'object' THEN v.metadata || v.notes
                        ELSE v.metadata END,
                    %(space)s, v.content_sha256, v.embedding
                FROM unnest(%(claims)s::bigint[], %(parts)s::integer[], %(refs)s::text[],
                            %(metadata)s::jsonb[], %(notes)s::jsonb[], %(hashes)s::bytea[],
                            %(vectors)s::{array})
                    AS v (claim, part, content_ref, metadata, notes, content_sha256, embedding)
                JOIN held USING (claim)
                ORDER BY held.source_id, v.part
                ON CONFLICT (source_id, part, modality) DO UPDATE SET
                    content_ref = excluded.content_ref, metadata = excluded.metadata,
                    content_sha256 = excluded.content_sha256, embedding = excluded.embedding,
                    embedded_at = now()
                WHERE (i.content_sha256, i.content_ref, i.metadata)
                    IS DISTINCT FROM
                    (excluded.content_sha256, excluded.content_ref, excluded.metadata)
            )
            SELECT count(*), coalesce(sum(parts), 0)::bigint FROM held
            """
        ).format(
            table=self.space.table(modality),
            array=sql.SQL("{}[]").format(sql.Identifier(self.space.vector_type)),
            # A source item that changed its modality leaves its old items behind.
            moved=sql.SQL(" ").join(
                sql.SQL(
                    "{} AS (DELETE FROM {} AS i USING held WHERE i.source_id = held.source_id),"
                ).format(sql.Identifier(f"moved_from_{other}"), self.space.table(other))
                for other in others
            ),
        )

    def _element_oid(self, connection: Connection) -> int:
        # Per backend process, since a reconnect may reach a restored database.
        backend = connection.info.backend_pid
        if backend not in self._oids:
            (oid,) = fetch_one(
                connection.execute("SELECT %s::regtype::oid", (self.space.vector_type,))
            )
            self._oids = {backend: oid}
        return self._oids[backend]

    def known_vectors(
        self, connection: Connection, modality: str, hashes: Sequence[bytes]
    ) -> dict[bytes, KnownContent]:
        """What the space already has of content of these SHA-256 sums."""
        if modality not in self.space.modalities:
            self.space = get_space(connection, self.space.name)
            if modality not in self.space.modalities:  # it has no item of it yet
                return {}
        # Not = ANY: of a table that is just being filled there are no statistics, the planner takes
        # many hashes for the better part of it and reads it all, again for every claim.
        rows = (
            allow_packed(connection.cursor(binary=True))
            .execute(
                sql.SQL(
                    """
                    SELECT wanted.content_sha256, known.embedding, known.notes
                    FROM unnest(%s::bytea[]) AS wanted (content_sha256)
                    CROSS JOIN LATERAL (
                        SELECT i.embedding, i.metadata -> %s AS notes FROM {table} AS i
                        WHERE i.content_sha256 = wanted.content_sha256 LIMIT 1
                    ) AS known
                    """
                ).format(table=self.space.table(modality)),
                (pack_bytes(hashes), NOTES),
            )
            .fetchall()
        )
        return {
            bytes(digest): KnownContent(
                unpack_vector(bytes(vector), self.space.vector_type),
                notes if isinstance(notes, dict) else {},
            )
            for digest, vector, notes in rows
        }


def _as_json(notes: Mapping[str, Any]) -> str:
    return json.dumps({NOTES: dict(notes)}) if notes else "{}"
