"""The configuration of a text tower that OpenCLIP has transformers build. Imports torch."""

import json
from pathlib import Path

from open_clip.hf_configs import arch_dict

from pipeline.embedders.local.executable import refuse_code_in
from pipeline.embedders.local.hub import fetch_text_config
from pipeline.errors import ModelError


def text_tower_folder(name: str, model_folder: Path | None) -> Path:
    """A folder whose ``config.json`` describes the tower: the model's own, else from the hub.

    By transformers, a folder of that name in the current one would be taken instead.

    Args:
        name: the tower's on the hub.
        model_folder: where the model's files are, if it brings them.

    Raises:
        ModelError: it is in neither place, or asks for code to be run.
    """
    if model_folder is not None and _describes_a_tower(model_folder / "config.json"):
        refuse_code_in(model_folder)
        return model_folder
    try:
        folder = fetch_text_config(name)
    except ModelError as exc:
        if model_folder is None:
            raise
        raise ModelError(
            f"the text tower of the model in {model_folder} is {name} of transformers', which "
            f"cannot be fetched; go online once, or put its config.json into {model_folder}"
        ) from exc
    refuse_code_in(folder)
    return folder


def _describes_a_tower(file: Path) -> bool:
    """Not so where it describes the whole model: some repositories of the hub have that."""
    try:
        return json.loads(file.read_text(encoding="utf-8")).get("model_type") in arch_dict
    except (OSError, ValueError, AttributeError):
        return False
