"""What transformers saved gives transformers' vectors, image and text, by OpenCLIP's towers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, PreTrainedTokenizerFast

from pipeline.embedders.local.files import sha256_of
from pipeline.embedders.openclip.blocks import LastBlock
from pipeline.embedders.openclip.embedder import MultimodalEmbedder
from pipeline.errors import ModelError
from tests.helpers.saved_by_transformers import (
    change,
    save_clip,
    save_clip_processor,
    save_clip_vocabulary,
    save_metaclip,
    save_siglip,
)

TEXTS = [
    "a red bicycle",
    "A Red bicycle, leaning!",
    "a red bicycle beside the harbour",
    "42",
    "caf\u00e9 &amp; na\u00efve_x",
    "two cats on a green sofa and one small dog",
]
NEAR = 1e-5


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def load(folder: Path | str, precision: str = "float32") -> MultimodalEmbedder:
    return MultimodalEmbedder(str(folder), device="cpu", precision=precision)


def images() -> list[Image.Image]:
    """Of the model's size already: what resizes them is not the model."""
    noise = np.random.default_rng(3).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    return [Image.fromarray(pixels) for pixels in noise]


def unit(features: Any) -> Any:
    """Unit rows of what get_text_features gives: a tensor, since transformers 5 an object."""
    rows = getattr(features, "pooler_output", features)
    return torch.nn.functional.normalize(rows, dim=-1).numpy()


def theirs_of_images(model: Any, mean: Sequence[float], std: Sequence[float]) -> Any:
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images()]))
    scaled = pixels.permute(0, 3, 1, 2) / 255
    scaled = (scaled - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.inference_mode():
        return unit(model.get_image_features(pixel_values=scaled))


def theirs_of_texts(model: Any, tokenizer: Any, texts: Sequence[str], **how: Any) -> Any:
    encoded = tokenizer(list(texts), return_tensors="pt", **how)
    with torch.inference_mode():
        return unit(model.get_text_features(input_ids=encoded["input_ids"]))


def assert_equal(embedder: MultimodalEmbedder, texts: Any, of_images: Any) -> None:
    for rows in (texts, of_images):  # vectors that are all alike would agree about anything
        assert np.tril(rows @ rows.T, -1).max() < 0.9999  # a distance of 0.014
    assert np.abs(embedder.embed_text(TEXTS) - texts).max() < NEAR
    assert np.abs(embedder.embed_images(images()) - of_images).max() < NEAR


# parity


@pytest.mark.parametrize("act", ["quick_gelu", "gelu", "gelu_pytorch_tanh"])
@pytest.mark.parametrize("end", [2, 49407])
def test_a_clip_gives_transformers_vectors(tmp_path: Path, act: str, end: int) -> None:
    changed = {"hidden_act": act, "layer_norm_eps": 1e-3}
    model = save_clip(tmp_path, text={"eos_token_id": end, **changed}, vision=changed)
    tokenizer = save_clip_processor(tmp_path)
    embedder = load(tmp_path)
    mean, std = embedder.description.mean, embedder.description.std
    texts = theirs_of_texts(model, tokenizer, TEXTS, padding=True)
    assert_equal(embedder, texts, theirs_of_images(model, mean, std))
    assert embedder.description.text_is_causal
    assert mean == (0.48145466, 0.4578275, 0.40821073)


def test_a_siglip_gives_transformers_vectors(tmp_path: Path) -> None:
    model = save_siglip(tmp_path)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    embedder = load(tmp_path)
    cleaned = [
        "a red bicycle",
        "a red bicycle leaning",
        "a red bicycle beside the harbour",
        "42",
        "caf\u00e9 amp na\u00efvex",
        "two cats on a green sofa and one small dog",
    ]
    how = {"padding": "max_length", "max_length": 64}
    texts = theirs_of_texts(model, tokenizer, cleaned, **how)
    assert_equal(embedder, texts, theirs_of_images(model, [0.5] * 3, [0.5] * 3))
    assert embedder.description.context_length == 64
    assert embedder.description.resize_mode == "squash"


@pytest.mark.parametrize(
    ("said", "side"), [({"padding_side": "right"}, "right"), ({}, "left")], ids=["said", "usual"]
)
def test_a_siglip_2_keeps_punctuation_takes_lower_case_and_pads_as_its_class(
    tmp_path: Path, said: dict[str, str], side: str
) -> None:
    model = save_siglip(tmp_path)
    change(tmp_path / "tokenizer_config.json", tokenizer_class="GemmaTokenizer", **said)
    change(tmp_path / "preprocessor_config.json", resample=2)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path, padding_side=side)
    embedder = load(tmp_path)
    how = {"padding": "max_length", "max_length": 64}
    texts = theirs_of_texts(model, tokenizer, [text.lower() for text in TEXTS], **how)
    assert_equal(embedder, texts, theirs_of_images(model, [0.5] * 3, [0.5] * 3))
    assert embedder.description.interpolation == "bilinear"


def test_a_metaclip_2_is_read_at_its_own_end_of_text(tmp_path: Path) -> None:
    model = save_metaclip(tmp_path)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    embedder = load(tmp_path)
    mean, std = embedder.description.mean, embedder.description.std
    texts = theirs_of_texts(model, tokenizer, TEXTS, padding=True)
    assert_equal(embedder, texts, theirs_of_images(model, mean, std))


def test_weights_as_older_releases_saved_them(tmp_path: Path) -> None:
    """A pickle, with the positions counted out, and half the configuration under other names."""
    model = save_clip(tmp_path, text={"eos_token_id": 2})
    state = load_file(tmp_path / "model.safetensors")
    expected = load(tmp_path).embed_text(TEXTS)
    (tmp_path / "model.safetensors").unlink()
    state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    state["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    torch.save(state, tmp_path / "pytorch_model.bin")
    own = json.loads((tmp_path / "config.json").read_text())
    older = {n: v for n, v in own["text_config"].items() if n != "vocab_size"}
    change(tmp_path / "config.json", text_config_dict=older, text_config={"hidden_size": 512})
    assert model.config.text_config.hidden_size == 48
    assert (load(tmp_path).embed_text(TEXTS) == expected).all()


@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_images_are_resized_as_transformers_does_to_one_level(tmp_path: Path, mode: str) -> None:
    """Of 255: it resizes by torchvision, and by Pillow where one asks for that."""
    if mode == "shortest":
        save_clip(tmp_path)
        save_clip_processor(tmp_path)
    else:
        save_siglip(tmp_path)
    noise = np.random.default_rng(5).integers(0, 256, (30, 41, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((160, 120))
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    theirs = processor(image, return_tensors="np", do_normalize=False)["pixel_values"][0] * 255
    (ours,) = load(tmp_path).encoders["image"].prepare([image])
    assert np.abs(ours - theirs).max() < 1.01


# what OpenCLIP's towers get done for them


def test_beginnings_are_shared_the_last_block_is_cut_and_8_bits_serve(tmp_path: Path) -> None:
    save_clip(tmp_path)
    exact = load(tmp_path)
    tower = exact.model.text_tower
    assert tower is not None
    assert tower._shares_prefixes
    assert isinstance(exact.model.module.visual.transformer.resblocks[-1], LastBlock)
    assert load(tmp_path, "int8").cosine_to(exact.embed_fixed_inputs()) > 0.99
    save_siglip(tmp_path / "siglip")
    exact = load(tmp_path / "siglip")
    assert load(tmp_path / "siglip", "int8").cosine_to(exact.embed_fixed_inputs()) > 0.99


def test_a_clip_of_known_sizes_has_openclips_name(tmp_path: Path) -> None:
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
    vision |= {"num_attention_heads": 12, "image_size": 224, "patch_size": 32}
    text = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12}
    save_clip(tmp_path, vision=vision, text=text | {"num_attention_heads": 8})
    change(tmp_path / "config.json", projection_dim=512)
    state = load_file(tmp_path / "model.safetensors")
    state["text_projection.weight"] = torch.randn(512, 512)
    state["visual_projection.weight"] = torch.randn(512, 768)
    save_file(state, tmp_path / "model.safetensors")
    assert load(tmp_path).description.architecture == "ViT-B-32-quickgelu"


# texts


def test_without_a_tokenizer_a_clip_has_openais(tmp_path: Path) -> None:
    save_clip(tmp_path)
    plain = load(tmp_path).embed_text(TEXTS[:4])
    save_clip_processor(tmp_path)
    assert np.abs(load(tmp_path).embed_text(TEXTS[:4]) - plain).max() < NEAR


def test_a_tokenizer_as_older_releases_saved_it(tmp_path: Path) -> None:
    save_clip(tmp_path)
    save_clip_processor(tmp_path)
    before = load(tmp_path)
    assert (tmp_path / "tokenizer.json").is_file()
    (tmp_path / "tokenizer.json").unlink()
    save_clip_vocabulary(tmp_path)
    after = load(tmp_path)
    assert (after.embed_text(TEXTS) == before.embed_text(TEXTS)).all()
    assert after.description.fingerprint() == before.description.fingerprint()


def test_what_looks_like_the_end_of_a_text_is_text(tmp_path: Path) -> None:
    save_clip(tmp_path)
    save_clip_processor(tmp_path)
    embedder = load(tmp_path)
    one, other = embedder.embed_text(["a cat <|endoftext|> asleep", "a cat <|endoftext|> awake"])
    assert float(one @ other) < 1 - 1e-4


def test_a_long_text_goes_through_in_windows(tmp_path: Path) -> None:
    save_siglip(tmp_path)
    embedder = load(tmp_path)
    text = "two cats on a green sofa and one small dog " * 30
    assert len(embedder.encoders["text"].split(text, 8, 64)) > 1  # type: ignore[attr-defined]
    assert np.isfinite(embedder.embed_text([text])).all()


# what the fingerprint covers


def test_weights_tokenizer_and_preprocessing_are_in_the_fingerprint(tmp_path: Path) -> None:
    save_siglip(tmp_path)
    before = load(tmp_path).description
    assert before.weights_sha256 == sha256_of(tmp_path / "model.safetensors")
    change(tmp_path / "preprocessor_config.json", image_mean=[0.4, 0.5, 0.5])
    other_mean = load(tmp_path).description
    assert [d.split(":")[0] for d in before.differences(other_mean)] == ["mean"]
    change(tmp_path / "tokenizer_config.json", tokenizer_class="GemmaTokenizer")
    other_text = load(tmp_path).description
    changed = [d.split(":")[0] for d in other_mean.differences(other_text)]
    assert "tokenizer.clean" in changed
    assert all(name.startswith("tokenizer.") for name in changed)


def test_other_weights_than_the_spaces_are_refused(tmp_path: Path) -> None:
    save_clip(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "never read"}')
    with pytest.raises(ModelError, match="nothing of it is read"):
        MultimodalEmbedder(str(tmp_path), weights_sha256="0" * 64)


def test_what_transformers_5_calls_processor_config_counts(tmp_path: Path) -> None:
    save_siglip(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    inner = json.loads(file.read_text()) | {"image_mean": [0.1, 0.2, 0.3]}
    file.unlink()
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": inner}))
    assert load(tmp_path).description.mean == (0.1, 0.2, 0.3)


# what is refused


@pytest.mark.parametrize("kind", ["chinese_clip", "altclip", "clip_text_model", "bert", None])
def test_another_kind_of_model_is_refused_by_its_name(tmp_path: Path, kind: str | None) -> None:
    save_clip(tmp_path)
    change(tmp_path / "config.json", model_type=kind)
    with pytest.raises(ModelError, match=rf"the model_type is {kind!r}; .* clip, metaclip_2, sig"):
        load(tmp_path)


def test_naflex_is_refused_with_what_to_take_instead(tmp_path: Path) -> None:
    save_siglip(tmp_path)
    change(tmp_path / "config.json", model_type="siglip2")
    with pytest.raises(ModelError, match=r"NaFlex.*such as google/siglip2-base-patch16-224"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("config.json", {"text_config": {"hidden_act": "relu"}}, "hidden_act is 'relu'"),
        ("config.json", {"vision_config": {"hidden_act": "gelu"}}, "'quick_gelu' of texts and"),
        ("config.json", {"vision_config": {"num_channels": 4}}, "num_channels is 4"),
        ("config.json", {"vision_config": {"image_size": [32, 64]}}, "image_size is"),
        ("config.json", {"text_config": 3}, "is no configuration of clip"),
        ("config.json", {"auto_map": {"AutoModel": "evil.E"}}, "auto_map asks for Python"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": "evil.E"}}, "auto_map asks"),
        ("preprocessor_config.json", {"crop_size": 64}, "otherwise than the 32 x 32 pixels"),
        ("preprocessor_config.json", {"size": {"shortest_edge": 40}}, "otherwise than the 32"),
        ("preprocessor_config.json", {"do_center_crop": False}, "otherwise than the 32"),
        ("preprocessor_config.json", {"do_resize": False}, "otherwise than the 32"),
        ("preprocessor_config.json", {"resample": 0}, "resample is 0"),
        ("preprocessor_config.json", {"rescale_factor": 1.0}, "rescale_factor is 1.0"),
        ("preprocessor_config.json", {"size": 3.5, "crop_size": []}, "otherwise|no configuration"),
        ("config.json", {"text_config": {"num_hidden_layers": 2}}, "of another architecture"),
        ("tokenizer.json", {"model": None}, "the tokenizer in .* cannot be read"),
    ],
)
def test_what_openclip_cannot_do_is_refused_in_one_line(
    tmp_path: Path, file: str, values: dict[str, Any], message: str
) -> None:
    save_clip(tmp_path)
    save_clip_processor(tmp_path)
    own = json.loads((tmp_path / file).read_text())
    merged = {
        name: own[name] | value if isinstance(value, dict) and name in own else value
        for name, value in values.items()
    }
    change(tmp_path / file, **merged)
    with pytest.raises(ModelError, match=message) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.safetensors", r"no weights; put model.safetensors beside it"),
        ("preprocessor_config.json", r"no preprocessor_config.json, .* copy it there"),
        ("tokenizer.json", r"has no tokenizer; put the model's tokenizer.json"),
    ],
)
def test_a_siglip_without_one_of_its_files_says_which(
    tmp_path: Path, name: str, message: str
) -> None:
    save_siglip(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ModelError, match=message):
        load(tmp_path)


def test_weights_in_several_files_are_refused_with_how_to_join_them(tmp_path: Path) -> None:
    save_clip(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "model-00001-of-00002.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(ModelError, match="max_shard_size"):
        load(tmp_path)


@pytest.mark.parametrize("lost", ["q_proj.weight", "mlp.fc1.bias", "text_projection"])
def test_a_tensor_that_is_missing_or_too_many_is_named(tmp_path: Path, lost: str) -> None:
    save_clip(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    whole = dict(state)
    name = next(name for name in state if lost in name)
    del state[name]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"1 missing \("):
        load(tmp_path)
    save_file({**whole, "classifier.weight": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"1 unexpected \(classifier.weight\)"):
        load(tmp_path)
