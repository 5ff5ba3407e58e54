"""How large an HNSW index would be if it were built anew: what is beyond is room for rows to come.

pgvector keeps of a row two tuples, its vector and its links, on a page together where they fit.
The sizes are those of its ``HnswElementTupleData`` and ``HnswNeighborTupleData`` (src/hnsw.h).
"""

from pipeline.postgres.connections import Connection, fetch_one
from pipeline.spaces.space import Space

PAGE = 8192
# Less its header and what pgvector keeps at its end.
ON_A_PAGE = PAGE - 24 - 8
LINE_POINTER = 4
# Before the vector: kind, level, the places of up to ten rows of this vector, that of its links.
ELEMENT, LINKS = 72, 4
LINK = 6
BYTES_OF_A_NUMBER = {"halfvec": 2, "vector": 4}


def _aligned(size: int) -> int:
    return -(-size // 8) * 8


def whole_bytes(space: Space, rows: int) -> int:
    """Of an index over so many rows, right after it was built; a little less than it takes, since
    one row in ``m`` has links on further levels."""
    vector = 8 + BYTES_OF_A_NUMBER[space.vector_type] * space.dimensions
    element = _aligned(ELEMENT + vector) + LINE_POINTER
    links = _aligned(LINKS + LINK * 2 * space.hnsw_m) + LINE_POINTER
    together = ON_A_PAGE // (element + links)
    if together:
        return -(-rows // together) * PAGE
    # Where one page does not hold both, the links lie on pages of their own.
    return rows * PAGE + -(-rows // (ON_A_PAGE // links)) * PAGE


def index_sizes(connection: Connection, space: Space, modality: str) -> tuple[int, int] | None:
    """Bytes that the index takes, and rows of its table as the statistics have them; None: it has
    no index."""
    found = fetch_one(
        connection.execute(
            """
            SELECT pg_relation_size(to_regclass(%s)),
                greatest(c.reltuples, pg_stat_get_live_tuples(c.oid))::bigint
            FROM (SELECT to_regclass(%s)) AS t (oid) LEFT JOIN pg_class AS c ON c.oid = t.oid
            """,
            (space.index_name(modality), space.table_name(modality)),
        )
    )
    size, rows = found
    return None if size is None or rows is None else (int(size), int(rows))
