"""OpenCLIP's models whose text tower is one of transformers': read as OpenCLIP reads them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from huggingface_hub import constants
from open_clip.tokenizer import HFTokenizer
from safetensors.torch import save_file

from pipeline.embedders.openclip.embedder import MultimodalEmbedder
from pipeline.errors import ModelError
from tests.helpers.checkpoints import TINY_CLIP, save_tokenizer
from tests.helpers.saved_by_transformers import change, randomised

TEXTS = ["a red bicycle", "two cats on a green sofa", "42"]
TOWERS: dict[str, tuple[int, str]] = {
    "roberta": (514, "mean_pooler"),
    "xlm-roberta": (514, "mean_pooler"),
    "bert": (512, "cls_pooler"),
}


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def saved(folder: Path, kind: str) -> tuple[Any, dict[str, Any]]:
    """A whole local model: its configuration, weights, tokenizer, and its text tower's config."""
    positions, pooler = TOWERS[kind]
    folder.mkdir()
    tower = {
        "model_type": kind,
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": 512,
        "max_position_embeddings": positions,
        "pad_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(tower))
    save_tokenizer(folder)
    change(folder / "tokenizer_config.json", pad_token="<pad>")
    config: dict[str, Any] = {
        "embed_dim": 32,
        "vision_cfg": TINY_CLIP["vision_cfg"],
        "text_cfg": {
            "hf_model_name": "shop/tower",
            "hf_tokenizer_name": "shop/tower",
            "hf_model_pretrained": False,
            "hf_pooler_type": pooler,
            "hf_proj_type": "linear",
        },
    }
    here = json.loads(json.dumps(config))
    here["text_cfg"]["hf_model_name"] = str(folder)
    model = randomised(open_clip.CustomTextCLIP(**here))
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return model, config


def load(folder: Path) -> MultimodalEmbedder:
    return MultimodalEmbedder(str(folder), device="cpu", precision="float32")


@pytest.mark.parametrize("kind", TOWERS)
def test_texts_have_openclips_vectors_in_its_context(tmp_path: Path, kind: str) -> None:
    model, _ = saved(tmp_path / "m", kind)
    embedder = load(tmp_path / "m")
    tokens = HFTokenizer(str(tmp_path / "m"), context_length=77)(TEXTS)
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(model.encode_text(tokens), dim=-1).numpy()
    assert np.abs(embedder.embed_text(TEXTS) - expected).max() < 1e-5
    assert embedder.description.context_length == 77
    assert embedder.description.tokenizer["context_length"] == 77


@pytest.mark.parametrize("kind", TOWERS)
def test_600_words_go_through_in_windows(tmp_path: Path, kind: str) -> None:
    saved(tmp_path / "m", kind)
    embedder = load(tmp_path / "m")
    windows = embedder.encoders["text"].split("bicycle " * 600, 0, 600)  # type: ignore[attr-defined]
    assert len(windows) == 8
    assert np.isfinite(embedder.embed_text(["bicycle " * 600])).all()


def test_a_context_that_the_configuration_says_counts(tmp_path: Path) -> None:
    _, config = saved(tmp_path / "m", "roberta")
    config["text_cfg"]["context_length"] = 40
    (tmp_path / "m" / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    assert load(tmp_path / "m").description.context_length == 40


def test_without_the_towers_configuration_it_says_what_to_put_where(tmp_path: Path) -> None:
    saved(tmp_path / "m", "roberta")
    (tmp_path / "m" / "config.json").unlink()
    with pytest.raises(
        ModelError, match=r"text tower .* shop/tower.*put its config.json into"
    ) as e:
        load(tmp_path / "m")
    assert "\n" not in str(e.value)


def test_a_configuration_beside_it_that_is_no_text_towers_is_passed_over(tmp_path: Path) -> None:
    saved(tmp_path / "m", "roberta")
    change(tmp_path / "m" / "config.json", model_type="clip")
    with pytest.raises(ModelError, match=r"put its config.json into"):
        load(tmp_path / "m")


def test_a_tower_that_is_beside_the_weights_brings_no_code(tmp_path: Path) -> None:
    saved(tmp_path / "m", "bert")
    change(tmp_path / "m" / "config.json", auto_map={"AutoModel": "evil.E"})
    with pytest.raises(ModelError, match="auto_map"):
        load(tmp_path / "m")
