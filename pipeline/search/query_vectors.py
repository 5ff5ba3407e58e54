"""Query texts and their vectors: every statement on ``query_embeddings`` that Python sends.

A text is found by ``query_key()`` of it as it was asked, here as in ``text_embedding()``: what one
of them has asked for, the other finds. The vector is that of the cleaned text.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import psycopg

from pipeline.modalities.text.cleaning import clean_text
from pipeline.postgres.arrays import allow_packed, pack_bytes, pack_texts
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.session import is_unicode
from pipeline.postgres.vector_arrays import pack_vectors
from pipeline.vectors import Vectors

# Nobody waits for a request any more that is older; text_embedding() opens it again.
REQUEST_SECONDS = 60
LEASE_SECONDS = 30


def asked(text: str) -> str:
    """The text as it is kept: itself, or cleaned where PostgreSQL cannot hold it.

    Raises:
        PermanentRowError: nothing of it can be kept.
    """
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return clean_text(text)
    return clean_text(text) if "\0" in text else text


def is_open(connection: Connection) -> bool:
    """Whether this session may use the cache: not an analyst's, nor one that only reads.

    Who may not embeds for itself, and nobody learns from it what others searched for.
    """
    (open_,) = fetch_one(
        connection.execute(
            """
            SELECT bool_and(has_table_privilege(to_regclass('query_embeddings'), p))
                AND NOT current_setting('transaction_read_only')::boolean
            FROM unnest('{SELECT,INSERT,UPDATE}'::text[]) AS p
            """
        )
    )
    return bool(open_)


def can_hold(connection: Connection, text: str) -> bool:
    """Whether the database's encoding has every character of a text."""
    if is_unicode(connection):
        return True
    try:
        with connection.transaction():  # the caller's goes on
            connection.execute("SELECT %s::text", (asked(text),))
    except psycopg.errors.UntranslatableCharacter:
        return False
    return True


def find(connection: Connection, space_id: int, text: str) -> Vectors | None:
    """The vector (D,) that a space's cache has of a text."""
    row = connection.execute(
        "SELECT embedding::real[] FROM query_embeddings "
        "WHERE space_id = %s AND query_sha256 = query_key(%s) AND embedding IS NOT NULL",
        (space_id, asked(text)),
    ).fetchone()
    return None if row is None else np.asarray(row[0], np.float32)


def store(
    connection: Connection, space_id: int, text: str, vector: npt.NDArray[np.float32]
) -> None:
    """Keep the vector (D,) of a text; who waits for it finds it too."""
    connection.execute(
        """
        INSERT INTO query_embeddings (space_id, query_sha256, query, embedding, embedded_at)
        SELECT %s, query_key(a.query), a.query, %s::real[]::halfvec, now()
        FROM (VALUES (%s)) AS a (query)
        ON CONFLICT (space_id, query_sha256) DO UPDATE
            SET embedding = excluded.embedding, error = NULL, embedded_at = now(),
                last_used_at = now(), asked_by = '', asked_from = ''
        """,
        (space_id, vector.tolist(), asked(text)),
    )


def claim(connection: Connection, space_id: int, limit: int) -> dict[bytes, str]:
    """Requests nobody else works on: key -> text. No two servers get the same.

    Whoever asks, a login, gets one turn after the other, and of its turns each of its addresses;
    oldest requests first. One who asks for thousands, from wherever, holds nobody else up.
    """
    rows = connection.execute(
        """
        WITH askers AS (
            SELECT DISTINCT asked_by, asked_from FROM query_embeddings
            WHERE space_id = %(space)s AND embedding IS NULL AND error IS NULL
              AND requested_at > now() - make_interval(secs => %(patience)s)
        ),
        turns AS (
            SELECT own.query_sha256, own.requested_at, row_number() OVER (
                PARTITION BY a.asked_by ORDER BY own.turn, own.requested_at) AS turn
            FROM askers AS a CROSS JOIN LATERAL (
                SELECT q.query_sha256, q.requested_at,
                    row_number() OVER (ORDER BY q.requested_at) AS turn
                FROM query_embeddings AS q
                WHERE q.space_id = %(space)s AND q.embedding IS NULL AND q.error IS NULL
                  AND (q.asked_by, q.asked_from) = (a.asked_by, a.asked_from)
                  AND q.requested_at > now() - make_interval(secs => %(patience)s)
                  AND (q.claimed_until IS NULL OR q.claimed_until < now())
                ORDER BY q.requested_at LIMIT %(limit)s
            ) AS own
        ),
        claimed AS MATERIALIZED (
            SELECT q.query_sha256
            FROM turns AS t JOIN query_embeddings AS q ON q.query_sha256 = t.query_sha256
            WHERE q.space_id = %(space)s AND q.embedding IS NULL AND q.error IS NULL
              AND (q.claimed_until IS NULL OR q.claimed_until < now())
            ORDER BY t.turn, t.requested_at LIMIT %(limit)s
            FOR UPDATE OF q SKIP LOCKED
        )
        UPDATE query_embeddings AS q SET claimed_until = now() + make_interval(secs => %(lease)s)
        FROM claimed AS c
        WHERE q.space_id = %(space)s AND q.query_sha256 = c.query_sha256
        RETURNING q.query_sha256, q.query
        """,
        {
            "space": space_id,
            "patience": REQUEST_SECONDS,
            "limit": limit,
            "lease": LEASE_SECONDS,
        },
    ).fetchall()
    return {bytes(key): query for key, query in rows}


def answer(
    connection: Connection, space_id: int, vectors: dict[bytes, Vectors], errors: dict[bytes, str]
) -> None:
    """Write the vectors and the refusals by their keys; who waits polls for them."""
    # Its number differs from database to database, and a restored one may be behind the same URL.
    (oid,) = fetch_one(connection.execute("SELECT 'halfvec'::regtype::oid"))
    packed = np.stack(list(vectors.values())) if vectors else np.empty((0, 1), np.float32)
    allow_packed(connection.cursor()).execute(
        """
        WITH answers AS (
            SELECT v.key, v.embedding, NULL AS error
            FROM unnest(%(keys)s::bytea[], %(vectors)s::halfvec[]) AS v (key, embedding)
            UNION ALL
            SELECT r.key, NULL, r.error
            FROM unnest(%(refused)s::bytea[], %(errors)s::text[]) AS r (key, error)
        ),
        answered AS MATERIALIZED (
            SELECT q.query_sha256, a.embedding, a.error
            FROM answers AS a JOIN query_embeddings AS q ON q.query_sha256 = a.key
            WHERE q.space_id = %(space)s AND q.embedding IS NULL
            FOR UPDATE OF q SKIP LOCKED  -- embedded again when the claim lapses
        )
        UPDATE query_embeddings AS q
        SET embedding = a.embedding, error = a.error, claimed_until = NULL,
            asked_by = '', asked_from = '',
            embedded_at = CASE WHEN a.error IS NULL THEN now() END
        FROM answered AS a
        WHERE q.space_id = %(space)s AND q.query_sha256 = a.query_sha256
        """,
        {
            "keys": pack_bytes(list(vectors)),
            "vectors": pack_vectors(packed, "halfvec", oid),
            "refused": pack_bytes(list(errors)),
            "errors": pack_texts(list(errors.values())),
            "space": space_id,
        },
    )


def forget(connection: Connection, space_id: int, keep: int, days: float) -> int:
    """Remove what is kept too long: in the space the least recently used vectors beyond ``keep``;
    in every space what nobody asked for in ``days``, and requests given up long ago."""
    return connection.execute(
        """
        WITH old AS MATERIALIZED (
            SELECT space_id, query_sha256 FROM query_embeddings
            WHERE space_id = %(space)s AND query_sha256 IN (
                    SELECT query_sha256 FROM query_embeddings
                    WHERE space_id = %(space)s AND embedding IS NOT NULL
                    ORDER BY last_used_at DESC OFFSET %(keep)s)
                OR last_used_at < now() - make_interval(secs => %(days)s * 86400)
                OR embedding IS NULL AND requested_at < now() - interval '1 hour'
            FOR UPDATE SKIP LOCKED  -- whoever asks again has it: the server does not wait
        )
        DELETE FROM query_embeddings AS q USING old
        WHERE (q.space_id, q.query_sha256) = (old.space_id, old.query_sha256)
        """,
        {"space": space_id, "keep": keep, "days": days},
    ).rowcount


def recent(connection: Connection, space_id: int, limit: int) -> Sequence[str]:
    """Vectors of the texts used last, as text: what people search for, to measure by."""
    rows = connection.execute(
        """
        SELECT embedding::text FROM query_embeddings
        WHERE space_id = %s AND embedding IS NOT NULL
        ORDER BY last_used_at DESC, query_sha256 LIMIT %s
        """,
        (space_id, limit),
    ).fetchall()
    return [vector for (vector,) in rows]
