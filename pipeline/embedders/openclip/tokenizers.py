"""The tokenizer that a model was trained with, from its folder or the hub. Imports torch."""

import warnings
from typing import Any

import torch
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

from pipeline.embedders.local.executable import refuse_code_in
from pipeline.embedders.local.hub import TOKENIZER_FILES, fetch_tokenizer
from pipeline.embedders.openclip.checkpoints import Checkpoint
from pipeline.embedders.openclip.huggingface.tokenizing import SavedTokenizer, has_tokenizer
from pipeline.embedders.openclip.tokens import Tokenizer
from pipeline.errors import MissingExtra, ModelError

_OWN_TOKENIZER = tuple(file for file in TOKENIZER_FILES if file != "config.json")


def load_tokenizer(checkpoint: Checkpoint, context_length: int, model: str) -> Tokenizer:
    """The tokenizer that the model was trained with.

    Raises:
        ModelError: its files are neither in the model's folder nor to be had from the hub.
    """
    if checkpoint.saved_as is not None:
        return _saved_tokenizer(checkpoint, checkpoint.saved_as, context_length)
    text = checkpoint.model_config["text_cfg"]
    options = dict(text.get("tokenizer_kwargs") or {})
    name = text.get("hf_tokenizer_name") or text.get("hf_model_name")
    if not name:
        return Tokenizer(SimpleTokenizer(context_length=context_length, **options), context_length)
    folder = checkpoint.tokenizer_folder
    if folder is None or not any((folder / file).is_file() for file in _OWN_TOKENIZER):
        try:
            folder = fetch_tokenizer(name)
        except ModelError as exc:
            raise ModelError(
                f"{model} has no tokenizer beside its weights and {name} cannot be fetched; go "
                "online once, or put its tokenizer.json and tokenizer_config.json into the "
                "model's folder"
            ) from exc
    refuse_code_in(folder)
    options["trust_remote_code"] = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raw = HFTokenizer(
                str(folder),
                context_length=context_length,
                tokenizer_mode=text.get("tokenizer_mode"),
                **options,
            )
    except ImportError as exc:
        raise MissingExtra(f"the tokenizer of {model}", "embed") from exc
    except Exception as exc:  # what transformers raises for a broken file varies
        raise ModelError(
            f"the tokenizer in {folder} cannot be read ({type(exc).__name__}); copy the model's "
            "tokenizer.json and tokenizer_config.json there again"
        ) from exc
    return Tokenizer(raw, context_length)


def _saved_tokenizer(checkpoint: Checkpoint, saved_as: str, context_length: int) -> Tokenizer:
    folder = checkpoint.weights.parent
    if has_tokenizer(folder):
        return Tokenizer(SavedTokenizer(folder, saved_as, context_length), context_length)
    # CLIPModel.save_pretrained alone writes none; all CLIPs have OpenAI's, which OpenCLIP brings.
    own = SimpleTokenizer(context_length=context_length)
    if saved_as == "clip" and checkpoint.model_config["text_cfg"]["vocab_size"] == own.vocab_size:
        return Tokenizer(own, context_length)
    raise ModelError(
        f"{folder} has no tokenizer; put the model's tokenizer.json and tokenizer_config.json "
        "there (AutoProcessor.from_pretrained(...).save_pretrained(folder) does)"
    )


def check_tokenizer(tokenizer: Tokenizer, module: torch.nn.Module, model: str) -> None:
    """Refuse a tokenizer that is not this model's: it has ids that the model does not.

    Raises:
        ModelError: naming both numbers.
    """
    tower: Any = getattr(module, "text", module)
    embedding = getattr(tower, "token_embedding", None)
    known = embedding.num_embeddings if embedding is not None else None
    highest = tokenizer.highest_probe_id()
    if known is not None and highest >= known:
        raise ModelError(
            f"the tokenizer of {model} gives ids up to {highest} and the model knows {known}; "
            "put the model's own tokenizer files into its folder"
        )
