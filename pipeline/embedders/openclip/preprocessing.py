"""How a model wants its images: read off its checkpoint, done by ``Fit``. Imports torch."""

import torch
from open_clip.transform import PreprocessCfg, merge_preprocess_dict

from pipeline.embedders.openclip.checkpoints import Checkpoint
from pipeline.errors import ModelError
from pipeline.modalities.image.fitting import Fit


def preprocess_config(checkpoint: Checkpoint, module: torch.nn.Module) -> PreprocessCfg:
    """Size, crop, mean and standard deviation of the images, from the checkpoint and the model.

    Raises:
        ModelError: the configuration names something that OpenCLIP does not know.
    """
    values = merge_preprocess_dict(PreprocessCfg(), checkpoint.preprocess_config)
    size = getattr(module.visual, "image_size", values["size"])
    values["size"] = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    known = {
        "interpolation": ("bicubic", "bilinear", "random"),
        "resize_mode": ("shortest", "longest", "squash"),
        "mode": ("RGB",),
    }
    for name, choices in known.items():
        if values[name] not in choices:
            raise ModelError(
                f"preprocess_cfg of {checkpoint.weights.parent}: {name} is {values[name]!r}; "
                f"OpenCLIP knows {', '.join(choices)}"
            )
    for name in ("mean", "std"):
        given = values[name]
        values[name] = tuple(given) if isinstance(given, (tuple, list)) else (given,) * 3
    return PreprocessCfg(**values)


def fit_of(preprocess: PreprocessCfg) -> Fit:
    """The resizing and cropping of this configuration."""
    height, width = preprocess.size
    return Fit(
        height=height,
        width=width,
        mode=preprocess.resize_mode,
        interpolation=preprocess.interpolation,
        fill=preprocess.fill_color,
    )
