"""Items in two dimensions, by principal components: the modality gap made visible."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from psycopg import sql

from pipeline.errors import SpaceError
from pipeline.postgres.connections import Connection
from pipeline.postgres.vector_arrays import unpack_vector
from pipeline.quality.components import Plane, Points, largest_distance
from pipeline.quality.metrics import centred
from pipeline.spaces import Space
from pipeline.vectors import Vectors


@dataclass(frozen=True)
class Projection:
    """Points (n, 2) as stored and after each modality's mean is taken off; row i is one item.

    Attributes:
        gap: the largest distance between the means of two modalities, 0 to 2; None with one.
        explained: share of the variance that the two axes hold, before and after.
    """

    space: str
    modalities: list[str]
    labels: list[str]
    before: Points
    after: Points
    gap: float | None
    explained: tuple[float, float]


def project(connection: Connection, space: Space, sample: int) -> Projection:
    """Up to ``sample`` items per modality, chosen by a hash of their number: the same every time.

    Raises:
        SpaceError: fewer than three items.
    """
    modalities: list[str] = []
    labels: list[str] = []
    rows: list[Vectors] = []
    moved: list[Vectors] = []
    means: list[npt.NDArray[np.float32]] = []
    for modality in space.modalities:
        found = connection.execute(
            sql.SQL(
                "SELECT left(content_ref, 200), embedding FROM {} AS i "
                "ORDER BY hashint8(id), id LIMIT %s"
            ).format(space.rows(modality)),
            (sample,),
            binary=True,
        ).fetchall()
        if not found:
            continue
        vectors = np.stack([unpack_vector(bytes(data), space.vector_type) for _, data in found])
        means.append(vectors.mean(axis=0))
        modalities += [modality] * len(found)
        labels += [label for label, _ in found]
        rows.append(vectors)
        moved.append(centred(vectors, means[-1]))
    if len(modalities) < 3:
        raise SpaceError(
            f"the space {space.name!r} has {len(modalities)} items; a map needs at least 3"
        )
    before, explained_before = principal_components(np.concatenate(rows))
    after, explained_after = principal_components(np.concatenate(moved))
    return Projection(
        space=space.name,
        modalities=modalities,
        labels=labels,
        before=before,
        after=after,
        gap=largest_distance(means),
        explained=(explained_before, explained_after),
    )


def principal_components(rows: Vectors) -> tuple[Points, float]:
    """The rows (n, D) on their two main axes, (n, 2), and the share of the variance they hold."""
    # In double precision, since rows of any scale may be given.
    rows = rows.astype(np.float64)
    plane = Plane.of([rows])
    return plane.project(rows), plane.explained
