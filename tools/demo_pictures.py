"""Pictures as tensors: on white as shipped, or augmented for training."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def composite(rgba: Tensor, background: Tensor | float = 1.0) -> Tensor:
    """Lay ``(n, 4, h, w)`` premultiplied pictures over a background."""
    return rgba[:, :3] + (1 - rgba[:, 3:]) * background


def premultiplied(pixels: Tensor) -> Tensor:
    """``(n, h, w, 4)`` bytes to ``(n, 4, h, w)`` floats, colour times alpha."""
    rgba = pixels.permute(0, 3, 1, 2).float().div_(255)
    rgba[:, :3] *= rgba[:, 3:]
    return rgba


def normalise(rgb: Tensor) -> Tensor:
    return ((rgb - 0.5) / 0.25).contiguous(memory_format=torch.channels_last)


def plain(pixels: Tensor, size: int) -> Tensor:
    """The pictures as the shipped preprocessing gives them: on white, resized."""
    rgb = composite(premultiplied(pixels))
    return normalise(F.interpolate(rgb, (size, size), mode="bicubic", antialias=True).clamp_(0, 1))


def augment(pixels: Tensor, may_flip: Tensor, keep_hue: Tensor, size: int) -> Tensor:
    """Move, turn, outline, recolour and cut the pictures, over random backgrounds.

    ``pixels`` are premultiplied bytes, ``(n, 4, 64, 64)``; the result is ``(n, 3, size, size)``.
    """
    n, device = len(pixels), pixels.device
    premultiplied_rgba = pixels.float().div_(255)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.empty(n, *shape, device=device).uniform_(low, high)

    def chosen(share: float) -> Tensor:
        return torch.rand(n, 1, 1, 1, device=device) < share

    angle = uniform(-0.3, 0.3) * (torch.rand(n, device=device) < 0.5)
    scale, stretch = uniform(0.85, 1.3), uniform(-0.12, 0.12).exp()
    flip = torch.where((torch.rand(n, device=device) < 0.5) & may_flip, -1.0, 1.0)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    theta = torch.stack(
        [
            torch.stack([cos * flip * stretch, -sin, uniform(-0.12, 0.12)], dim=1),
            torch.stack([sin * flip * stretch, cos / stretch, uniform(-0.12, 0.12)], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, [n, 4, size, size], align_corners=False)
    rgba = F.grid_sample(premultiplied_rgba, grid, align_corners=False)

    # An outline, as some artists draw one.
    outline = F.max_pool2d(rgba[:, 3:], 3, stride=1, padding=1) * chosen(0.15)
    rgba = torch.cat([rgba[:, :3], torch.maximum(rgba[:, 3:], outline)], dim=1)

    # Colour: contrast, brightness, saturation, a little hue where no colour is named.
    alpha = rgba[:, 3:]
    rgb = rgba[:, :3]
    grey = rgb.mean(dim=1, keepdim=True)
    saturation = uniform(0.5, 1.5, 1, 1, 1)
    drained = chosen(0.08) & ~keep_hue.view(n, 1, 1, 1)
    saturation = torch.where(drained, torch.zeros_like(saturation), saturation)
    tint = 1 + (torch.rand(n, 3, 1, 1, device=device) - 0.5) * 0.4 * ~keep_hue.view(n, 1, 1, 1)
    rgb = (grey + (rgb - grey) * saturation) * tint * uniform(0.75, 1.25, 1, 1, 1)
    middle = 0.5 * alpha
    rgb = (middle + (rgb - middle) * uniform(0.75, 1.3, 1, 1, 1)).clamp(0, 1)

    first, second = torch.rand(2, n, 3, 1, 1, device=device).unbind(0)
    ramp = torch.linspace(0, 1, size, device=device).view(1, 1, size, 1)
    ramp = torch.where(chosen(0.5), ramp, ramp.transpose(2, 3))
    ground = torch.where(
        chosen(0.5), first + (second - first) * ramp, first.expand(n, 3, size, size)
    )
    ground = torch.where(chosen(0.7), torch.ones_like(ground), ground)
    out = rgb + (1 - alpha) * ground

    blurred = F.avg_pool2d(F.pad(out, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    out = torch.where(chosen(0.15), blurred, out)
    out = out + torch.randn_like(out) * 0.04 * chosen(0.1)

    # Cutout: one grey square.
    y, x = (torch.randint(0, size, (n, 1, 1, 1), device=device) for _ in range(2))
    half = size // 8
    line = torch.arange(size, device=device)
    hole = ((line.view(1, 1, -1, 1) - y).abs() < half) & ((line.view(1, 1, 1, -1) - x).abs() < half)
    return normalise(torch.where(hole & chosen(0.15), torch.full_like(out, 0.5), out).clamp_(0, 1))
