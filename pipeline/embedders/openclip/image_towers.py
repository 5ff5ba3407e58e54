"""What kind of image tower a model has. Imports torch."""

from typing import Any

import torch
from open_clip.transformer import VisionTransformer
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer


def tokens_of_a_picture(module: torch.nn.Module) -> int | None:
    """How many tokens each block of the image tower sees of one picture; None: it is no plain ViT.

    A Swin's number falls from stage to stage, and a convolutional network has none.
    """
    visual: Any = getattr(module, "visual", None)
    if isinstance(visual, VisionTransformer):
        return len(visual.positional_embedding)
    trunk = getattr(visual, "trunk", None)
    if isinstance(trunk, TimmVisionTransformer | Eva):
        patches: Any = trunk.patch_embed
        return int(patches.num_patches)
    return None
