"""Depth: images whose values are distances."""

from pipeline.modalities.single_channel import SingleChannel


class Depth(SingleChannel):
    """A distance for each pixel, in millimetres; 0 where none was measured.

    8 bits are refused: no two programs mean the same by them.
    """

    name = "depth"
    description = "An image whose values are distances."
    columns = ("depth_path", "depth_url")
    bits = (16,)


DEPTH = Depth()

__all__ = ["DEPTH"]
