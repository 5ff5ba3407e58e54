"""Every architecture that OpenCLIP lists gives OpenCLIP's own vectors: one a family, all as a soak.

Left out are those whose text tower is one of transformers' (``test_text_towers_of_transformers``),
since its configuration would be downloaded.
"""

import gc
import re
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from pipeline.embedders.openclip.embedder import MultimodalEmbedder
from pipeline.embedders.openclip.loading import _build
from tests.helpers.checkpoints import model_of, save_checkpoint

ONE_OF_EACH = (
    "RN50",
    "ViT-S-32-alt",
    "ViT-B-16-SigLIP",
    "ViTamin-S",
    "EVA02-B-16",
    "MobileCLIP2-S0",
    "coca_ViT-B-32",
    "convnext_tiny",
    "swin_base_patch4_window7_224",
)
# Towers like those above, in a combination of which there is none below some 400 M parameters.
LARGE_ALONE = {
    ("vit", "reads all", "argmax"): "MobileCLIP2-L-14, in the soak",
    ("vit", "causal", "eos"): "MetaCLIP 2, in test_huggingface",
}
MOST_PARAMETERS = 500_000_000
TEXTS = ["a red bicycle", "a red bicycle leaning against a wall", "two cats on a green sofa", "42"]


def family(config: dict[str, Any]) -> tuple[str, str, str]:
    """What decides which code a model goes through: image tower, text tower, where it is read."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    if (named := re.match("[a-z]+", vision.get("timm_model_name") or "")) is not None:
        image = named[0]
    else:
        image = "resnet" if isinstance(vision["layers"], list) else "vit"
    attends = "reads all" if text.get("no_causal_mask") else "causal"
    return image, "coca" if "multimodal_cfg" in config else attends, text.get("pool_type", "argmax")


def architectures() -> dict[str, dict[str, Any]]:
    configs = {name: open_clip.get_model_config(name) for name in open_clip.list_models()}
    return {n: c for n, c in configs.items() if not c["text_cfg"].get("hf_model_name")}


def test_there_is_one_of_each_family() -> None:
    known = {family(config) for config in architectures().values()}
    tested = {family(open_clip.get_model_config(name)) for name in ONE_OF_EACH}
    assert known - tested == set(LARGE_ALONE)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_one_of_each_family_gives_openclips_vectors(name: str, tmp_path: Path) -> None:
    assert_equal(name, tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", sorted(architectures().keys() - set(ONE_OF_EACH)))
def test_every_one_gives_openclips_vectors(name: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        module = _build(open_clip.get_model_config(name))
    count = sum(parameter.numel() for parameter in module.parameters())
    if count > MOST_PARAMETERS:
        pytest.skip(f"{count / 1e6:.0f} M parameters: random ones take minutes to make")
    assert_equal(name, tmp_path)


def assert_equal(name: str, folder: Path) -> None:
    config = open_clip.get_model_config(name)
    model: Any = model_of(config)
    save_checkpoint(folder, config, state=model.state_dict())
    embedder = MultimodalEmbedder(str(folder), device="cpu", precision="float32")
    (folder / "open_clip_model.safetensors").unlink()  # up to 2 GB each
    texts, images = embedder._texts, embedder._images
    tokens, pixels = texts.prepare(TEXTS), images.prepare(pictures())
    with torch.inference_mode():
        of_texts = model.encode_text(torch.from_numpy(np.stack(tokens)).long())
        scaled = torch.from_numpy(np.stack(pixels)) / 255
        of_images = model.encode_image((scaled - images._mean) / images._std)
    assert_near(texts.embed(tokens), of_texts)
    assert_near(images.embed(pixels), of_images)
    del model, embedder
    gc.collect()


def assert_near(ours: Any, theirs: torch.Tensor) -> None:
    expected = torch.nn.functional.normalize(theirs, dim=-1).numpy()
    assert np.abs(ours - expected).max() < 1e-5


def pictures() -> list[Image.Image]:
    noise = np.random.default_rng(3).integers(0, 256, (2, 60, 40, 3), dtype=np.uint8)
    return [Image.fromarray(pixels) for pixels in noise]
