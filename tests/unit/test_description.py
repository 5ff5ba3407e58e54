"""Descriptions of models and their fingerprints: what changes one, and what must not."""

import hashlib
import json
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest

from pipeline import embedders
from pipeline.errors import ModelError
from tests.helpers.descriptions import CLIP
from tests.helpers.fakes import FakeDescription, FakeEmbedder


@dataclass(frozen=True, kw_only=True)
class Later(FakeDescription):
    """What a later release might make of it: one more field, with a default."""

    kind = "fake"

    pooling: str = "mean"


def later(**changes: Any) -> Later:
    given = FakeEmbedder().description
    return Later(**{f.name: getattr(given, f.name) for f in fields(given)}, **changes)


def test_a_field_with_a_default_changes_no_fingerprint_of_who_does_not_use_it() -> None:
    now = FakeEmbedder().description
    assert later().fingerprint() == now.fingerprint()
    assert later().as_dict() == now.as_dict()
    assert later(pooling="last").fingerprint() != now.fingerprint()
    assert later(pooling="last").differences(now) == ["pooling: last != none"]


def test_this_release_names_the_field_that_a_later_one_uses() -> None:
    with pytest.raises(ModelError, match=r"does not know the fields pooling$"):
        FakeDescription.from_dict(later(pooling="last").as_dict())
    assert FakeDescription.from_dict(later().as_dict()) == FakeEmbedder().description


def test_an_unknown_kind_and_missing_fields_are_named() -> None:
    with pytest.raises(ModelError, match=r"of the kind 'holograms', and .* knows fake, .*openclip"):
        embedders.described({"kind": "holograms"})
    with pytest.raises(ModelError, match=r"of the kind None"):
        embedders.described({})
    stored = CLIP.as_dict()
    del stored["mean"], stored["architecture"]
    with pytest.raises(ModelError, match=r"the fields architecture, mean are missing"):
        embedders.described(stored)


def test_what_is_stored_is_read_back_as_it_was() -> None:
    biased = replace(CLIP, logit_bias=-10.0)
    for description in (CLIP, biased):
        stored = json.loads(json.dumps(description.as_dict()))
        assert embedders.described(stored) == description
    assert "logit_bias" not in CLIP.as_dict()
    assert CLIP.as_dict()["kind"] == "openclip"


def test_the_fingerprint_is_of_sorted_json_with_six_digits_and_without_the_name() -> None:
    canonical = {
        "kind": "openclip",
        "dimensions": 512,
        "precision": "bfloat16",
        "weights_sha256": "a" * 64,
        "context_length": 77,
        "architecture": "ViT-B-32",
        "architecture_config": {"embed_dim": 512, "vision_cfg": {"layers": 12, "width": 768}},
        "image_size": [224, 224],
        "text_is_causal": True,
        "mean": [0.481455, 0.457827, 0.408211],
        "std": [0.26863, 0.261303, 0.275777],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "fill_color": 0,
        "tokenizer": {"kind": "SimpleTokenizer"},
        "logit_scale": 100,
    }
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"))
    assert CLIP.fingerprint() == hashlib.sha256(text.encode()).hexdigest()


def test_the_name_the_last_digits_and_the_order_of_keys_are_not_in_it() -> None:
    config = {"vision_cfg": {"width": 768.0, "layers": 12}, "embed_dim": 512}
    same = replace(CLIP, model="/models/mine", logit_scale=100.00001, architecture_config=config)
    assert same.fingerprint() == CLIP.fingerprint()
    assert same.differences(CLIP) == []


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"precision": "float32"}, "precision: bfloat16 != float32"),
        ({"resize_mode": "squash"}, "resize_mode: shortest != squash"),
        ({"logit_scale": 100.001}, "logit_scale: 100 != 100.001"),
        ({"image_size": (224, 336)}, "image_size: [224, 224] != [224, 336]"),
        ({"logit_bias": -10.0}, "logit_bias: none != -10"),
        ({"tokenizer": {"kind": "x"}}, "tokenizer.kind: SimpleTokenizer != x"),
        (
            {"architecture_config": {"embed_dim": 512, "vision_cfg": {"layers": 12}}},
            "architecture_config.vision_cfg.width: 768 != none",
        ),
    ],
)
def test_whatever_decides_the_vectors_is_in_it_and_named(
    changes: dict[str, Any], difference: str
) -> None:
    other = replace(CLIP, **changes)
    assert other.fingerprint() != CLIP.fingerprint()
    assert CLIP.differences(other) == [difference]
