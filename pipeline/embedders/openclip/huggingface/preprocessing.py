"""OpenCLIP's ``preprocess_cfg`` of a ``preprocessor_config.json`` that transformers wrote."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.embedders.local.hub import PREPROCESSING_FILES
from pipeline.errors import ModelError

# What CLIPImageProcessor does where a file says nothing.
_CLIP = {
    "do_resize": True,
    "do_center_crop": True,
    "do_rescale": True,
    "do_normalize": True,
    "size": {"shortest_edge": 224},
    "crop_size": 224,
    "resample": 3,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_SIGLIP = _CLIP | {
    "do_center_crop": False,
    "size": {"height": 224, "width": 224},
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
_RESAMPLE = {2: "bilinear", 3: "bicubic"}


def preprocess_config(folder: Path, kind: str, image_size: int) -> dict[str, Any]:
    """How the images are made to fit, as OpenCLIP says it.

    Args:
        kind: the ``model_type``.
        image_size: of the model, in pixels.

    Raises:
        ModelError: nothing in the folder says it, or it is something that OpenCLIP's transform
            does not do.
    """
    file = next((folder / name for name in PREPROCESSING_FILES if (folder / name).is_file()), None)
    if file is None:
        if kind == "siglip":  # the first one's images are bicubic, the second's bilinear
            raise ModelError(
                f"{folder} has no {PREPROCESSING_FILES[0]}, and how its images are resized is "
                "nowhere else; copy it there, or save the processor beside the model"
            )
        return _said(_CLIP, image_size, folder / PREPROCESSING_FILES[0], resize=image_size)
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        given = document.get("image_processor", document)
        values = (_SIGLIP if kind == "siglip" else _CLIP) | dict(given)
        return _said(values, image_size, file)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ModelError(f"{file} is no configuration of an image processor: {exc!r}") from exc


def _said(
    values: Mapping[str, Any], image_size: int, file: Path, resize: int | None = None
) -> dict[str, Any]:
    resized = resize or values["size"]
    cropped = (resize or values["crop_size"]) if values["do_center_crop"] else None
    height, width = _sides(resized)
    shortest = height is None
    square = (image_size, image_size)
    fits = (cropped is not None) if shortest else (height, width) == square
    if shortest and _shortest(resized) != image_size:
        fits = False
    if cropped is not None and _cropped(cropped) != square:
        fits = False
    if not (fits and values["do_resize"] and values["do_rescale"]):
        what = {n: values[n] for n in ("do_resize", "do_rescale", "do_center_crop", "size")}
        raise ModelError(
            f"{file}: images come out otherwise than the {image_size} x {image_size} pixels that "
            f"the model takes ({what}, crop_size {cropped}); save the processor of this model there"
        )
    if abs(values.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-6:
        raise ModelError(f"{file}: rescale_factor is {values['rescale_factor']}, and not 1/255")
    if values["resample"] not in _RESAMPLE:
        raise ModelError(
            f"{file}: resample is {values['resample']!r}; known are 2 (bilinear), 3 (bicubic)"
        )
    plain = not values["do_normalize"]
    return {
        "mean": [0.0] * 3 if plain else list(values["image_mean"]),
        "std": [1.0] * 3 if plain else list(values["image_std"]),
        "interpolation": _RESAMPLE[values["resample"]],
        "resize_mode": "shortest" if shortest else "squash",
    }


def _sides(size: Any) -> tuple[int | None, int | None]:
    """Height and width that an image is squashed to; None: by its shortest side."""
    if isinstance(size, Mapping) and "height" in size:
        return size["height"], size["width"]
    return None, None


def _shortest(size: Any) -> Any:
    return size.get("shortest_edge") if isinstance(size, Mapping) else size


def _cropped(size: Any) -> tuple[Any, Any]:
    return (size["height"], size["width"]) if isinstance(size, Mapping) else (size, size)
