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
from pipeline.modalities import Encoder
from pipeline.vectors import Vectors

logger = logging.getLogger(__name__)

Result = npt.NDArray[np.float32] | RowError

# The tables' CHECK allows 1 %, halfvec's rounding included.
LENGTH_TOLERANCE = 0.005


def most_inputs(encoder: Encoder) -> int:
    """How many inputs the encoder takes in one call.

    Raises:
        ModelError: none, so that no input would ever be embedded.
    """
    most = encoder.most_inputs
    if most < 1:
        raise ModelError(f"an encoder's most_inputs is at least 1; that of this model is {most}")
    return most


def tells_roles(encoder: Encoder) -> bool:
    """Whether a query and an item of the same content have different vectors."""
    return bool(getattr(encoder, "tells_roles", False))


def loads_late(encoder: Encoder) -> bool:
    """Whether the encoder's part of the model is loaded when its first input comes."""
    return bool(getattr(encoder, "loads_late", False))


def check_count(vectors: Vectors, inputs: int) -> None:
    """Refuse vectors that are not one row per input, since none can be told from the next one's.

    Raises:
        ModelError: naming the shape.
    """
    shape = np.shape(vectors)
    if len(shape) != 2 or shape[0] != inputs:
        raise ModelError(
            f"the model returned {shape} for {inputs} inputs; nothing of it is used, since no "
            "vector can be told from its neighbour's"
        )


def lengths(vectors: Vectors) -> npt.NDArray[np.float64]:
    """Each row's length (L2), shape (n,); NaN where the model gave the row no direction."""
    with np.errstate(over="ignore"):
        found = np.linalg.norm(np.asarray(vectors, dtype=np.float64), axis=1)
    return np.where(np.isfinite(found) & (found > 0), found, np.nan)


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
        check_count(vectors, len(inputs))
        return [
            _checked(vector, length)
            for vector, length in zip(vectors, lengths(vectors), strict=True)
        ]
    middle = len(inputs) // 2
    return embed_isolating(embed, inputs[:middle]) + embed_isolating(embed, inputs[middle:])


def _checked(vector: npt.NDArray[np.float32], length: float) -> Result:
    if abs(length - 1.0) < LENGTH_TOLERANCE:
        return vector
    if np.isnan(length):
        wrong = "no direction for this row (zero or NaN output)"
    else:
        wrong = f"this row a vector of length {length:.4}, where an encoder gives unit rows"
    return PermanentRowError("bad_vector", f"the model gave {wrong}")
