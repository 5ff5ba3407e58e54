"""Where a model is: its configuration, and the file of its weights, downloaded if need be.

OpenCLIP's registry is asked, hence this imports torch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip

from pipeline.embedders.local.executable import refuse_code_in
from pipeline.embedders.local.files import CONFIG_NAME, checked_sha256
from pipeline.embedders.local.hub import fetch_config, fetch_saved, fetch_weights
from pipeline.embedders.openclip.checkpoints import (
    Checkpoint,
    ModelSpec,
    parse_spec,
    read_config,
    read_folder,
)
from pipeline.embedders.openclip.huggingface.folder import (
    is_saved_by_transformers,
    read_architecture,
    read_saved,
)
from pipeline.embedders.openclip.naming import close, resolved
from pipeline.errors import ModelError

_PREPROCESS_FIELDS = ("mean", "std", "interpolation", "resize_mode", "fill_color")


def find_checkpoint(model: str, expected: str | None = None) -> Checkpoint:
    """The checkpoint that a spec names, downloaded if it has to be.

    Args:
        expected: SHA-256 (hex) of its weights, where the model is known already; others are
            refused before anything of the model is read.

    Raises:
        ModelError: one line that names what is missing or unknown and what to do.
    """
    spec = resolved(parse_spec(model))
    if spec.folder is not None:
        if is_saved_by_transformers(spec.folder):
            return read_saved(spec.folder, expected)
        return read_folder(spec.folder, expected)
    if spec.hub_id is not None:
        return _from_hub(spec.hub_id, expected)
    assert spec.architecture is not None
    config = open_clip.get_model_config(spec.architecture)
    if config is None:
        raise ModelError(
            f"{spec.architecture!r} is no architecture of OpenCLIP"
            f"{close(spec.architecture, open_clip.list_models())}; "
            "open_clip.list_models() lists them, and a local folder works too" + _folder_here(spec)
        )
    if spec.weights is not None and spec.tag is None:
        preprocess = _common_preprocess(spec.architecture)
    else:
        preprocess = _config_of_tag(spec)
    if preprocess.get("quick_gelu"):  # the tag was trained so: the weights are wrong without it
        config["quick_gelu"] = True
    # Architecture and preprocessing are OpenCLIP's own: of the model there is but this file.
    weights = _fetch_tag(preprocess, model) if spec.weights is None else spec.weights
    sha256 = checked_sha256(weights, expected)
    if spec.weights is None:
        return Checkpoint(config, preprocess, weights, sha256)
    refuse_code_in(weights.parent)
    return Checkpoint(config, preprocess, weights, sha256, weights.parent)


def _folder_here(spec: ModelSpec) -> str:
    """The end of a sentence for whoever means a folder in the current one."""
    return f"; for the folder here write ./{spec.text}" if Path(spec.text).is_dir() else ""


def _config_of_tag(spec: ModelSpec) -> dict[str, Any]:
    tags = open_clip.list_pretrained_tags_by_model(spec.architecture)
    if spec.tag is None:
        some = ", ".join(f"{spec.architecture}/{tag}" for tag in tags[:4])
        raise ModelError(
            f"{spec.architecture} is an architecture without weights; name pretrained ones"
            + (f", such as {some}" if some else f": {spec.architecture}:/path/file.safetensors")
        )
    config: dict[str, Any] = dict(open_clip.get_pretrained_cfg(spec.architecture, spec.tag))
    if not config:
        known = close(spec.tag, tags) or (f" (there are: {', '.join(tags[:8])})" if tags else "")
        raise ModelError(
            f"{spec.architecture} has no pretrained tag {spec.tag!r}{known}{_folder_here(spec)}"
        )
    return config


def _common_preprocess(architecture: str) -> dict[str, Any]:
    """The preprocessing of weights without a tag: the one that all tags of it agree on."""
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    configs = [open_clip.get_pretrained_cfg(architecture, tag) for tag in tags]
    common = [{name: c.get(name) for name in _PREPROCESS_FIELDS} for c in configs]
    if any(config != common[0] for config in common):
        raise ModelError(
            f"weights of {architecture} are preprocessed in more than one way; say whose they "
            f"are like: {architecture}/{tags[0]}:/path/file.safetensors, or use a folder with "
            f"{CONFIG_NAME}"
        )
    return common[0] if common else {}


def _fetch_tag(config: Mapping[str, Any], model: str) -> Path:
    if config.get("hf_hub"):
        return fetch_weights(str(config["hf_hub"]))
    try:  # a few old tags are files of the web, cached and checked by OpenCLIP
        return Path(open_clip.download_pretrained_from_url(config["url"]))
    except (OSError, RuntimeError, KeyError) as exc:
        raise ModelError(
            f"the weights of {model} cannot be fetched ({exc}); go online once, or name a file: "
            f"{model}:/path/file.safetensors"
        ) from exc


def _from_hub(hub_id: str, expected: str | None) -> Checkpoint:
    config = fetch_config(hub_id)
    if config.name != CONFIG_NAME:
        if expected is None:
            read_architecture(config.parent)  # before gigabytes of what cannot be read
        return read_saved(fetch_saved(hub_id), expected)
    if expected is not None:
        checked_sha256(fetch_weights(f"{hub_id}/"), expected)
    model_config, preprocess = read_config(config)
    weights = fetch_weights(f"{hub_id}/")
    return Checkpoint(model_config, preprocess, weights, checked_sha256(weights, expected))


def architecture_name(config: Mapping[str, Any]) -> str:
    """OpenCLIP's name of a model configuration, ``custom`` if it is none of its own."""
    for name in open_clip.list_models():
        if open_clip.get_model_config(name) == config:
            return str(name)
    return "custom"
