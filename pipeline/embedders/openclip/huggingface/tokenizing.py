"""The tokenizer in a folder that transformers wrote. Imports torch.

A text that holds ``<|endoftext|>`` does not end there: what looks like a special token is text.
"""

import json
import string
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import ModelError

FILES = ("tokenizer.json", "vocab.json", "spiece.model", "sentencepiece.bpe.model")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class SavedTokenizer:
    """In the form of OpenCLIP's ``HFTokenizer``, but for its cleaning: texts are cleaned as
    transformers cleans them, which unescapes no HTML and repairs no encodings.

    Args:
        folder: with one of :data:`FILES`.
        saved_as: the ``model_type``.

    Raises:
        ModelError: what is in the folder is no tokenizer, or needs a package that is missing.
    """

    tokenizer_mode = ""

    def __init__(self, folder: Path, saved_as: str, context_length: int) -> None:
        self.context_length = context_length
        said = _config(folder / "tokenizer_config.json")
        self.clean_fn = _cleaning(said, saved_as)
        self.tokenizer = _loaded(folder, said)

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """Ids, padded and cut, shape (n, context_length)."""
        ids: torch.Tensor = self.tokenizer(
            [self.clean_fn(text) for text in texts],
            return_tensors="pt",
            max_length=self.context_length,
            padding="max_length",
            truncation=True,
        ).input_ids
        return ids


def has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in FILES)


def _config(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
    except (OSError, ValueError, TypeError) as exc:
        raise ModelError(f"{file} cannot be read: {exc}; copy it there again") from exc


def _is_gemmas(said: Mapping[str, Any]) -> bool:
    """That of SigLIP 2, by either of its names."""
    return str(said.get("tokenizer_class")).startswith(("Gemma", "Siglip2"))


def _loaded(folder: Path, said: Mapping[str, Any]) -> Any:
    # Late, as OpenCLIP imports it: it takes seconds, and a model of OpenCLIP's may not need it.
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    # tokenizer.json is whole and says alike whatever is installed; AutoTokenizer asks for
    # sentencepiece where the class is SigLIP's, and reads the model's configuration aloud.
    whole = (folder / "tokenizer.json").is_file()
    kind: Any = PreTrainedTokenizerFast if whole else AutoTokenizer
    how: dict[str, Any] = {} if whole else {"trust_remote_code": False}
    if _is_gemmas(said) and "padding_side" not in said:
        how["padding_side"] = "left"  # the default of its class alone
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return kind.from_pretrained(
                str(folder),
                split_special_tokens=True,
                local_files_only=True,
                **how,
            )
    except ImportError as exc:
        raise ModelError(
            f"the tokenizer in {folder} needs a package that is not installed (sentencepiece, "
            "mostly); put the model's tokenizer.json there, which needs none"
        ) from exc
    except Exception as exc:  # what transformers raises for a broken file varies
        raise ModelError(
            f"the tokenizer in {folder} cannot be read ({type(exc).__name__}); copy the model's "
            "tokenizer.json and tokenizer_config.json there again"
        ) from exc


def _cleaning(said: Mapping[str, Any], saved_as: str) -> Callable[[str], str]:
    """What is done to a text before: SigLIP saw lower case, its first form no punctuation."""
    if saved_as != "siglip":
        return _clean_nothing
    if _is_gemmas(said):
        return _clean_lower
    return _clean_punctuation if said.get("do_lower_case") is False else _clean_canonical


# Named after what they do: the names are in the fingerprint.


def _clean_nothing(text: str) -> str:
    return text


def _clean_lower(text: str) -> str:
    return text.lower()


def _clean_punctuation(text: str) -> str:
    return " ".join(text.translate(_PUNCTUATION).split())


def _clean_canonical(text: str) -> str:
    return _clean_punctuation(text.lower())
