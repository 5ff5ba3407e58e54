"""Embed a batch so that one bad input costs one row: halve on trouble, down to a single input."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import (
    ModelError,
    OutOfMemory,
    PermanentRowError,
    RowError,
    TransientRowError,
)
from pipeline.vectors import Vectors

logger = logging.getLogger(__name__)

Result = npt.NDArray[np.float32] | RowError


def embed_isolating(
    embed: Callable[[Sequence[Any]], Vectors], inputs: Sequence[Any]
) -> list[Result]:
    """One result per input, in order: its unit vector (D,), or the error of that input alone.

    Out of memory halves the batch; so does any other error, until the input that causes it
    stands alone. A row that is no unit vector (NaN where the model gave no direction) fails that
    row.

    Raises:
        ModelError: the device is broken, or the model returns other than one row per input; no
            batch will succeed any more.
    """
    if not inputs:
        return []
    try:
        vectors = embed(inputs)
    except (ModelError, MemoryError):
        raise
    except RowError as exc:
        if len(inputs) == 1:
            return [exc]
    except OutOfMemory as exc:
        if len(inputs) == 1:
            return [TransientRowError("out_of_memory", str(exc))]
        logger.info("out of memory with a batch of %d; halving it", len(inputs))
    except Exception as exc:
        if len(inputs) == 1:
            text = f"the model cannot embed this row: {type(exc).__name__}: {exc}"
            return [TransientRowError("embed_failed", text)]
    else:
        if vectors.ndim != 2 or len(vectors) != len(inputs):
            raise ModelError(
                f"the model returned {vectors.shape} for {len(inputs)} inputs; nothing of it is "
                "written, since no vector can be told from its neighbour's"
            )
        # The tables' CHECK allows 1 %, halfvec's rounding included; NaN fails the comparison too.
        is_unit = np.abs(np.linalg.norm(vectors, axis=1) - 1.0) < 0.005
        return [
            vector
            if good
            else PermanentRowError(
                "bad_vector", "the model gave no direction for this row (zero or NaN output)"
            )
            for vector, good in zip(vectors, is_unit, strict=True)
        ]
    middle = len(inputs) // 2
    return embed_isolating(embed, inputs[:middle]) + embed_isolating(embed, inputs[middle:])
