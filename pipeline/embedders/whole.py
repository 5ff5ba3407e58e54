"""One vector for the whole of some content: what queries and probes need, and items never do."""

from collections.abc import Sequence

import numpy as np

from pipeline.embedders.isolation import LENGTH_TOLERANCE, check_count, lengths
from pipeline.errors import ModelError
from pipeline.modalities import Encoder, Part, Role
from pipeline.vectors import Vectors, unit_rows


def embed_whole(encoder: Encoder, contents: Sequence[Sequence[Part]], role: Role) -> Vectors:
    """The mean direction of each content's parts: unit rows, float32, shape (n, dimensions).

    A row is NaN throughout where a part has no direction.

    Raises:
        RowError: a part cannot be prepared.
        ModelError: the encoder returns other than one unit row per part.
    """
    parts = [part.content for parts in contents for part in parts]
    rows = encoder.embed(encoder.prepare(parts), role)
    check_count(rows, len(parts))
    _check_lengths(rows)
    pieces = np.split(rows, np.cumsum([len(parts) for parts in contents])[:-1])
    return unit_rows(np.stack([piece.mean(axis=0) for piece in pieces])) if len(rows) else rows


def _check_lengths(rows: Vectors) -> None:
    found = lengths(rows)
    wrong = found[np.abs(found - 1.0) >= LENGTH_TOLERANCE]  # NaN is a row's own fault
    if len(wrong):
        raise ModelError(
            f"an encoder of the model gives vectors of length {wrong[0]:.4}, where it should give "
            "unit rows; let it end with pipeline.vectors.unit_rows()"
        )
