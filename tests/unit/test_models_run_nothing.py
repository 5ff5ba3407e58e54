"""Nothing that comes with a model is ever run: what could be is refused by its name, unread."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from pipeline.embedders.local.files import sha256_of
from pipeline.embedders.openclip import finding, tower_configs
from pipeline.embedders.openclip.embedder import MultimodalEmbedder
from pipeline.errors import ModelError
from tests.helpers.checkpoints import TINY_CLIP, TINY_SIGLIP, model_of, save_checkpoint

CODE = "from pathlib import Path\nPath({mark!r}).write_text('ran')\n"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return dict(model_of(TINY_SIGLIP).state_dict())


@pytest.fixture
def hostile(tmp_path: Path, weights: dict[str, Any]) -> Path:
    """A model folder whose tokenizer is a Python class beside it."""
    folder = save_checkpoint(tmp_path / "model", TINY_SIGLIP, state=weights)
    (folder / "evil.py").write_text(CODE.format(mark=str(tmp_path / "ran")))
    change(
        folder / "tokenizer_config.json",
        lambda found: found | {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}},
    )
    return folder


def change(file: Path, how: Any) -> None:
    file.write_text(json.dumps(how(json.loads(file.read_text()))))


def with_text_cfg(**more: Any) -> Any:
    def how(found: dict[str, Any]) -> dict[str, Any]:
        found["model_cfg"]["text_cfg"] |= more
        return found

    return how


@pytest.mark.parametrize(
    ("file", "how", "named"),
    [
        (
            "open_clip_config.json",
            with_text_cfg(tokenizer_kwargs={"trust_remote_code": True}),
            "model_cfg.text_cfg.tokenizer_kwargs.trust_remote_code",
        ),
        ("open_clip_config.json", with_text_cfg(x=[{"TRUST_REMOTE_CODE": 1}]), "x.0.TRUST"),
        ("open_clip_config.json", lambda c: c | {"auto_map": {"AutoModel": "evil.E"}}, "auto_map"),
        ("open_clip_config.json", with_text_cfg(code_revision="main"), "code_revision"),
        ("open_clip_config.json", with_text_cfg(custom_pipelines={}), "custom_pipelines"),
        ("open_clip_config.json", with_text_cfg(y={"_target_": "os.system"}), "_target_"),
        ("tokenizer_config.json", lambda c: c, "auto_map"),
    ],
)
def test_what_could_run_is_refused_by_name(
    hostile: Path, tmp_path: Path, file: str, how: Any, named: str
) -> None:
    change(hostile / file, how)
    with pytest.raises(ModelError) as caught:
        MultimodalEmbedder(str(hostile), device="cpu", precision="float32")
    assert named in str(caught.value)
    assert file in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_it_is_refused_before_the_weights_are_read(hostile: Path) -> None:
    (hostile / "open_clip_model.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(ModelError, match="auto_map"):
        MultimodalEmbedder(str(hostile))


def test_a_configuration_that_refuses_to_trust_is_fine(
    tmp_path: Path, weights: dict[str, Any]
) -> None:
    folder = save_checkpoint(tmp_path / "model", TINY_SIGLIP, state=weights)
    change(
        folder / "open_clip_config.json",
        with_text_cfg(tokenizer_kwargs={"clean": "canonicalize", "trust_remote_code": False}),
    )
    assert MultimodalEmbedder(str(folder), device="cpu", precision="float32").dimensions == 48


def test_files_of_the_hub_are_looked_at_like_those_of_a_folder(
    hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(
        hostile / "open_clip_config.json",
        with_text_cfg(tokenizer_kwargs={"trust_remote_code": True}),
    )
    fetched = []
    monkeypatch.setattr(finding, "fetch_config", lambda _: hostile / "open_clip_config.json")
    monkeypatch.setattr(finding, "fetch_weights", fetched.append)
    with pytest.raises(ModelError, match="trust_remote_code"):
        MultimodalEmbedder("hf-hub:evil/model")
    assert fetched == []


def test_a_tokenizer_of_the_hub_is_looked_at(
    hostile: Path, weights: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.embedders.openclip import tokenizers

    folder = save_checkpoint(tmp_path / "without", TINY_SIGLIP, state=weights)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    monkeypatch.setattr(tokenizers, "fetch_tokenizer", lambda _: hostile)
    with pytest.raises(ModelError, match="auto_map"):
        MultimodalEmbedder(str(folder), device="cpu", precision="float32")
    assert not (tmp_path / "ran").exists()


def test_a_text_tower_of_transformers_brings_no_code(
    hostile: Path, tmp_path: Path, weights: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own configuration is read by transformers, which would ask on a terminal and then run."""
    config = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}
    (hostile / "config.json").write_text(json.dumps(config))
    other = save_checkpoint(tmp_path / "other", TINY_SIGLIP, state=weights)
    change(other / "open_clip_config.json", with_text_cfg(hf_model_name="evil/tower"))
    monkeypatch.setattr(tower_configs, "fetch_text_config", lambda _: hostile)
    with pytest.raises(ModelError, match=r"config.json: auto_map"):
        MultimodalEmbedder(str(other), device="cpu", precision="float32")
    assert not (tmp_path / "ran").exists()


def test_other_weights_are_refused_before_anything_of_the_model_is_read(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "model", TINY_CLIP)
    expected = sha256_of(folder / "open_clip_model.safetensors")
    state = {name: tensor + 1 for name, tensor in model_of(TINY_CLIP).state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text("no JSON, and never read")
    with pytest.raises(ModelError, match=f"has the hash .* and not {expected[:12]}"):
        finding.find_checkpoint(str(folder), expected)


def test_a_folder_named_like_a_tag_does_not_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path / "ViT-B-32" / "no_such_tag", TINY_CLIP)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"for the folder here write \./ViT-B-32/no_such_tag"):
        MultimodalEmbedder("ViT-B-32/no_such_tag")
    save_checkpoint(tmp_path / "mine", TINY_CLIP)
    with pytest.raises(ModelError, match=r"for the folder here write \./mine"):
        MultimodalEmbedder("mine")
    found = MultimodalEmbedder("./mine", device="cpu", precision="float32")
    assert found.dimensions == 32
