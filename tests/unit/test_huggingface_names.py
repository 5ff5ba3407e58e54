"""Names of the hub: OpenCLIP's own pairs where it has them, else what transformers saved there."""

from pathlib import Path

import open_clip
import pytest
from huggingface_hub import constants

from pipeline.embedders.openclip.checkpoints import parse_spec
from pipeline.embedders.openclip.embedder import MultimodalEmbedder
from pipeline.embedders.openclip.huggingface.names import PAIRS
from pipeline.embedders.openclip.naming import resolved
from pipeline.errors import ModelError
from tests.helpers.checkpoints import TINY_CLIP, in_the_hubs_cache, save_checkpoint
from tests.helpers.saved_by_transformers import change, save_clip, save_clip_processor


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def load(model: str, sha256: str | None = None) -> MultimodalEmbedder:
    return MultimodalEmbedder(model, device="cpu", precision="float32", weights_sha256=sha256)


def test_every_well_known_name_is_a_pair_that_openclip_has() -> None:
    for name, pair in PAIRS.items():
        spec = resolved(parse_spec(name))
        assert f"{spec.architecture}/{spec.tag}" == pair
        assert (spec.architecture, spec.tag) in open_clip.list_pretrained()


def test_pairs_are_of_the_names_sizes() -> None:
    """A patch of 16 and an image of 384 in the name are those of the architecture."""
    for name, pair in PAIRS.items():
        config = open_clip.get_model_config(pair.partition("/")[0])
        for part in name.split("-"):
            if part.startswith("patch"):
                text = str(config["vision_cfg"].get("timm_model_name", config["vision_cfg"]))
                patch = part.removeprefix("patch")
                assert f"patch{patch}" in text or f"'patch_size': {patch}" in text
            if part in ("224", "256", "336", "378", "384", "512"):
                sizes = {"384", "378"} if part == "384" and "patch14" in name else {part}
                assert str(config["vision_cfg"]["image_size"]) in sizes


def test_a_well_known_name_is_the_same_space_as_the_pair(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-32", dict(TINY_CLIP))
    folder = save_checkpoint(tmp_path / "m", TINY_CLIP)
    in_the_hubs_cache(cache, "timm/vit_base_patch32_clip_224.openai", folder)
    by_name, by_pair = load("openai/clip-vit-base-patch32"), load("ViT-B-32/openai")
    assert by_name.description.fingerprint() == by_pair.description.fingerprint()
    assert by_name.description.model == "openai/clip-vit-base-patch32"


def test_the_repository_that_openclip_takes_a_pair_from_is_that_pair() -> None:
    spec = resolved(parse_spec("laion/CLIP-ViT-B-32-laion2B-s34B-b79K"))
    assert (spec.architecture, spec.tag) == ("ViT-B-32", "laion2b_s34b_b79k")


@pytest.mark.parametrize("spec", ["hf-hub:shop/our-clip", "shop/our-clip"])
def test_another_repository_is_opened_as_transformers_saved_it(
    cache: Path, tmp_path: Path, spec: str
) -> None:
    save_clip(tmp_path / "m")
    save_clip_processor(tmp_path / "m")
    in_the_hubs_cache(cache, "shop/our-clip", tmp_path / "m")
    by_hub, by_folder = load(spec).description, load(str(tmp_path / "m")).description
    assert by_hub.differences(by_folder) == []
    assert load(spec, by_hub.weights_sha256).description == by_hub
    with pytest.raises(ModelError, match="nothing of it is read"):
        load(spec, "0" * 64)


def test_a_repository_with_both_is_openclips(cache: Path, tmp_path: Path) -> None:
    save_clip(tmp_path / "m")
    save_checkpoint(tmp_path / "m", TINY_CLIP)
    in_the_hubs_cache(cache, "shop/both", tmp_path / "m")
    assert load("hf-hub:shop/both").description.architecture_config == TINY_CLIP
    assert load(str(tmp_path / "m")).description.architecture_config == TINY_CLIP


def test_another_kind_is_refused_before_its_weights_are_asked_for(
    cache: Path, tmp_path: Path
) -> None:
    save_clip(tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").write_bytes(b"")
    change(tmp_path / "m" / "config.json", model_type="blip")
    in_the_hubs_cache(cache, "shop/blip", tmp_path / "m")
    with pytest.raises(ModelError, match="model_type is 'blip'"):
        load("shop/blip")


def test_a_folder_by_a_name_of_the_hubs_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_clip(tmp_path / "shop" / "our-clip")
    with pytest.raises(ModelError, match=r"for the folder here write ./shop/our-clip"):
        load("shop/our-clip")
    assert load("./shop/our-clip").dimensions == 32


def test_a_repository_that_is_nowhere_says_so() -> None:
    with pytest.raises(ModelError, match=r"shop/none is not in the hub's cache and cannot be fet"):
        load("shop/none")
