"""Linear layers on 8-bit weights, for CPUs. Imports torch, for ``pipeline.embedder`` alone.

Weights are rounded to 8 bits per output channel; activations to 7 bits on the fly, each row by its
own range, so that a vector does not depend on what else is in its batch. Seven, not eight: without
VNNI a processor adds two 8-bit products in 16 bits, which then overflow; with seven the sums are
exact integers on every processor. Everything between the linear layers stays float32.
"""

from collections.abc import Callable
from typing import Any

import torch
from open_clip.transformer import ResidualAttentionBlock
from timm.models.vision_transformer import Block

from pipeline.openclip.blocks import SelfAttention

_WEIGHT_LEVELS = 127  # on either side of zero
_INPUT_LEVELS = 127  # from a row's least to its greatest
_LEAST_STEP = 1e-30  # of a row that is the same throughout, and of an output that is all zero


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
        self._packed = torch.ops.onednn.qlinear_prepack(weight.contiguous(), None)
        self._scale = scale.contiguous()
        self._zero_points = torch.zeros(self._out, dtype=torch.int32)
        self._bias = torch.zeros(self._out) if bias is None else bias
        # What a row of ones gives: the share of the rows' least values.
        self._ones = weight.sum(1, dtype=torch.int32) * scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From (..., in) to (..., out)."""
        rows = x.reshape(-1, x.shape[-1])
        # x = least + step * steps, hence x W = least * (1 W) + step * (steps W).
        least, most = rows.amin(-1, keepdim=True), rows.amax(-1, keepdim=True)
        step = most.sub_(least).div_(_INPUT_LEVELS).clamp_(min=_LEAST_STEP)
        inverse = step.reciprocal()
        steps = torch.addcmul(0.5 - least * inverse, rows, inverse).clamp_(0, _INPUT_LEVELS + 0.5)
        y: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            # By way of int8, which torch converts to ten times as fast as to uint8.
            steps.to(torch.int8).view(torch.uint8),
            1.0,  # scale and zero point of the input: none, since each row has its own
            0,
            self._packed,
            self._scale,
            self._zero_points,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        y = y.mul_(step).add_(self._bias).addr_(least[:, 0], self._ones)
        return y.view(*x.shape[:-1], self._out)


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


def use_int8(module: torch.nn.Module) -> int:
    """Put 8-bit layers in place in every transformer block of OpenCLIP's and timm's.

    Returns how many; what embeds the inputs and what projects the features stays float32.
    """
    count = 0
    for block in list(module.modules()):
        if not isinstance(block, ResidualAttentionBlock | Block):
            continue
        # Layers first: what attends to itself takes its own along.
        count += _replace(block, torch.nn.Linear, lambda f: _Weight(f.weight, f.bias).layer())
        count += _replace(block, SelfAttention, Int8SelfAttention)
    return count


def _replace(
    block: torch.nn.Module,
    kind: type[torch.nn.Module],
    make: Callable[[Any], torch.nn.Module],
) -> int:
    count = 0
    for parent in list(block.modules()):
        # torch's own attention reads the weights of its layers instead of calling them.
        if isinstance(parent, torch.nn.MultiheadAttention):
            continue
        for name, child in list(parent.named_children()):
            if isinstance(child, kind):
                setattr(parent, name, make(child))
                count += 1
    return count
