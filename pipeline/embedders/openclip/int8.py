"""Linear layers on 8-bit weights, for CPUs. Imports torch.

Weights are rounded to 8 bits per output channel; activations on the fly, each row by its own
range, so that a vector does not depend on what else is in its batch. To 8 bits where the processor
adds the products exactly (VNNI), else to 7: it then adds two of them in 16 bits, which 8 bits
overflow. Seven turn the vectors of texts too far, so that only images get them. Everything
between the linear layers stays float32.
"""

import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from timm.layers.patch_embed import PatchEmbed
from timm.models.vision_transformer import Block
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer

from pipeline.embedders.openclip.blocks import SelfAttention

logger = logging.getLogger(__name__)

_WEIGHT_LEVELS = 127  # on either side of zero
_LEAST_STEP = 1e-30  # of a row that is the same throughout, and of an output that is all zero


@functools.cache
def has_exact_products() -> bool:
    """Whether this processor adds products of 8 bits without overflow: it is tried, not looked up.

    oneDNN may be told to leave out what the processor has (``ONEDNN_MAX_CPU_ISA``).
    """
    packed = torch.ops.onednn.qlinear_prepack(torch.full((64, 256), 127, dtype=torch.int8), None)
    rows = torch.full((64, 256), 255, dtype=torch.uint8)
    return bool((_product(rows, packed, torch.ones(64)) == 255 * 127 * 256).all())


def _product(rows: torch.Tensor, packed: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """rows (n, in), uint8, times a packed weight (out, in), int8, times scale (out,): float32."""
    product: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
        rows,
        1.0,  # scale and zero point of the input: none, since each row has its own
        0,
        packed,
        scale,
        torch.zeros(len(scale), dtype=torch.int32),
        None,
        1.0,
        0,
        torch.float32,
        "none",
        [],
        "",
    )
    return product


class Int8Linear(torch.nn.Module):
    """``torch.nn.Linear`` with a weight (out, in) of 8 bits, and float32 in and out.

    Args:
        weight: (out, in), already rounded.
        scale: (out,), what one step of each row of ``weight`` stands for.
        bias: (out,).
    """

    # OpenCLIP asks its blocks for the type of what goes in, and has this name for it.
    int8_original_dtype = torch.float32

    def __init__(
        self, weight: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None
    ) -> None:
        super().__init__()
        self._out = len(weight)
        self._levels = 255 if has_exact_products() else 127  # from a row's least to its greatest
        self._packed = torch.ops.onednn.qlinear_prepack(weight.contiguous(), None)
        self._scale = scale.contiguous()
        self._bias = torch.zeros(self._out) if bias is None else bias
        # What a row of ones gives: the share of the rows' least values.
        self._ones = weight.sum(1, dtype=torch.int32) * scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From (..., in) to (..., out)."""
        rows = x.reshape(-1, x.shape[-1])
        # x = least + step * steps, hence x W = least * (1 W) + step * (steps W).
        least, most = rows.amin(-1, keepdim=True), rows.amax(-1, keepdim=True)
        step = (most - least).div_(self._levels).clamp_(min=_LEAST_STEP)
        inverse = step.reciprocal()
        middle = (self._levels + 1) // 2
        steps = (rows * inverse).sub_(least * inverse + middle).round_()
        # By way of int8, which torch converts to ten times as fast as to uint8.
        eight = steps.to(torch.int8).view(torch.uint8).add_(middle)
        y = _product(eight, self._packed, self._scale)
        y = y.mul_(step).add_(self._bias).addr_(least[:, 0], self._ones)
        return y.view(*x.shape[:-1], self._out)


class Int8Patches(torch.nn.Module):
    """A convolution without overlaps, which is a linear layer over patches."""

    def __init__(self, convolution: torch.nn.Conv2d) -> None:
        super().__init__()
        self._height, self._width = convolution.kernel_size
        self._linear = _Weight(convolution.weight.flatten(1), convolution.bias).layer()

    @staticmethod
    def fits(module: torch.nn.Module) -> bool:
        return (
            type(module) is torch.nn.Conv2d
            and module.kernel_size == module.stride
            and module.padding == (0, 0)
            and module.dilation == (1, 1)
            and module.groups == 1
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From (n, channels, height, width) to (n, out, rows, columns) of patches."""
        n, channels, height, width = x.shape
        rows, columns = height // self._height, width // self._width
        inside = x[:, :, : rows * self._height, : columns * self._width]
        cut = inside.reshape(n, channels, rows, self._height, columns, self._width)
        patches = cut.permute(0, 2, 4, 1, 3, 5).reshape(n, rows, columns, -1)
        of_patches: torch.Tensor = self._linear(patches)
        return of_patches.permute(0, 3, 1, 2)


class _Weight:
    """A float weight (out, in) rounded once, of which any rows make a layer."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._scale = weight.abs().amax(1).div_(_WEIGHT_LEVELS).clamp_(min=_LEAST_STEP)
        self._weight = (weight / self._scale[:, None]).round_().to(torch.int8)
        self._bias = bias

    def layer(self, begin: int = 0, end: int | None = None) -> Int8Linear:
        bias = None if self._bias is None else self._bias[begin:end]
        return Int8Linear(self._weight[begin:end], self._scale[begin:end], bias)


class Int8SelfAttention(SelfAttention):
    """``SelfAttention`` on 8-bit weights; takes the float one's place."""

    def __init__(self, attention: SelfAttention) -> None:
        torch.nn.Module.__init__(self)
        self._heads = attention._heads
        self._of_a_head = attention._of_a_head
        self._out = attention._out
        self._rounded = _Weight(attention._weight, attention._bias)
        self._layers: dict[tuple[int, int], Int8Linear] = {}

    def project(self, x: torch.Tensor, first: int = 0, last: int = 3) -> torch.Tensor:
        """As the float one's; the last block of a tower asks for parts, the others for all."""
        if (first, last) not in self._layers:
            width = x.shape[-1]
            self._layers[first, last] = self._rounded.layer(first * width, last * width)
        projected: torch.Tensor = self._layers[first, last](x)
        return projected


def use_int8(module: torch.nn.Module) -> bool:
    """Put 8-bit layers in place in every transformer block of OpenCLIP's and timm's.

    Without exact products in those of the image tower alone. What projects the features stays
    float32, and without exact products what embeds the patches too.

    Returns:
        Whether the model has such a block at all.
    """
    exact = has_exact_products()
    every = list(_blocks(module))
    blocks = every if exact else list(_blocks(getattr(module, "visual", module)))
    for block in blocks:
        # Layers first: what attends to itself takes its own along.
        _replace(block, torch.nn.Linear, lambda f: _Weight(f.weight, f.bias).layer())
        _replace(block, SelfAttention, Int8SelfAttention)
    if exact:
        for owner, name in list(_patch_embeddings(module)):
            if Int8Patches.fits(getattr(owner, name)):
                setattr(owner, name, Int8Patches(getattr(owner, name)))
    elif len(blocks) < len(every):
        logger.info("This processor has no VNNI: texts stay in float32.")
    return bool(every)


def _blocks(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    return (m for m in module.modules() if isinstance(m, ResidualAttentionBlock | Block))


def _patch_embeddings(module: torch.nn.Module) -> Iterator[tuple[torch.nn.Module, str]]:
    """Those of towers that have such blocks: whose they are, and their names there."""
    for tower in module.modules():
        if isinstance(tower, VisionTransformer) and any(_blocks(tower)):
            yield tower, "conv1"
        patches = tower.patch_embed if isinstance(tower, TimmVisionTransformer) else None
        if isinstance(patches, PatchEmbed) and any(_blocks(tower)):
            yield patches, "proj"


def _replace(
    block: torch.nn.Module,
    kind: type[torch.nn.Module],
    make: Callable[[Any], torch.nn.Module],
) -> None:
    for parent in list(block.modules()):
        # torch's own attention reads the weights of its layers instead of calling them.
        if isinstance(parent, torch.nn.MultiheadAttention):
            continue
        for name, child in list(parent.named_children()):
            if isinstance(child, kind):
                setattr(parent, name, make(child))
