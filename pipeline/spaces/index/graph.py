"""The two numbers that an HNSW graph is built by."""

from dataclasses import dataclass

from pipeline.errors import ConfigurationError

# Denser and denser, each for what the one before does not reach: docs/scaling.md has the figures.
DENSER = ((16, 64), (24, 128), (32, 200), (48, 200))
KINDS = ("full", "compact")


@dataclass(frozen=True, slots=True)
class Graph:
    """``m`` links of a vector (twice as many on the ground), by ``ef_construction`` candidates.

    Raises:
        ConfigurationError: pgvector builds no such graph.
    """

    m: int
    ef_construction: int

    def __post_init__(self) -> None:
        if not 2 <= self.m <= 100:
            raise ConfigurationError(f"m of HNSW is from 2 to 100, not {self.m}")
        least = max(4, 2 * self.m)
        if not least <= self.ef_construction <= 1000:
            raise ConfigurationError(
                f"ef_construction of HNSW is from {least} (twice m) to 1000, not "
                f"{self.ef_construction}"
            )

    def denser(self) -> "Graph | None":
        """What to build where this one does not reach a recall; None: there is nothing to gain."""
        for m, ef_construction in DENSER:
            if m > self.m or (m == self.m and ef_construction > self.ef_construction):
                return Graph(m, max(ef_construction, self.ef_construction))
        return None


@dataclass(frozen=True, slots=True)
class IndexKind:
    """What the indexes of a space are over.

    Attributes:
        name: ``full``: whole vectors; ``compact``: their leading coordinates by the space's
            rotation, whose candidates are ranked by whole vectors.
        dimensions: of a compact one; None: as many as a sample needs.

    Raises:
        ConfigurationError: there is no such kind.
    """

    name: str
    dimensions: int | None = None

    def __post_init__(self) -> None:
        if self.name not in KINDS:
            raise ConfigurationError(f"an index is {' or '.join(KINDS)}, not {self.name!r}")
        if self.dimensions is not None and self.name != "compact":
            raise ConfigurationError("only a compact index is over some of the dimensions")
