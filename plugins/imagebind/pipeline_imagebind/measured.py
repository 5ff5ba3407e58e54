"""Depth, heat and motion as ImageBind's towers take them.

ImageBind's own package prepares none of these three; README.md says where the numbers are from.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from imagebind.models.imagebind_model import ModalityType
from PIL import Image

from pipeline.modalities import Input
from pipeline_imagebind.encoders import SIDE, ModelEncoder

# A camera of this focal length (pixels, 640 across) and distance between its two eyes (metres):
# the first Kinect, with which most of the training images were taken.
FOCAL_LENGTH, BASELINE = 518.857901, 0.075
# Of disparity in pixels. The published 0.0418 and 0.0295 are of disparity / 75 over files whose
# values are eight times millimetres.
DISPARITY_MEAN, DISPARITY_STD = 0.0418 * 75 * 8, 0.0295 * 75 * 8
NEAREST, FARTHEST = 0.1, 50.0  # metres
# Of 16 bits of heat, what becomes black and white: the rest is a hot pixel or a cold one.
PERCENTILES = (1.0, 99.0)
IMU_RATE, IMU_SECONDS = 400, 5.0

Values = npt.NDArray[np.float32]


class DepthEncoder(ModelEncoder):
    """Millimetres as standardised disparity; where nothing was measured, its mean."""

    key = ModalityType.DEPTH

    def prepare(self, contents: Sequence[Input]) -> list[Input]:
        """float32, shape (1, 224, 224)."""
        return [self._prepare(values) for values in contents]

    def _prepare(self, values: Input) -> Input:
        metres = np.clip(values.astype(np.float32) / 1000, NEAREST, FARTHEST)
        disparity = np.float32(BASELINE * FOCAL_LENGTH) / metres
        scaled = (disparity - np.float32(DISPARITY_MEAN)) / np.float32(DISPARITY_STD)
        return _fitted(np.where(values == 0, np.float32(0), scaled))


class ThermalEncoder(ModelEncoder):
    """Heat from 0 to 1: of 8 bits the whole range, of 16 the one that the values fill."""

    key = ModalityType.THERMAL

    def prepare(self, contents: Sequence[Input]) -> list[Input]:
        """float32, shape (1, 224, 224)."""
        return [self._prepare(values) for values in contents]

    def _prepare(self, values: Input) -> Input:
        low, high = 0.0, 255.0
        if values.dtype != np.uint8:
            low, high = (float(found) for found in np.percentile(values, PERCENTILES))
        scaled = (values.astype(np.float32) - low) / max(high - low, 1.0)
        return _fitted(np.clip(scaled, 0, 1))


class ImuEncoder(ModelEncoder):
    """Five seconds of motion at 400 Hz; what is shorter is held at its end."""

    key = ModalityType.IMU
    sampling_rate = IMU_RATE
    seconds = IMU_SECONDS

    def prepare(self, contents: Sequence[Input]) -> list[Input]:
        """float32, shape (6, 2000)."""
        length = round(IMU_RATE * IMU_SECONDS)
        return [
            np.ascontiguousarray(
                np.pad(samples, ((0, length - len(samples)), (0, 0)), mode="edge").T
            )
            for samples in contents
        ]


def _fitted(values: Values) -> Input:
    """The shorter side to 224, and the middle of the longer, as images are fitted."""
    height, width = values.shape
    if width <= height:
        size = SIDE, max(SIDE, int(SIDE * height / width))
    else:
        size = max(SIDE, int(SIDE * width / height)), SIDE
    # A map of 1 x 30,000 would become one of 224 x 6.7 million: only what is kept is resized.
    left, top = (size[0] - SIDE) / 2, (size[1] - SIDE) / 2
    across, down = width / size[0], height / size[1]
    box = (left * across, top * down, (left + SIDE) * across, (top + SIDE) * down)
    image = Image.fromarray(values).resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
    return np.asarray(image, dtype=np.float32)[None]
