"""Linear layers on 8-bit weights: close to the float ones, exact in between, row by row."""

import functools
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.transformer import ResidualAttentionBlock
from timm.models.eva import Eva
from timm.models.vision_transformer import Block, ResPostBlock, VisionTransformer

from pipeline.embedders.openclip import int8
from pipeline.embedders.openclip.blocks import SelfAttention, use_self_attention
from pipeline.embedders.openclip.embedder import (
    MultimodalEmbedder,
    embedder_of_new_space,
    precision_cosine,
)
from pipeline.embedders.openclip.int8 import (
    Int8Linear,
    Int8Patches,
    Int8SelfAttention,
    has_exact_products,
    use_int8,
)
from pipeline.errors import ConfigurationError, ModelError
from tests.helpers.checkpoints import TINY_CLIP, model_of, save_checkpoint, save_unbearable


def layer(weight: torch.Tensor, bias: torch.Tensor | None = None) -> Int8Linear:
    block = Block(32, 2)
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight.data = weight
    if bias is not None:
        linear.bias.data = bias
    block.mlp.fc1 = linear
    use_int8(block.requires_grad_(False))
    made = block.mlp.fc1
    assert isinstance(made, Int8Linear)
    return made


pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN"
)


@pytest.fixture(params=[7, 8])
def bits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Of the activations. Seven can be had everywhere, eight where the processor bears them."""
    if request.param == 7:
        monkeypatch.setattr(int8, "has_exact_products", lambda: False)
    elif not has_exact_products():
        pytest.skip("this processor has no VNNI")
    return int(request.param)


def relative_error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def test_a_layer_is_close_to_the_float_one_whatever_its_rows_are_like(bits: int) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(96, 256) * 0.02, torch.randn(96)
    rows = torch.randn(3, 50, 256) * torch.logspace(-4, 4, 50)[:, None]
    rows[1] += 30  # far from zero
    rows[2].relu_()  # on one side of it
    found = layer(weight, bias)(rows)
    wanted = torch.nn.functional.linear(rows, weight, bias)
    assert found.shape == (3, 50, 96)
    for one, other in zip(found.flatten(0, 1), wanted.flatten(0, 1), strict=True):
        assert relative_error(one, other) < {7: 0.03, 8: 0.02}[bits]


def test_large_sums_do_not_overflow(bits: int) -> None:
    """All at the ends of their ranges: in 16 bits, two products of 8 bits would."""
    weight = torch.full((64, 512), 0.5)
    weight[1::2] *= -1
    rows = torch.ones(40, 512)
    rows[:, 0] = -1  # the other end of the range
    wanted = torch.nn.functional.linear(rows.double(), weight.double())
    assert layer(weight)(rows).numpy() == pytest.approx(wanted.numpy(), rel=1e-4)


def test_a_row_gives_the_same_alone_and_beside_others() -> None:
    torch.manual_seed(0)
    rows = torch.randn(33, 128)
    rows[7] *= 1000
    made = layer(torch.randn(64, 128), torch.randn(64))
    together = made(rows)
    for number, row in enumerate(rows):
        assert torch.equal(made(row[None])[0], together[number])


def test_constant_rows_and_channels_of_zeros_are_exact() -> None:
    weight, bias = torch.randn(48, 64), torch.randn(48)
    weight[5] = 0
    made = layer(weight, bias)
    assert torch.equal(made(torch.zeros(2, 64)), bias.expand(2, 48))
    assert float(made(torch.randn(1, 64))[0, 5]) == float(bias[5])
    constant = made(torch.full((1, 64), 2.5))
    wanted = torch.nn.functional.linear(torch.full((1, 64), 2.5), weight, bias)
    assert relative_error(constant, wanted) < 0.01


def test_a_row_that_is_not_finite_stays_so() -> None:
    rows = torch.randn(2, 64)
    rows[1, 3] = torch.nan
    found = layer(torch.randn(48, 64))(rows)
    assert torch.isfinite(found[0]).all()
    assert torch.isnan(found[1]).all()


def test_blocks_of_openclip_and_timm_get_them_and_nothing_else_does() -> None:
    own = torch.nn.ModuleDict(
        {
            "open_clip": ResidualAttentionBlock(32, 2),
            "cross": ResidualAttentionBlock(32, 2, is_cross_attention=True),
            "timm": Block(32, 2),
            "head": torch.nn.Linear(32, 8),
        }
    ).requires_grad_(False)
    use_self_attention(own)
    rows = torch.randn(2, 5, 32)
    wanted = [own["open_clip"](rows), own["cross"](rows, rows, rows), own["timm"](rows)]
    assert use_int8(own)
    assert isinstance(own["open_clip"].attn, Int8SelfAttention)
    assert type(own["head"]) is torch.nn.Linear
    # Its output and two; of torch's own attention, which reads its weights itself, only those two.
    layers = {name: sum(isinstance(m, Int8Linear) for m in own[name].modules()) for name in own}
    assert layers == {"open_clip": 3, "cross": 2, "timm": 4, "head": 0}
    found = [own["open_clip"](rows), own["cross"](rows, rows, rows), own["timm"](rows)]
    for one, other in zip(found, wanted, strict=True):
        assert not torch.equal(one, other)
        assert relative_error(one, other) < 0.02
    assert not use_int8(torch.nn.Linear(8, 8))


def test_part_of_the_projection_is_that_part_of_the_whole() -> None:
    block = ResidualAttentionBlock(32, 2).requires_grad_(False)
    attention = Int8SelfAttention(SelfAttention(block.attn))
    rows = torch.randn(2, 5, 32)
    whole = attention.project(rows)
    assert torch.equal(attention.project(rows, 1, 3), whole[..., 32:])
    assert torch.equal(attention.project(rows, 0, 1), whole[..., :32])


@pytest.mark.parametrize("size", [(24, 32), (27, 33)])  # what is left over at the edges goes
@pytest.mark.parametrize("bias", [True, False])
def test_a_patch_is_embedded_as_by_the_convolution(
    bits: int, size: tuple[int, int], bias: bool
) -> None:
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(3, 16, (6, 8), stride=(6, 8), bias=bias).requires_grad_(False)
    pictures = torch.randn(2, 3, *size)
    assert Int8Patches.fits(convolution)
    found, wanted = Int8Patches(convolution)(pictures), convolution(pictures)
    assert found.shape == wanted.shape == (2, 16, 4, 4)
    assert relative_error(found, wanted) < 0.02
    assert not Int8Patches.fits(torch.nn.Conv2d(3, 16, 8, stride=4))
    assert not Int8Patches.fits(torch.nn.Conv2d(3, 16, 8, stride=8, padding=1))


def test_text_and_patches_stay_float_where_the_products_are_not_exact(
    bits: int, tmp_path: Path
) -> None:
    folder = str(save_checkpoint(tmp_path, TINY_CLIP))
    model = MultimodalEmbedder(folder, device="cpu", precision="int8").model.module
    in_text = any(isinstance(m, Int8Linear) for m in model.transformer.modules())
    in_pictures = any(isinstance(m, Int8Linear) for m in model.visual.transformer.modules())
    assert in_pictures
    assert in_text == isinstance(model.visual.conv1, Int8Patches) == (bits == 8)


@pytest.mark.parametrize(
    ("trunk", "rounded"),
    [
        (VisionTransformer, True),
        (functools.partial(VisionTransformer, block_fn=ResPostBlock), False),
        (Eva, False),
    ],
)
def test_only_towers_with_such_blocks_get_8_bit_patches(
    monkeypatch: pytest.MonkeyPatch, trunk: Callable[..., Any], rounded: bool
) -> None:
    monkeypatch.setattr(int8, "has_exact_products", lambda: True)
    tower = trunk(img_size=16, patch_size=8, embed_dim=32, depth=1, num_heads=2, num_classes=0)
    both = torch.nn.ModuleDict({"visual": tower, "text": ResidualAttentionBlock(32, 2)})
    assert use_int8(both.requires_grad_(False))
    assert isinstance(tower.patch_embed.proj, Int8Patches) == rounded
    assert any(isinstance(m, Int8Linear) for m in tower.modules()) == rounded


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="of x86, read in /proc"
)
def test_whether_products_are_exact_is_found_by_trying() -> None:
    """oneDNN held to AVX2 overflows, whatever the processor has."""
    script = "from pipeline.embedders.openclip.int8 import *; print(has_exact_products())"

    def found(held: dict[str, str]) -> str:
        free = {k: v for k, v in os.environ.items() if k != "ONEDNN_MAX_CPU_ISA"}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env=free | held, capture_output=True, check=True, text=True)
        return done.stdout.strip()

    assert found({"ONEDNN_MAX_CPU_ISA": "AVX2"}) == "False"
    if "vnni" in Path("/proc/cpuinfo").read_text():
        assert found({}) == "True"


def test_an_embedder_in_int8_is_nearly_that_in_float32_whatever_the_batch() -> None:
    assert precision_cosine("demo", "int8", device="cpu") >= 0.9997
    embedder = MultimodalEmbedder("demo", device="cpu", precision="int8")
    assert embedder.description.precision == "int8"
    texts = ["a red circle", "a red square above a blue star", "two green stars"]
    alone = np.concatenate([embedder.embed_text([text]) for text in texts])
    assert (alone * embedder.embed_text(texts)).sum(axis=1) == pytest.approx(1, abs=1e-4)


def test_it_is_for_cpus_with_onednn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(save_checkpoint(tmp_path, TINY_CLIP))
    with pytest.raises(ConfigurationError, match="not for meta; set PIPELINE_DEVICE=cpu"):
        MultimodalEmbedder(folder, device="meta", precision="int8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert MultimodalEmbedder(folder, precision="int8").model.device.type == "cpu"
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(ConfigurationError, match="needs a torch with oneDNN"):
        MultimodalEmbedder(folder, precision="int8")


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_a_space_is_not_created_in_a_precision_that_its_model_does_not_bear(
    tmp_path: Path, precision: str
) -> None:
    if precision == "bfloat16":
        folder = save_unbearable(tmp_path)
    else:  # one channel outshouts the others in every block, and what they say is lost
        state = model_of(TINY_CLIP).state_dict()
        for name, tensor in state.items():
            if name.endswith(("ln_1.weight", "ln_2.weight")):
                tensor[0] = 2000.0
            if name.endswith(("in_proj_weight", "c_fc.weight")):
                tensor[:, 0] = 0.0
        folder = save_checkpoint(tmp_path, TINY_CLIP, state=state)
    with pytest.raises(
        ModelError, match=rf"does not bear {precision}: .* set PIPELINE_PRECISION=auto"
    ):
        embedder_of_new_space(str(folder), device="cpu", precision=precision)
    fine = embedder_of_new_space(str(folder), device="cpu", precision="float32")
    assert fine.description.precision == "float32"
