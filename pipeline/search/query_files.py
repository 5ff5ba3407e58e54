"""Files as queries: every statement on ``query_files`` that a server sends."""

from pipeline.postgres.connections import Connection
from pipeline.search.query_vectors import LEASE_SECONDS, REQUEST_SECONDS
from pipeline.vectors import Vectors


def claim(connection: Connection, space_id: int, limit: int) -> list[tuple[str, bytes]]:
    """Requests that nobody else works on: (id, content), one of each asker after the other."""
    rows = connection.execute(
        """
        WITH turns AS (
            SELECT id, requested_at, row_number() OVER (
                PARTITION BY asked_by, asked_from ORDER BY requested_at) AS turn
            FROM query_files
            WHERE space_id = %(space)s AND content IS NOT NULL
              AND requested_at > now() - make_interval(secs => %(patience)s)
        ),
        claimed AS MATERIALIZED (
            SELECT q.id
            FROM turns AS t JOIN query_files AS q ON q.id = t.id
            WHERE q.content IS NOT NULL AND (q.claimed_until IS NULL OR q.claimed_until < now())
            ORDER BY t.turn, t.requested_at LIMIT %(limit)s
            FOR UPDATE OF q SKIP LOCKED
        )
        UPDATE query_files AS q SET claimed_until = now() + make_interval(secs => %(lease)s)
        FROM claimed AS c WHERE q.id = c.id
        RETURNING q.id::text, q.content
        """,
        {"space": space_id, "limit": limit, "patience": REQUEST_SECONDS, "lease": LEASE_SECONDS},
        binary=True,
    ).fetchall()
    return [(key, bytes(content)) for key, content in rows]


def answer(connection: Connection, key: str, vector: Vectors | None, error: str | None) -> None:
    """Put the vector, or the refusal, in the place of the bytes."""
    connection.execute(
        """
        WITH answered AS MATERIALIZED (
            SELECT id FROM query_files WHERE id = %s::uuid AND content IS NOT NULL
            FOR UPDATE SKIP LOCKED  -- whoever asked is about to remove it
        )
        UPDATE query_files AS q SET content = NULL, embedding = %s::real[]::halfvec, error = %s
        FROM answered AS a WHERE q.id = a.id
        """,
        (key, None if vector is None else vector.tolist(), error),
    )


def forget(connection: Connection) -> None:
    """Remove what nobody came for; where nothing waits, the disk is given back."""
    connection.execute(
        """
        WITH old AS MATERIALIZED (
            SELECT id FROM query_files
            WHERE requested_at < now() - make_interval(secs => %s)
            FOR UPDATE SKIP LOCKED
        )
        DELETE FROM query_files AS q USING old WHERE q.id = old.id
        """,
        (REQUEST_SECONDS,),
    )
    connection.execute("SELECT empty_query_files()")
