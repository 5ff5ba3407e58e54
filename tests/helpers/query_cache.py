"""Texts whose vectors are in the cache of queries, so that none has to be embedded."""

from pipeline.postgres.connections import Connection
from pipeline.spaces import Space


def remember(connection: Connection, space: Space, query: str, vector: object) -> None:
    """As if ``query`` had been searched for; ``vector`` as a list, or as halfvec writes it."""
    connection.execute(
        "INSERT INTO query_embeddings (space_id, query_sha256, query, embedding, embedded_at) "
        "VALUES (%s, query_key(%s), %s, %s::halfvec, now())",
        (space.id, query, query, str(vector)),
    )
