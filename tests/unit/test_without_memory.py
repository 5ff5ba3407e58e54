"""What is built without memory is what is built with it, but for its values."""

import subprocess
import sys

import open_clip
import pytest
import torch

from pipeline.embedders.openclip.loading import _build
from pipeline.embedders.openclip.without_memory import without_memory


@pytest.mark.parametrize("name", ["ViT-B-32", "RN50", "coca_ViT-B-32", "MobileCLIP-S1"])
def test_shapes_and_types_are_those_of_a_module_with_memory(name: str) -> None:
    config = open_clip.get_model_config(name)
    assert config is not None
    with without_memory():
        without = _build(config).state_dict()
    whole = _build(config).state_dict()
    assert {key: (t.shape, t.dtype) for key, t in without.items()} == {
        key: (t.shape, t.dtype) for key, t in whole.items()
    }
    assert all(tensor.is_meta for tensor in without.values())


def test_what_has_memory_or_other_tensors_in_it_is_computed() -> None:
    with without_memory():
        filled = torch.nn.init.constant_(torch.empty(2, device="cpu"), 3.0)
        product = torch.empty(2, 1) * torch.empty(1, 3)
        whole = torch.ones(2, dtype=torch.int64) * 1.5
    assert filled.tolist() == [3, 3]
    assert product.shape == (2, 3)
    assert whole.dtype == torch.float32


def test_no_library_for_symbols_is_imported() -> None:
    """Half a second of every command that embeds."""
    program = (
        "import sys; from pipeline.embedders.openclip.embedder import MultimodalEmbedder; "
        "MultimodalEmbedder('demo'); print('sympy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
