"""What the indexes of a space are over, in words."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.spaces import Space


def index_shown(space: "Space") -> str:
    """``full``, or ``compact (64 of 512 dimensions)``."""
    if space.compact_dimensions is None:
        return "full"
    return f"compact ({space.compact_dimensions} of {space.dimensions} dimensions)"
