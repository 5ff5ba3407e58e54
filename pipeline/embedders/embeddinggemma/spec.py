"""Specs of EmbeddingGemma 2: which folder or repository, and how much of the model. No torch.

google/embeddinggemma-2                          a repository of the model hub
/path/to/folder, ./folder                        what save_pretrained of transformers wrote
google/embeddinggemma-2#dimensions=256           the first 256 dimensions, for a smaller index
google/embeddinggemma-2#visual=140               of 70, 140, 280, ... tokens an image; the more,
                                                 the finer and the slower
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.embedders.local.files import SAVED_CONFIG_NAME
from pipeline.errors import ModelError
from pipeline.references import expanded

MODEL_TYPE = "embedding_gemma2"
VISUAL_TOKENS = (70, 140, 280, 560, 1120)
LEAST_DIMENSIONS = 16
_PATHS = ("/", "./", "../", "~", "local-dir:")
_HUB_NAME = re.compile(r"(hf-hub:)?[\w.-]+/embeddinggemma-2[\w.-]*", re.IGNORECASE)
_OPTIONS = re.compile(r"(.*)#((?:dimensions|visual)=[^#/]*)")


@dataclass(frozen=True)
class GemmaSpec:
    """A parsed spec.

    Attributes:
        folder: None: it is of the hub.
        dimensions: that are kept; 0: all.
        visual_tokens: of an image at most; 0: what the model was saved with.
    """

    text: str
    hub_id: str
    folder: Path | None
    dimensions: int = 0
    visual_tokens: int = 0


def claims(spec: str) -> bool:
    """Whether a spec names a model of this family, as far as its name or folder tells."""
    place, _ = _parted(spec)
    if _HUB_NAME.fullmatch(place):
        return True
    return place.startswith(_PATHS) and _model_type(_folder(place)) == MODEL_TYPE


def parse(spec: str) -> GemmaSpec:
    """Raises ModelError: an option that there is not, or a folder that is missing."""
    place, options = _parted(spec)
    found = {"dimensions": 0, "visual": 0}
    for option in filter(None, options.split(",")):
        name, _, value = option.partition("=")
        if name not in found or not value.isascii() or not value.isdigit():
            raise ModelError(
                f"{spec!r}: {option!r} is no option of EmbeddingGemma 2; write "
                "#dimensions=256 or #visual=140, or both with a comma between them"
            )
        found[name] = int(value)
    if found["visual"] and found["visual"] not in VISUAL_TOKENS:
        raise ModelError(
            f"{spec!r}: an image has {', '.join(map(str, VISUAL_TOKENS))} tokens at most, "
            f"not {found['visual']}"
        )
    folder = _folder(place) if place.startswith(_PATHS) else None
    if folder is not None and not folder.is_dir():
        raise ModelError(f"the model folder {folder} does not exist; check the path")
    hub_id = "" if folder is not None else place.removeprefix("hf-hub:")
    return GemmaSpec(spec, hub_id, folder, found["dimensions"], found["visual"])


def _parted(spec: str) -> tuple[str, str]:
    matched = _OPTIONS.fullmatch(spec)
    return (matched[1], matched[2]) if matched else (spec, "")


def _model_type(folder: Path) -> object:
    try:
        config = json.loads((folder / SAVED_CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config.get("model_type") if isinstance(config, dict) else None


def _folder(place: str) -> Path:
    return expanded(place.removeprefix("local-dir:"))
