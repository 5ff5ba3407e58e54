"""A folder that ``save_pretrained`` wrote: what is in it, whole and trusted. No torch."""

import json
from pathlib import Path
from typing import Any

from pipeline.embedders.local.executable import refuse_code, refuse_code_in
from pipeline.embedders.local.files import (
    CONFIG_NAME,
    SAVED_CONFIG_NAME,
    SAVED_WEIGHTS_NAMES,
    checked_sha256,
)
from pipeline.embedders.openclip.checkpoints import Checkpoint
from pipeline.embedders.openclip.huggingface.architecture import model_config
from pipeline.embedders.openclip.huggingface.preprocessing import preprocess_config
from pipeline.errors import ModelError


def is_saved_by_transformers(folder: Path) -> bool:
    """OpenCLIP's own configuration comes first: its repositories of the hub have both."""
    return (folder / SAVED_CONFIG_NAME).is_file() and not (folder / CONFIG_NAME).is_file()


def read_saved(folder: Path, expected: str | None = None) -> Checkpoint:
    """The checkpoint in a folder that transformers wrote.

    Args:
        expected: the hash that its weights must have; looked at first.

    Raises:
        ModelError: naming the file that is missing or wrong, that asks for code to be run, or is
            of a kind of model that OpenCLIP does not have.
    """
    sha256 = None if expected is None else checked_sha256(_weights_in(folder), expected)
    kind, architecture = read_architecture(folder)
    refuse_code_in(folder)
    preprocess = preprocess_config(folder, kind, architecture["vision_cfg"]["image_size"])
    weights = _weights_in(folder)
    sha256 = sha256 or checked_sha256(weights, None)
    return Checkpoint(architecture, preprocess, weights, sha256, folder, saved_as=kind)


def read_architecture(folder: Path) -> tuple[str, dict[str, Any]]:
    """The ``model_type``, and OpenCLIP's ``model_cfg`` of it. Raises ModelError."""
    config = _read(folder / SAVED_CONFIG_NAME)
    return str(config.get("model_type")), model_config(folder / SAVED_CONFIG_NAME, config)


def _read(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ModelError(f"{file} cannot be read: {exc}; copy it there again") from exc
    refuse_code(file, document)
    if not isinstance(document, dict):
        raise ModelError(f"{file} is no configuration of a model")
    return document


def _weights_in(folder: Path) -> Path:
    for name in SAVED_WEIGHTS_NAMES:
        if (folder / name).is_file():
            return folder / name
        if (folder / f"{name}.index.json").is_file():
            raise ModelError(
                f"{folder} holds its weights in several files; save them as one: "
                "model.save_pretrained(folder, max_shard_size='100GB')"
            )
    raise ModelError(
        f"{folder} has a configuration but no weights; put {SAVED_WEIGHTS_NAMES[0]} beside it "
        "(random weights are never used)"
    )
