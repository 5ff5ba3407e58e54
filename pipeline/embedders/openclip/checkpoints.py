"""Where a model's files are, and whether they can be trusted: no torch, nothing is executed.

The forms of a model spec:

    ViT-B-32/laion2b_s34b_b79k       architecture / pretrained tag, fetched by OpenCLIP
    hf-hub:org/name                  a repository of the model hub
    openai/clip-vit-base-patch32     a name of the hub: OpenCLIP's own pair where it has one
    demo                             the small model that the package carries
    /path/to/folder, ./folder        open_clip_config.json, the weights and (where the model needs
                                     one) its tokenizer files; or what save_pretrained of
                                     transformers wrote there, see ``huggingface``
    ViT-B-32:/path/file.safetensors  an architecture of OpenCLIP with weights of your own
    ViT-L-14/openai:/path/file       the same, for weights whose preprocessing (and activation) is
                                     that of a pretrained tag
"""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pipeline.embedders.local.executable import refuse_code, refuse_code_in
from pipeline.embedders.local.files import (
    CONFIG_NAME,
    WEIGHTS_NAMES,
    checked_sha256,
    sha256_of,
)
from pipeline.errors import ModelError
from pipeline.references import expanded

_PATHS = ("/", "./", "../", "~", "local-dir:")
_WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


@dataclass(frozen=True)
class ModelSpec:
    """A parsed model spec: which of the forms, and what it names."""

    text: str
    folder: Path | None = None
    hub_id: str | None = None
    architecture: str | None = None
    tag: str | None = None
    weights: Path | None = None


@dataclass(frozen=True)
class Checkpoint:
    """Everything needed to build a model: its configuration and one file of weights.

    Attributes:
        weights_sha256: of the file's bytes, taken before anything of it was read.
        tokenizer_folder: where tokenizer files lie, if the model brings them.
        saved_as: the ``model_type`` where transformers wrote it: weights and tokenizer are then
            in its layout.
    """

    model_config: dict[str, Any]
    preprocess_config: dict[str, Any]
    weights: Path
    weights_sha256: str
    tokenizer_folder: Path | None = None
    saved_as: str | None = None


def parse_spec(model: str) -> ModelSpec:
    """Which form ``model`` has. Raises ModelError when it has none, or names a missing path."""
    if not model.strip():
        raise ModelError("no model is named; set PIPELINE_MODEL, for example to ViT-B-32/openai")
    if model == "demo":
        return ModelSpec(model, folder=Path(str(files("pipeline"))) / "demo" / "model")
    if model.startswith("hf-hub:"):
        hub_id = model.removeprefix("hf-hub:")
        if hub_id.count("/") != 1 or not all(hub_id.split("/")):
            raise ModelError(f"{model!r} is no hub model; write hf-hub:organisation/name")
        return ModelSpec(model, hub_id=hub_id)
    path = expanded(model.removeprefix("local-dir:"))
    # A bare name is never a folder: whoever makes one in the current folder would replace a tag.
    is_path = model.startswith(_PATHS)
    if is_path and path.is_dir():
        return ModelSpec(model, folder=path)
    architecture, colon, file = model.partition(":")
    if colon and not model.startswith("local-dir:"):
        return _spec_of_file(model, architecture, expanded(file))
    if path.is_file():
        raise ModelError(
            f"{model} is a file: put the architecture before it, for example ViT-B-32:{model}, "
            f"or name a folder with {CONFIG_NAME} and the weights"
        )
    if is_path:
        raise ModelError(f"the model folder {path} does not exist; check the path")
    architecture, _, tag = model.rpartition("/")
    if not architecture:
        return ModelSpec(model, architecture=tag)
    return ModelSpec(model, architecture=architecture.replace("/", "-"), tag=tag)


def _spec_of_file(model: str, architecture: str, file: Path) -> ModelSpec:
    if not file.is_file():
        raise ModelError(f"the weights file {file} of model {model!r} does not exist")
    name, _, tag = architecture.partition("/")
    return ModelSpec(model, architecture=name, tag=tag or None, weights=file)


def read_folder(folder: Path, expected: str | None = None) -> Checkpoint:
    """The checkpoint in a folder.

    Args:
        expected: the hash that its weights must have; looked at first.

    Raises:
        ModelError: naming the file that is missing or wrong, or that asks for code to be run.
    """
    sha256 = None if expected is None else checked_sha256(_weights_in(folder), expected)
    config = folder / CONFIG_NAME
    if not config.is_file():
        raise ModelError(
            f"{folder} has no {CONFIG_NAME}; a model folder holds {CONFIG_NAME} and "
            f"{WEIGHTS_NAMES[0]}, or what save_pretrained of transformers writes"
        )
    model_config, preprocess_config = read_config(config)
    refuse_code_in(folder)
    weights = _weights_in(folder)
    sha256 = sha256 or sha256_of(weights)
    return Checkpoint(model_config, preprocess_config, weights, sha256, folder)


def read_config(config: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """``model_cfg`` and ``preprocess_cfg`` of an OpenCLIP configuration file.

    Raises:
        ModelError: it is none, or asks for code of the model's own to be run.
    """
    try:
        loaded = json.loads(config.read_text(encoding="utf-8"))
        refuse_code(config, loaded)
        model_config = dict(loaded["model_cfg"])
        preprocess_config = dict(loaded.get("preprocess_cfg") or {})
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ModelError(f"{config} is no OpenCLIP configuration (model_cfg): {exc!r}") from exc
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - model_config.keys()
    if missing:
        raise ModelError(f"{config}: model_cfg lacks {', '.join(sorted(missing))}")
    return model_config, preprocess_config


def _weights_in(folder: Path) -> Path:
    for name in WEIGHTS_NAMES:
        if (folder / name).is_file():
            return folder / name
    others = sorted(p for p in folder.iterdir() if p.suffix in _WEIGHTS_SUFFIXES)
    others = [p for p in others if p.suffix == ".safetensors"] or others
    if len(others) == 1:
        return others[0]
    if others:
        names = ", ".join(p.name for p in others)
        raise ModelError(f"{folder} holds several weights ({names}); name one {WEIGHTS_NAMES[0]}")
    raise ModelError(
        f"{folder} has a configuration but no weights; put {WEIGHTS_NAMES[0]} beside it "
        "(random weights are never used)"
    )
