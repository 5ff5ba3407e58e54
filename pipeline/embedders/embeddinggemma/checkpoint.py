"""A folder that transformers and sentence-transformers wrote: what is in it, whole and trusted.

No torch. Of sentence-transformers' files only the prompts, the pooling and the longest text are
read; the classes that they name are never imported.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.embedders.embeddinggemma.spec import MODEL_TYPE, GemmaSpec
from pipeline.embedders.local.executable import refuse_code, refuse_code_in
from pipeline.embedders.local.files import (
    SAVED_CONFIG_NAME,
    SAVED_WEIGHTS_NAMES,
    check_safetensors,
    checked_sha256,
)
from pipeline.errors import ModelError
from pipeline.modalities.base import Role

WEIGHTS_NAME = SAVED_WEIGHTS_NAMES[0]
# What sentence-transformers calls the steps that are done here; any other one would be left out.
_KNOWN_STEPS = ("Transformer", "Pooling", "Normalize")
# Of the models that Google published, for a folder that was saved without sentence-transformers.
_QUERY_PROMPT = "task: search result | query: "
_ITEM_PROMPT = "title: none | text: "
_CONTEXT = 2048
OTHER_FILES = (
    "modules.json",
    "1_Pooling/config.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "video_preprocessor_config.json",
)


@dataclass(frozen=True)
class GemmaCheckpoint:
    """Everything needed to build the model, and to embed as it was trained.

    Attributes:
        weights_sha256: of the file's bytes, taken before anything of it was read.
        context_length: tokens of a text, prompt and special tokens included.
    """

    folder: Path
    weights: Path
    weights_sha256: str
    prompts: Mapping[Role, str]
    context_length: int


def find(spec: GemmaSpec, expected: str | None) -> GemmaCheckpoint:
    """The checkpoint that a spec names, downloaded if it has to be.

    Args:
        expected: the hash that its weights must have, where it is known; looked at first.

    Raises:
        ModelError: naming the file that is missing or wrong, or that asks for code to be run.
    """
    folder = spec.folder
    if folder is None:
        from pipeline.embedders.local.hub import fetch_saved

        folder = fetch_saved(spec.hub_id, OTHER_FILES)
    weights = folder / WEIGHTS_NAME
    if not weights.is_file():
        raise ModelError(
            f"{folder} has no {WEIGHTS_NAME}; save the model as one file: "
            "model.save_pretrained(folder, max_shard_size='100GB')"
        )
    sha256 = checked_sha256(weights, expected)
    _check_kind(folder)
    refuse_code_in(folder)
    check_safetensors(weights)
    _check_steps(folder)
    return GemmaCheckpoint(folder, weights, sha256, _prompts(folder), _context(folder))


def _check_kind(folder: Path) -> None:
    config = _read(folder / SAVED_CONFIG_NAME)
    if config is None:
        raise ModelError(f"{folder} has no {SAVED_CONFIG_NAME}; copy it there")
    kind = config.get("model_type")
    if kind != MODEL_TYPE:
        raise ModelError(f"{folder} holds a model of the type {kind!r}, and not {MODEL_TYPE}")


def _check_steps(folder: Path) -> None:
    """Refuse what sentence-transformers would do with the model's output beside the mean."""
    file = folder / "modules.json"
    for step in _read(file) or []:
        name = str(step.get("type", "")).rpartition(".")[2]
        if name not in _KNOWN_STEPS:
            raise ModelError(
                f"{file} has a step {name}, which is not done here; its vectors would be others"
            )
        if name == "Pooling":
            _check_pooling(folder / str(step.get("path", "")) / "config.json")


def _check_pooling(file: Path) -> None:
    pooling = _read(file) or {}
    others = [
        name
        for name, on in pooling.items()
        if name.startswith("pooling_mode_") and on and name != "pooling_mode_mean_tokens"
    ]
    if pooling.get("pooling_mode", "mean") != "mean" or others:
        raise ModelError(f"{file} asks for another pooling than the mean, which alone is done here")
    if not pooling.get("include_prompt", True):
        raise ModelError(f"{file} leaves the prompt out of the mean, which is not done here")


def _prompts(folder: Path) -> dict[Role, str]:
    file = folder / "config_sentence_transformers.json"
    said = (_read(file) or {}).get("prompts") or {}
    query = said.get("query", _QUERY_PROMPT)
    item = said.get("document", _ITEM_PROMPT)
    if not isinstance(query, str) or not isinstance(item, str):
        raise ModelError(f"{file}: a prompt is no text")
    return {"query": query, "item": item}


def _context(folder: Path) -> int:
    """What the model was trained with; its position table goes on to a hundred times as much."""
    said = (_read(folder / "sentence_bert_config.json") or {}).get("max_seq_length")
    return said if isinstance(said, int) and 16 <= said <= _CONTEXT else _CONTEXT


def _read(file: Path) -> Any:
    """The document; None: there is none."""
    if not file.is_file():
        return None
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ModelError(f"{file} cannot be read: {exc}; copy it there again") from exc
    refuse_code(file, document)
    if not isinstance(document, list if file.name == "modules.json" else Mapping):
        raise ModelError(f"{file} is no configuration of a model")
    return document
