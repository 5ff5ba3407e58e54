"""A decoded frame -> the upright RGB image that a player would show."""

from fractions import Fraction
from typing import Any

import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation
from numpy.typing import NDArray
from PIL import Image

from pipeline.modalities.video.shots import HEIGHT, WIDTH, Small

_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
_HD = 720  # lines from which a film that does not say so has the colours of BT.709
_WIDEST = 10  # pixels that are taller or wider than that are a damaged header


def small_copy(frame: VideoFrame) -> Small:
    """As the shots are found with: (72, 128, 3), RGB."""
    small = frame.reformat(
        WIDTH, HEIGHT, "rgb24", **_colours(frame), interpolation=Interpolation.AREA
    )
    return np.asarray(small.to_ndarray(), np.uint8)


def upright(frame: VideoFrame, aspect: Fraction | None) -> Image.Image:
    """In RGB, its pixels square and turned as the film says.

    Args:
        aspect: of a pixel, width by height; None or 0: not said.
    """
    width = frame.width
    if aspect and Fraction(1, _WIDEST) <= aspect <= _WIDEST:
        width = max(1, round(width * aspect))
    rgb = frame.reformat(width, frame.height, "rgb24", **_colours(frame))
    return Image.fromarray(np.ascontiguousarray(_turned(rgb.to_ndarray(), display_matrix(frame))))


def _colours(frame: VideoFrame) -> dict[str, Any]:
    if frame.colorspace != _UNSPECIFIED:
        return {}
    return {"src_colorspace": Colorspace.ITU709 if frame.height >= _HD else Colorspace.ITU601}


def display_matrix(frame: VideoFrame) -> tuple[int, int, int, int] | None:
    """(a, b, c, d): a point (x, y) of the frame is shown at (a x + c y, b x + d y)."""
    side_data: Any = frame.side_data  # by enumeration, too, which its types do not say
    found = side_data.get(SideDataType.DISPLAYMATRIX)
    if found is None:
        return None
    numbers = np.frombuffer(bytes(found), np.int32)
    return (int(numbers[0]), int(numbers[1]), int(numbers[3]), int(numbers[4]))


def _turned(pixels: NDArray[Any], matrix: tuple[int, int, int, int] | None) -> NDArray[Any]:
    """By the nearest quarter turn, and mirrored where the matrix says so."""
    if matrix is None:
        return pixels
    a, b, c, d = matrix
    if abs(b) > abs(a):
        pixels = pixels.transpose(1, 0, 2)
        a, d = c, b
    if a < 0:
        pixels = pixels[:, ::-1]
    return pixels[::-1] if d < 0 else pixels
