"""The cache of query texts and their vectors, ``query_embeddings``."""

import hashlib

from pipeline.postgres.connections import Connection
from pipeline.spaces import Space
from pipeline.vectors import Vectors, unit_rows


def look_up(connection: Connection, space: Space, text: str) -> Vectors | None:
    """The cached vector."""
    row = connection.execute(
        """
        UPDATE query_embeddings SET last_used_at = now()
        WHERE space_id = %s AND query_sha256 = %s AND embedding IS NOT NULL
        RETURNING embedding::real[]
        """,
        (space.id, hashlib.sha256(text.encode()).digest()),
    ).fetchone()
    return None if row is None else unit_rows([row[0]])[0]


def keep(connection: Connection, space: Space, text: str, vector: Vectors) -> None:
    """Cache a vector."""
    connection.execute(
        """
        INSERT INTO query_embeddings (space_id, query_sha256, query, embedding, embedded_at)
        VALUES (%s, %s, %s, %s::real[]::halfvec, now())
        ON CONFLICT (space_id, query_sha256) DO UPDATE
            SET embedding = excluded.embedding, embedded_at = now(), last_used_at = now()
        """,
        (space.id, hashlib.sha256(text.encode()).digest(), text, vector.tolist()),
    )
