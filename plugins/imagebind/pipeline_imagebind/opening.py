"""Opens an ImageBind. Imports torch and ImageBind."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ConfigurationError, ModelError

try:
    import torch  # noqa: F401 (the modules below need it)
    from imagebind import data
except ImportError as exc:
    raise ConfigurationError(
        f"ImageBind is not installed here ({exc}); see the README of "
        "pgvector-crossmodal-pipeline-imagebind"
    ) from exc

from pipeline.embedders.base import PRECISION_FLOOR
from pipeline.embedders.local.device import choose_device, fastest_precision
from pipeline.embedders.local.files import checked_sha256, sha256_of
from pipeline.embedders.local.fixed_inputs import TEXTS, images, least_cosine, sounds
from pipeline.modalities import AUDIO, DEPTH, IMAGE, IMU, TEXT, THERMAL, Encoder
from pipeline.vectors import Vectors
from pipeline_imagebind import encoders as seen
from pipeline_imagebind import measured
from pipeline_imagebind.description import ImageBindDescription
from pipeline_imagebind.model import Model
from pipeline_imagebind.spec import LICENCE

logger = logging.getLogger(__name__)

PRECISIONS = ("float32", "bfloat16")
_PREPROCESSING: Mapping[str, Mapping[str, Any]] = {
    IMAGE.name: {"side": seen.SIDE, "mean": seen.MEAN, "std": seen.STD},
    AUDIO.name: {
        "rate": seen.SAMPLING_RATE,
        "seconds": seen.WINDOW_SECONDS,
        "clips": (seen.CLIPS, seen.CLIP_SECONDS),
        "mel": (seen.MEL_BINS, seen.MEL_FRAMES, seen.MEL_MEAN, seen.MEL_STD),
    },
    DEPTH.name: {
        "disparity": (measured.FOCAL_LENGTH, measured.BASELINE),
        "scale": (measured.DISPARITY_MEAN, measured.DISPARITY_STD),
        "metres": (measured.NEAREST, measured.FARTHEST),
    },
    THERMAL.name: {"percentiles": measured.PERCENTILES},
    IMU.name: {"rate": measured.IMU_RATE, "seconds": measured.IMU_SECONDS},
}


class ImageBindEmbedder:
    """One ImageBind: its description, and an encoder for each of its six modalities."""

    def __init__(
        self, spec: str, weights: Path, device: str, precision: str, batch: int, sha256: str
    ) -> None:
        chosen = choose_device(device)
        usual = 64 if chosen.type == "cuda" else 8
        model = Model(weights, chosen, precision, batch or usual)
        self.encoders: Mapping[str, Encoder] = {
            TEXT.name: seen.TextEncoder(model),
            IMAGE.name: seen.ImageEncoder(model),
            AUDIO.name: seen.AudioEncoder(model),
            DEPTH.name: measured.DepthEncoder(model),
            THERMAL.name: measured.ThermalEncoder(model),
            IMU.name: measured.ImuEncoder(model),
        }
        self.description = ImageBindDescription(
            model=spec,
            dimensions=model.dimensions,
            precision=precision,
            weights_sha256=sha256,
            context_length=seen.CONTEXT,
            tokenizer_sha256=sha256_of(Path(data.return_bpe_path())),
            preprocessing=_PREPROCESSING,
            licence=LICENCE,
        )

    def embed_fixed_inputs(self) -> Vectors:
        """The vectors by which two precisions of the model are compared."""
        return np.concatenate(
            [
                self.encoders[name].embed(self.encoders[name].prepare(contents))
                for name, contents in _fixed().items()
            ]
        )


def opened(
    spec: str, weights: Path, device: str, precision: str, batch: int, sha256: str | None
) -> ImageBindEmbedder:
    """See ``Family.open``."""
    if precision not in ("auto", *PRECISIONS):
        raise ConfigurationError(
            f"ImageBind runs in {' or '.join(PRECISIONS)}, not in {precision}; set "
            "PIPELINE_PRECISION=auto"
        )
    found = checked_sha256(weights, sha256)

    def load(chosen: str) -> ImageBindEmbedder:
        return ImageBindEmbedder(spec, weights, device, chosen, batch, found)

    if precision != "auto":
        return load(precision)
    exact = load("float32")
    if fastest_precision(choose_device(device)) != "bfloat16":
        return exact
    expected = exact.embed_fixed_inputs()
    lower = load("bfloat16")
    cosine = least_cosine(expected, lower.embed_fixed_inputs())
    if cosine >= PRECISION_FLOOR:
        return lower
    logger.warning(
        "The model does not bear the fastest precision and runs in float32.",
        extra={"precision": "bfloat16", "cosine": cosine, "floor": PRECISION_FLOOR},
    )
    return exact


def opened_new(spec: str, weights: Path, device: str, precision: str) -> ImageBindEmbedder:
    """See ``Family.open_new``."""
    if precision == "bfloat16":
        cosine = cosine_to_float32(spec, weights, precision, device)
        if cosine < PRECISION_FLOOR:
            raise ModelError(
                f"{spec} does not bear {precision}: its vectors have a cosine of {cosine:.6f} to "
                f"those of float32, and {PRECISION_FLOOR} is the least; set PIPELINE_PRECISION=auto"
            )
    return opened(spec, weights, device, precision, 0, None)


def cosine_to_float32(spec: str, weights: Path, precision: str, device: str) -> float:
    """See ``Family.cosine_to_float32``."""
    exact = opened(spec, weights, device, "float32", 0, None).embed_fixed_inputs()
    lower = opened(spec, weights, device, precision, 0, None).embed_fixed_inputs()
    return least_cosine(exact, lower)


def _fixed() -> dict[str, Sequence[Any]]:
    """Contents of each modality, the same every time."""
    noise = np.random.default_rng(0)
    return {
        TEXT.name: TEXTS,
        IMAGE.name: images(),
        AUDIO.name: sounds(seen.SAMPLING_RATE),
        DEPTH.name: [noise.integers(400, 6000, (240, 320), np.uint16)],
        THERMAL.name: [noise.integers(0, 256, (240, 320), np.uint8)],
        IMU.name: [noise.normal(size=(2000, 6)).astype(np.float32)],
    }
