"""One vector for the whole of some content: what queries and probes need, and items never do."""

from collections.abc import Sequence

import numpy as np

from pipeline.modalities import Encoder, Part, Role
from pipeline.vectors import Vectors, unit_rows


def embed_whole(encoder: Encoder, contents: Sequence[Sequence[Part]], role: Role) -> Vectors:
    """The mean direction of each content's parts: unit rows, float32, shape (n, dimensions).

    A row is NaN throughout where a part has no direction.

    Raises:
        RowError: a part cannot be prepared.
    """
    rows = encoder.embed(encoder.prepare([p.content for parts in contents for p in parts]), role)
    pieces = np.split(rows, np.cumsum([len(parts) for parts in contents])[:-1])
    return unit_rows(np.stack([piece.mean(axis=0) for piece in pieces])) if len(rows) else rows
