"""Those one would pick instead, each behind the same three calls, for `benchmarks.peers`.

Every library is imported where it is used: none is a dependency of ours. Their tables are made by
themselves, as their documentation has it, filters as columns or metadata as theirs are.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.filter_data import copied, ranks
from pipeline.postgres.connections import connect, fetch_one
from pipeline.vectors import Vectors

K = 10
SHARES = {"all": 1.0, "tenth": 0.1, "hundredth": 0.01}
# The graph of all of them: that of a new space of ours.
M, EF_CONSTRUCTION = 24, 128
LANGCHAIN = """
INSERT INTO images (langchain_id, content, embedding, "all", tenth, hundredth)
SELECT ('00000000-0000-0000-0000-' || lpad(v.id::text, 12, '0'))::uuid, v.id::text,
    v.embedding::vector, labels ? 'all', labels ? 'tenth', labels ? 'hundredth'
FROM staged AS v JOIN said USING (id)
"""


def labels(rows: int) -> list[dict[str, bool]]:
    """Of each image: the shares that it is in."""
    return [
        {name: True for name, part in SHARES.items() if rank < part * rows} for rank in ranks(rows)
    ]


class Store(Protocol):
    """What is measured of each."""

    def fill(self, vectors: Vectors) -> None:
        """Store (n, D) unit rows, numbered from 0, and index them."""

    def search(self, query: Vectors, share: str, ef_search: int) -> Sequence[int]:
        """The numbers of the K nearest to a query (D,), of those in the share. From any thread."""

    def disk_bytes(self) -> int: ...


class Faiss:
    """HNSW in memory; filters by a selector of ids."""

    def __init__(self, _: Path, __: str) -> None:
        import faiss

        self.faiss = faiss
        self.selectors: dict[str, Any] = {}

    def fill(self, vectors: Vectors) -> None:
        self.index = self.faiss.IndexHNSWFlat(vectors.shape[1], M, self.faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = EF_CONSTRUCTION
        self.index.add(vectors)
        for share, part in SHARES.items():
            ids = np.flatnonzero(ranks(len(vectors)) < part * len(vectors))
            self.selectors[share] = self.faiss.IDSelectorBatch(ids)
        self.faiss.omp_set_num_threads(1)  # of a query: several come at once

    def search(self, query: Vectors, share: str, ef_search: int) -> Sequence[int]:
        chosen = {} if share == "all" else {"sel": self.selectors[share]}
        options = self.faiss.SearchParametersHNSW(efSearch=ef_search, **chosen)
        _, found = self.index.search(query[None], K, params=options)
        return [int(number) for number in found[0] if number >= 0]

    def disk_bytes(self) -> int:
        return 0


class Lance:
    """A table in a folder: IVF with an HNSW in each part, scalar quantised; filters first."""

    def __init__(self, folder: Path, _: str) -> None:
        import lancedb

        self.folder = folder / "lance"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.database = lancedb.connect(self.folder)

    def fill(self, vectors: Vectors) -> None:
        import pyarrow

        rank = ranks(len(vectors))
        columns: dict[str, Any] = {"id": np.arange(len(vectors))} | {
            share: rank < part * len(vectors) for share, part in SHARES.items()
        }
        columns["vector"] = pyarrow.FixedSizeListArray.from_arrays(
            pyarrow.array(vectors.ravel()), vectors.shape[1]
        )
        self.table = self.database.create_table("images", pyarrow.table(columns))
        self.table.create_index(
            metric="cosine", index_type="IVF_HNSW_SQ", m=M, ef_construction=EF_CONSTRUCTION
        )
        for share in SHARES:
            self.table.create_scalar_index(share, index_type="BITMAP")

    def search(self, query: Vectors, share: str, ef_search: int) -> Sequence[int]:
        asked = (
            self.table.search(query)
            .select(["id", "_distance"])
            .limit(K)
            .ef(ef_search)
            .refine_factor(2)
        )
        if share != "all":
            asked = asked.where(share, prefilter=True)
        return asked.to_arrow()["id"].to_pylist()  # type: ignore[no-any-return]

    def disk_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


class InPostgres:
    """A database of its own on the server that ours is on."""

    def __init__(self, _: Path, url: str) -> None:
        self.url = url
        with connect(url, schema=None) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public")

    def copy(self, vectors: Vectors, statement: str) -> None:
        """Over COPY and a statement, since filling is not what is measured here."""
        with connect(self.url, schema=None) as connection:
            connection.execute("SET search_path = public")
            copied(connection, iter([vectors]), vectors.shape[1])
            connection.execute("CREATE TABLE said (id bigint, labels jsonb)")
            with connection.cursor().copy("COPY said FROM STDIN") as copy:
                for row in enumerate(labels(len(vectors))):
                    copy.write_row((row[0], json.dumps(row[1])))
            connection.execute(statement.encode())
            connection.execute("DROP TABLE staged, said")
            connection.execute("VACUUM ANALYZE")

    def disk_bytes(self) -> int:
        with connect(self.url, schema=None) as connection:
            (size,) = fetch_one(connection.execute("SELECT pg_database_size(current_database())"))
            return int(size)


class Langchain(InPostgres):
    """langchain-postgres' PGVectorStore, labels as columns of its own."""

    def fill(self, vectors: Vectors) -> None:
        from langchain_core.embeddings import Embeddings
        from langchain_postgres import Column, PGEngine, PGVectorStore
        from langchain_postgres.v2.indexes import HNSWIndex, HNSWQueryOptions

        class Nothing(Embeddings):
            def embed_documents(self, texts: list[str]) -> list[list[float]]:
                raise NotImplementedError

            def embed_query(self, text: str) -> list[float]:
                raise NotImplementedError

        engine = PGEngine.from_connection_string(
            self.url.replace("postgresql://", "postgresql+psycopg://")
        )
        engine.init_vectorstore_table(
            "images",
            vectors.shape[1],
            metadata_columns=[Column(share, "boolean") for share in SHARES],
        )
        self.copy(vectors, LANGCHAIN)
        self.stores: dict[int, Any] = {}

        def store(ef_search: int) -> Any:
            if ef_search not in self.stores:
                self.stores[ef_search] = PGVectorStore.create_sync(
                    engine,
                    Nothing(),
                    "images",
                    metadata_columns=list(SHARES),
                    k=K,
                    index_query_options=HNSWQueryOptions(ef_search=ef_search),
                )
            return self.stores[ef_search]

        self.store = store
        store(40).apply_vector_index(HNSWIndex(m=M, ef_construction=EF_CONSTRUCTION))

    def search(self, query: Vectors, share: str, ef_search: int) -> Sequence[int]:
        found = self.store(ef_search).similarity_search_by_vector(
            query.tolist(), k=K, filter=None if share == "all" else {share: True}
        )
        return [int(document.page_content) for document in found]


class Vecs(InPostgres):
    """supabase/vecs' collection, labels in its metadata."""

    def fill(self, vectors: Vectors) -> None:
        import vecs

        # By psycopg2: its statements have parameters where the server takes none.
        url = self.url.replace("postgresql://", "postgresql+psycopg2://")
        client = vecs.create_client(url)
        self.collection = client.create_collection("images", vectors.shape[1])
        self.copy(
            vectors,
            "INSERT INTO vecs.images SELECT v.id::text, v.embedding::vector, labels "
            "FROM staged AS v JOIN said USING (id)",
        )
        self.collection.create_index(
            measure=vecs.IndexMeasure.cosine_distance,
            method=vecs.IndexMethod.hnsw,
            index_arguments=vecs.IndexArgsHNSW(m=M, ef_construction=EF_CONSTRUCTION),
        )

    def search(self, query: Vectors, share: str, ef_search: int) -> Sequence[int]:
        found = self.collection.query(
            query.tolist(),
            limit=K,
            filters=None if share == "all" else {share: {"$eq": True}},
            ef_search=ef_search,
        )
        return [int(number) for number in found]
