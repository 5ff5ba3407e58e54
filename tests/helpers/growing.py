"""A space whose images grow: two cones, and what a search function finds in the second."""

from dataclasses import dataclass

import numpy as np

from pipeline import spaces
from pipeline.postgres.connections import Connection
from pipeline.spaces import Space, probes
from pipeline.vectors import Vectors
from tests.helpers.fakes import FakeEmbedder
from tests.helpers.power_law import PowerLaw
from tests.helpers.two_cones import as_stored, store

DIMENSIONS = 32
MADE = PowerLaw(DIMENSIONS)
FIRST_TEXT, FIRST_IMAGE = 1_000_001, 2_000_001  # their source ids
TARGET = 0.95
# So sparse a graph has to be looked through further and further as it grows.
GRAPH = {"hnsw_m": 8, "hnsw_ef_construction": 24}
TEXTS = 200  # to measure with


@dataclass
class Growing:
    """The active space, with some texts, and as many images as it was told."""

    connection: Connection
    space: Space
    count: int = 0

    def grow(self, count: int) -> None:
        """Until there are so many images, written past the queue, as COPY or an import does."""
        images = np.concatenate(list(MADE.images(count)))[self.count :]
        self._store("image", images, FIRST_IMAGE + self.count)
        if not self.count:
            self._store("text", np.concatenate(list(MADE.texts(TEXTS))), FIRST_TEXT)
        self.count = count

    def _store(self, modality: str, rows: Vectors, first: int) -> None:
        store(self.connection, self.space, modality, rows, first_source_id=first)

    def recall(self, queries: int = 100) -> float:
        """Of ``search_items()``, by texts for images, which are those of no measurement."""
        images = as_stored(np.concatenate(list(MADE.images(self.count))))
        shares = []
        for query in as_stored(MADE.queries(queries)):
            expected = np.argsort(-images @ query)[:10] + FIRST_IMAGE
            rows = self.connection.execute(
                "SELECT source_id FROM search_items(embedding => %s::halfvec, k => 10, "
                "modality => '{image}', query_modality => 'text')",
                (shown(query),),
            ).fetchall()
            shares.append(len({row[0] for row in rows} & set(expected.tolist())) / 10)
        return float(np.mean(shares))


def shown(vector: Vectors) -> str:
    return "[" + ",".join(map(repr, vector.tolist())) + "]"


def make_growing(connection: Connection, name: str = "grows", **graph: int) -> Growing:
    """An empty one, which is active."""
    embedder = FakeEmbedder(DIMENSIONS)
    space = spaces.create(connection, name, embedder, **(graph or GRAPH))
    probes.store(connection, space, embedder)
    return Growing(connection, spaces.activate(connection, space, min_coverage=0))
