"""What kind of image tower a model has. Imports torch."""

from typing import Any

import torch
from open_clip.transformer import VisionTransformer
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer


def tokens_of_an_image(module: torch.nn.Module) -> int | None:
    """How many tokens each block of the image tower sees of one image; None: it is no plain ViT.

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


def images_at_once(module: torch.nn.Module) -> int:
    """How many images have about the tokens of 32 for a ViT-B/32, which keep a CPU busy.

    With more, the outputs of layers leave its caches, and are too large for the heap to keep.
    """
    tokens = tokens_of_an_image(module)
    return 32 if tokens is None else max(1, min(32, _TOKENS_AT_ONCE // tokens))


_TOKENS_AT_ONCE = 32 * 50
