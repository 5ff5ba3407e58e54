"""Models load from where their spec says, whole and as they are, or not at all."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file

import pipeline
from pipeline.embedders.openclip import checkpoints
from pipeline.embedders.openclip.embedder import MultimodalEmbedder
from pipeline.errors import ModelError
from tests.helpers.checkpoints import (
    SIGLIP_PREPROCESS,
    TINY_CLIP,
    TINY_SIGLIP,
    in_the_hubs_cache,
    model_of,
    random_state,
    save_checkpoint,
    save_tokenizer,
)


def load(model: str | Path, precision: str = "float32") -> MultimodalEmbedder:
    return MultimodalEmbedder(str(model), device="cpu", precision=precision)


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test downloads a model, also where there is a network; the hub's cache is empty."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("tiny"), TINY_CLIP)


# every form of spec


@pytest.mark.parametrize(
    ("architecture", "dimensions", "context", "causal"),
    [
        ("ViT-B-32", 512, 77, True),
        ("ViT-B-32-quickgelu", 512, 77, True),
        ("ViT-L-14", 768, 77, True),
        ("ViT-B-16-SigLIP", 768, 64, False),
        ("ViT-B-16-SigLIP2", 768, 64, False),
        ("ViT-H-14", 1024, 77, True),
    ],
)
def test_a_local_checkpoint_of_the_architecture_loads_with_its_dimensions(
    architecture: str, dimensions: int, context: int, causal: bool, tmp_path: Path
) -> None:
    config = open_clip.get_model_config(architecture)
    siglip = SIGLIP_PREPROCESS if "SigLIP" in architecture else None
    state = random_state(config)
    save_checkpoint(tmp_path, config, state=state, preprocess=siglip)
    del state
    embedder = load(tmp_path, "bfloat16")
    (tmp_path / "open_clip_model.safetensors").unlink()  # up to 2 GB each
    assert embedder.dimensions == dimensions
    assert embedder.embed_text(["a cat", "a red bicycle"]).shape == (2, dimensions)
    assert embedder.embed_images([Image.new("RGB", (300, 200), "red")]).shape == (1, dimensions)
    description = embedder.description
    assert description.architecture == architecture
    assert (description.image_size, description.context_length) == ((224, 224), context)
    assert description.text_is_causal is causal


def test_a_file_of_weights_loads_with_the_architecture_before_it(tmp_path: Path) -> None:
    config = open_clip.get_model_config("ViT-S-32-alt")
    folder = save_checkpoint(tmp_path / "folder", config)
    file = folder / "open_clip_model.safetensors"
    by_file = load(f"ViT-S-32-alt:{file}").description
    by_folder = load(folder).description
    assert by_file.dimensions == config["embed_dim"] == 256
    assert by_file.fingerprint() == by_folder.fingerprint()
    assert by_file.differences(by_folder) == []


def test_a_file_with_a_tag_is_preprocessed_and_activated_as_that_tag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tag openai was trained with QuickGELU; the architecture ViT-B-32 is without."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-32", dict(TINY_CLIP))
    quick = {**TINY_CLIP, "quick_gelu": True}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-32-quickgelu", quick)
    file = save_checkpoint(tmp_path, TINY_CLIP) / "open_clip_model.safetensors"
    plain, tagged = load(f"ViT-B-32:{file}"), load(f"ViT-B-32/openai:{file}")
    assert plain.description.architecture == "ViT-B-32"
    assert tagged.description.architecture == "ViT-B-32-quickgelu"
    model = model_of(quick)
    with torch.inference_mode():
        tokens = open_clip.tokenize(["a cat"])
        expected = torch.nn.functional.normalize(model.encode_text(tokens), dim=-1).numpy()
    assert tagged.embed_text(["a cat"]) == pytest.approx(expected, abs=1e-5)
    assert plain.embed_text(["a cat"]) != pytest.approx(expected, abs=1e-5)


def test_a_file_without_a_tag_takes_the_preprocessing_of_its_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-16-SigLIP", dict(TINY_SIGLIP))
    file = save_checkpoint(tmp_path, TINY_SIGLIP) / "open_clip_model.safetensors"
    description = load(f"ViT-B-16-SigLIP:{file}").description
    assert (description.mean, description.resize_mode) == ((0.5, 0.5, 0.5), "squash")


def test_where_tags_are_preprocessed_differently_the_tag_has_to_be_said(tiny: Path) -> None:
    file = tiny / "open_clip_model.safetensors"
    with pytest.raises(ModelError, match=r"more than one way; say .* ViT-L-14/openai:"):
        load(f"ViT-L-14:{file}")


def test_hub_models_and_tags_load_from_the_cache_without_network(
    offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_checkpoint(tmp_path / "m", TINY_SIGLIP, preprocess=SIGLIP_PREPROCESS)
    in_the_hubs_cache(offline, "timm/ViT-B-16-SigLIP", folder)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-16-SigLIP", {
        **TINY_SIGLIP,
        "text_cfg": {**TINY_SIGLIP["text_cfg"], "hf_tokenizer_name": "timm/ViT-B-16-SigLIP"},
    })  # fmt: skip
    by_tag = load("ViT-B-16-SigLIP/webli")
    local = load(folder)
    assert by_tag.embed_text(["a cat"]) == pytest.approx(local.embed_text(["a cat"]), abs=1e-6)
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "timm/ViT-B-16-SigLIP"
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    by_hub = load("hf-hub:timm/ViT-B-16-SigLIP")
    assert by_hub.description.fingerprint() == by_tag.description.fingerprint()


def test_a_cached_pickle_is_found_when_the_hub_has_no_safetensors(
    offline: Path, tmp_path: Path
) -> None:
    folder = save_checkpoint(tmp_path / "m", TINY_CLIP)
    state = load_file(folder / "open_clip_model.safetensors")
    (folder / "open_clip_model.safetensors").unlink()
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}},
               folder / "open_clip_pytorch_model.bin")  # fmt: skip
    in_the_hubs_cache(offline, "org/name", folder)
    assert load("hf-hub:org/name").dimensions == 32


def test_demo_is_the_model_that_the_package_carries() -> None:
    spec = checkpoints.parse_spec("demo")
    assert spec.folder == Path(pipeline.__file__).parent / "demo" / "model"


# what is refused, each with what to do


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("ViT-B-32/laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K is not in the hub's "
         "cache and cannot be fetched .* go online once, or copy open_clip_config.json"),
        ("hf-hub:org/name", "org/name is not in the hub's cache and cannot be fetched"),
        ("hf-hub:name", "write hf-hub:organisation/name"),
        ("ViT-B-23/openai", r"'ViT-B-23' is no architecture of OpenCLIP \(close: ViT-B-32,"),
        ("vit-b-32/openai", r"close: ViT-B-32,"),
        ("nonsense", "'nonsense' is no architecture of OpenCLIP"),
        ("ViT-B-32/openia", r"has no pretrained tag 'openia' \(close: openai\)"),
        ("ViT-B-32/xyz", r"has no pretrained tag 'xyz' \(there are: openai,"),
        ("ViT-B-32", "an architecture without weights; name .* ViT-B-32/openai"),
        ("ViT-B-16-SigLIP/webli", "timm/ViT-B-16-SigLIP is not in the hub's cache"),
        ("ViT-B-32:/no/such.safetensors", "/no/such.safetensors .* does not exist"),
        ("/no/such/folder", "model folder /no/such/folder does not exist"),
        ("  ", "no model is named; set PIPELINE_MODEL"),
    ],
)  # fmt: skip
def test_a_spec_that_leads_nowhere_says_what_to_do(model: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load(model)
    assert "\n" not in str(caught.value)


def broken(tmp_path: Path, name: str) -> str:
    """A model folder (or file) with one thing wrong."""
    folder = save_checkpoint(tmp_path / "m", TINY_CLIP)
    weights = folder / "open_clip_model.safetensors"
    state: dict[str, Any] = {name: t.clone() for name, t in load_file(weights).items()}
    config: dict[str, Any] = {"model_cfg": TINY_CLIP}
    if name == "no weights":
        weights.unlink()
    elif name == "no configuration":
        (folder / "open_clip_config.json").unlink()
    elif name == "a file without architecture":
        return str(weights)
    elif name == "configuration is no JSON":
        (folder / "open_clip_config.json").write_text("{")
    elif name == "configuration of something else":
        (folder / "open_clip_config.json").write_text('{"model_type": "bert"}')
    elif name == "half a configuration":
        (folder / "open_clip_config.json").write_text('{"model_cfg": {"embed_dim": 3}}')
    elif name == "a setting that OpenCLIP does not know":
        config["model_cfg"] = {**TINY_CLIP, "warp": 9}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
    elif name == "an unknown way to resize":
        config["preprocess_cfg"] = {"resize_mode": "seam"}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
    elif name == "cut short":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif name == "cut within the header":
        weights.write_bytes(weights.read_bytes()[:100])
    elif name == "empty":
        weights.write_bytes(b"")
    elif name == "a page of an error instead":
        weights.write_bytes(b"<html>404 not found</html>")
    elif name == "a pickle by another name":
        torch.save(state, weights)
    elif name == "a pickle with code":
        weights.unlink()
        (folder / "open_clip_pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path)))
    elif name == "a pickle of other things":
        weights.unlink()
        torch.save({"state_dict": {"epoch": 3}}, folder / "open_clip_pytorch_model.bin")
    elif name == "another architecture":
        other = {**TINY_CLIP, "vision_cfg": {**TINY_CLIP["vision_cfg"], "width": 96, "layers": 3}}
        save_file(model_of(other).state_dict(), weights)
    elif name == "a tensor missing":
        del state["text_projection"]
        save_file(state, weights)
    elif name == "a tensor too many":
        save_file({**state, "head.weight": torch.zeros(3)}, weights)
    elif name == "another image size":
        other = {**TINY_CLIP, "vision_cfg": {**TINY_CLIP["vision_cfg"], "image_size": 64}}
        save_file(model_of(other).state_dict(), weights)
    elif name == "not finite":
        state["text_projection"][0, 0] = torch.nan
        save_file(state, weights)
    return str(folder)


class Bomb:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.folder / "exploded",)


BROKEN = {
    "no weights": r"no weights; put open_clip_model.safetensors beside it \(random weights",
    "no configuration": "has no open_clip_config.json; a model folder holds .* or what save_pretr",
    "a file without architecture": "is a file: put the architecture before it",
    "configuration is no JSON": "open_clip_config.json is no OpenCLIP configuration",
    "configuration of something else": "open_clip_config.json is no OpenCLIP configuration",
    "half a configuration": "model_cfg lacks text_cfg, vision_cfg",
    "a setting that OpenCLIP does not know": "cannot build the model from model_cfg: .*warp",
    "an unknown way to resize": "resize_mode is 'seam'; OpenCLIP knows shortest, longest, squash",
    "cut short": r"is cut short: [\d,]+ of [\d,]+ bytes; download it again",
    "cut within the header": "is cut short within its header",
    "empty": "is no safetensors file; download or export it again",
    "a page of an error instead": "is no safetensors file; download or export it again",
    "a pickle by another name": "is a pickle, not safetensors, whatever its name says",
    "a pickle with code": r"is not opened \(it could run code\); get the model's .safetensors",
    "a pickle of other things": "holds more than plain tensors",
    "another architecture": r"another architecture than custom: tensors \d+ of another shape "
    r"\(visual.*\d+ unexpected \(visual.transformer.resblocks.2",
    "a tensor missing": r"1 missing \(text_projection\)",
    "a tensor too many": r"1 unexpected \(head.weight\)",
    "another image size": r"1 of another shape \(visual.positional_embedding \(65, 64\) for "
    r"\(17, 64\)\)",
    "not finite": "text_projection holds values that are not finite",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_checkpoint_is_refused_in_one_line_that_names_the_file(
    name: str, tmp_path: Path
) -> None:
    model = broken(tmp_path, name)
    with pytest.raises(ModelError, match=BROKEN[name]) as caught:
        load(model)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value) or "model_cfg" in str(caught.value)
    assert not (tmp_path / "exploded").exists()


def test_a_plain_state_dict_loads_like_its_safetensors(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, TINY_CLIP)
    expected = load(folder).embed_text(["a cat"])
    state = load_file(folder / "open_clip_model.safetensors")
    (folder / "open_clip_model.safetensors").unlink()
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    assert (load(folder).embed_text(["a cat"]) == expected).all()


def test_safetensors_win_over_a_pickle_beside_them(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, TINY_CLIP)
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"not even a pickle")
    assert load(folder).dimensions == 32


def test_half_precision_weights_load_into_float32(tmp_path: Path) -> None:
    state = {name: tensor.half() for name, tensor in model_of(TINY_CLIP).state_dict().items()}
    embedder = load(save_checkpoint(tmp_path, TINY_CLIP, state=state))
    exact = load(save_checkpoint(tmp_path / "exact", TINY_CLIP)).embed_text(["a cat"])
    assert embedder.embed_text(["a cat"]) == pytest.approx(exact, abs=2e-3)


def test_every_parameter_is_the_files(tiny: Path) -> None:
    """Two loads agree to the bit, whatever the random state: nothing is left as initialised."""
    torch.manual_seed(1)
    one = load(tiny).model.module.state_dict()
    torch.manual_seed(2)
    two = load(tiny).model.module.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not any(tensor.is_meta for tensor in one.values())


def test_a_missing_tokenizer_says_which_files_to_put_where(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, TINY_SIGLIP, preprocess=SIGLIP_PREPROCESS)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match=r"put its tokenizer.json and tokenizer_config.json into"):
        load(folder)


def test_a_damaged_tokenizer_is_named(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, TINY_SIGLIP, preprocess=SIGLIP_PREPROCESS)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"the tokenizer in .* cannot be read"):
        load(folder)


def test_the_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    config = {**TINY_SIGLIP, "text_cfg": {**TINY_SIGLIP["text_cfg"], "vocab_size": 20}}
    folder = save_checkpoint(tmp_path, config, preprocess=SIGLIP_PREPROCESS)
    save_tokenizer(folder)
    with pytest.raises(ModelError, match=r"gives ids up to \d+ and the model knows 20"):
        load(folder)


def test_another_tokenizer_is_another_fingerprint(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, TINY_SIGLIP, preprocess=SIGLIP_PREPROCESS)
    before = load(folder).description
    text = (folder / "tokenizer.json").read_text()
    document = json.loads(text)
    document["model"]["merges"] = document["model"]["merges"][:10]  # the same words, other pieces
    (folder / "tokenizer.json").write_text(json.dumps(document))
    after = load(folder).description
    assert [line.split(":")[0] for line in before.differences(after)] == ["tokenizer.sha256"]


def test_vectors_do_not_depend_on_the_form_of_the_spec(tiny: Path) -> None:
    images = [Image.fromarray(np.indices((50, 60)).sum(0).astype(np.uint8)).convert("RGB")]
    one, other = load(tiny), load(f"local-dir:{tiny}")
    assert (one.embed_images(images) == other.embed_images(images)).all()
