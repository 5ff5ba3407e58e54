"""What an OpenCLIP model is described by, beside what every description has."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.embedders.description import Description


@dataclass(frozen=True, kw_only=True)
class OpenClipDescription(Description):
    """One architecture with one checkpoint, its tokenizer and its image preprocessing.

    Attributes:
        architecture: OpenCLIP's name of the configuration, or ``custom``.
        architecture_config: OpenCLIP's ``model_cfg``.
        image_size: height and width in pixels.
        logit_scale: the trained temperature, ``exp()`` taken.
    """

    kind = "openclip"

    architecture: str
    architecture_config: Mapping[str, Any]
    image_size: tuple[int, int]
    text_is_causal: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"]
    resize_mode: Literal["shortest", "longest", "squash"]
    fill_color: int
    tokenizer: Mapping[str, Any]
    logit_scale: float
    logit_bias: float | None = None
    normalisation: str = "l2"
