"""Our table behind the calls of `benchmarks.peer_stores`, at the levels at which it is used."""

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from psycopg import sql

from benchmarks.filter_data import copied
from benchmarks.harness import FreeDescription, FreeEmbedder
from benchmarks.peer_stores import InPostgres, K, Store, labels
from pipeline import spaces
from pipeline.postgres import migrate
from pipeline.postgres.arrays import allow_packed
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.steps import on
from pipeline.postgres.vector_arrays import pack_vector
from pipeline.search.retrieve import Probe, Wanted, items
from pipeline.vectors import Vectors

SOURCES = """
INSERT INTO source_items (id, source, source_key, modality, content_ref, metadata)
OVERRIDING SYSTEM VALUE
SELECT v.id + 1, 'images', v.id::text, 'image', '/images/' || v.id || '.jpg', labels
FROM staged AS v JOIN said USING (id) ORDER BY v.id
"""
ITEMS = """
INSERT INTO {} (source_id, modality, content_ref, metadata, space_id, content_sha256, embedding)
SELECT s.id, 'image', s.content_ref, s.metadata, {}, sha256(convert_to(s.content_ref, 'UTF8')),
    v.embedding
FROM staged AS v JOIN source_items AS s ON s.id = v.id + 1 ORDER BY v.id
"""
PLAIN = """
SELECT source_id FROM multimodal_items WHERE modality = 'image'
ORDER BY embedding <=> %s::halfvec LIMIT 10
"""
FILTERED = """
SELECT source_id FROM multimodal_items WHERE modality = 'image' AND metadata @> %s::jsonb
ORDER BY embedding <=> %s::halfvec LIMIT 10
"""
FUNCTION = """
SELECT source_id FROM search_items(embedding => %s::halfvec, query_modality => 'text',
    modality => '{image}', filter => %s::jsonb)
"""


def filter_of(share: str) -> dict[str, bool]:
    return {} if share == "all" else {share: True}


class Ours(InPostgres):
    """What all levels share: the table, and a connection a thread."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, url)
        self.local = threading.local()
        self.ef_search = 0

    def fill(self, vectors: Vectors) -> None:
        migrate.upgrade(self.url)
        dimensions = vectors.shape[1]
        with connect(self.url) as connection:
            connection.execute("DROP TRIGGER source_items_inserted ON source_items")  # no jobs
            embedder = FreeEmbedder(dimensions=dimensions, table=1)
            embedder.description = FreeDescription(
                model="free",
                dimensions=dimensions,
                precision="float32",
                weights_sha256="free",
                context_length=77,
            )
            space = spaces.create(connection, "free", embedder)
            copied(connection, iter([vectors]), dimensions)
            connection.execute("CREATE TABLE said (id bigint, labels jsonb)")
            with connection.cursor().copy("COPY said FROM STDIN") as copy:
                for row in enumerate(labels(len(vectors))):
                    copy.write_row((row[0], json.dumps(row[1])))
            connection.execute(SOURCES)
            connection.execute(sql.SQL(ITEMS).format(space.table("image"), sql.Literal(space.id)))
            connection.execute("DROP TABLE staged, said")
            spaces.build_indexes(connection, space)
            spaces.activate(connection, space, min_coverage=0)
            connection.execute("SELECT FROM refresh_space_statistics()")
            connection.execute("VACUUM ANALYZE")

    def connection(self, ef_search: int) -> Connection:
        """This thread's, with so wide a search by plain SQL and by functions."""
        if getattr(self.local, "connection", None) is None:
            self.local.connection = connect(self.url)
            allow_packed(self.local.connection)
            self.local.connection.execute("SET client_min_messages = warning")
            self.local.ef_search = 0
        connection: Connection = self.local.connection
        if self.local.ef_search != ef_search:
            connection.execute("SELECT set_config('hnsw.ef_search', %s, false)", (str(ef_search),))
            # What a measurement would have stored, and what is looked up at each search.
            connection.execute("UPDATE embedding_spaces SET ef_search = %s", (ef_search,))
            self.local.ef_search = ef_search
        return connection


class OursBySql(Ours):
    """A prepared statement and vectors in pgvector's binary form."""

    def search(self, query: Vectors, share: str, ef_search: int) -> Sequence[int]:
        connection = self.connection(ef_search)
        vector = pack_vector(query, "halfvec")
        if share == "all":
            rows = connection.execute(PLAIN, (vector,), prepare=True, binary=True)
        else:
            given = (json.dumps(filter_of(share)), vector)
            rows = connection.execute(FILTERED, given, prepare=True, binary=True)
        return [row[0] - 1 for row in rows.fetchall()]


class OursByFunction(Ours):
    """search_items(), prepared, with a binary vector."""

    def search(self, query: Vectors, share: str, ef_search: int) -> Sequence[int]:
        rows = self.connection(ef_search).execute(
            FUNCTION,
            (pack_vector(query, "halfvec"), json.dumps(filter_of(share))),
            prepare=True,
            binary=True,
        )
        return [row[0] - 1 for row in rows.fetchall()]


class OursByClient(Ours):
    """As the Python client asks: documents with metadata and similarities."""

    def search(self, query: Vectors, share: str, ef_search: int) -> Sequence[int]:
        wanted = Wanted(k=K, modality=("image",), metadata=filter_of(share))
        found = on(self.connection(ef_search), items(Probe(query, of_modality="text"), wanted))
        return [neighbour.source_id - 1 for neighbour in found]


LEVELS: dict[str, Callable[[Path, str], Store]] = {
    "ours, SQL": OursBySql,
    "ours, search_items()": OursByFunction,
    "ours, Python client": OursByClient,
}
