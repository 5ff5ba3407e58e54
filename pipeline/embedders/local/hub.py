"""Files of the model hub: from its cache when they are there, else downloaded, no torch needed.

The cache comes first so that a model, once fetched, loads at once and stays the same: the hub's
own client asks the network first and, offline, retries for half a minute per file.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

from pipeline.embedders.local.files import (
    CONFIG_NAME,
    SAVED_CONFIG_NAME,
    SAVED_WEIGHTS_NAMES,
    WEIGHTS_NAMES,
)
from pipeline.errors import ModelError

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "config.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
)
# transformers 5 writes the latter, with the image processor as a part of it.
PREPROCESSING_FILES = ("preprocessor_config.json", "processor_config.json")
_DEFAULT_WEIGHTS = "open_clip_pytorch_model.bin"


def fetch_weights(hub_name: str) -> Path:
    """The weights of ``org/name/`` (the default file) or ``org/name/file``.

    A safetensors file of the same name is taken where there is one.

    Raises:
        ModelError: neither cached nor to be had.
    """
    hub_id, _, file = hub_name.rpartition("/")
    return _first_of(hub_id, list(_safer_first(file or _DEFAULT_WEIGHTS)))


def fetch_config(hub_id: str) -> Path:
    """The OpenCLIP configuration of a model, or the one that transformers wrote.

    OpenCLIP's repositories have both, so that its own is looked for first; but not once a model
    of transformers' is here with its weights: asking for what it has not would need the network.

    Raises:
        ModelError: neither cached nor to be had.
    """
    saved = [SAVED_CONFIG_NAME]
    if not _is_cached(hub_id, [CONFIG_NAME]) and _is_cached(hub_id, SAVED_WEIGHTS_NAMES):
        return _first_of(hub_id, saved)
    return _first_of(hub_id, [CONFIG_NAME], otherwise=saved)


def fetch_saved(hub_id: str, others: Sequence[str] = ()) -> Path:
    """A folder with what ``save_pretrained`` wrote, and other files that it may have.

    Raises:
        ModelError: it has no weights.
    """
    folder = _first_of(hub_id, SAVED_WEIGHTS_NAMES).parent
    _fetch_some(hub_id, (*TOKENIZER_FILES, *PREPROCESSING_FILES, *others))
    return folder


def fetch_text_config(hub_id: str) -> Path:
    """A folder with the configuration of a text tower of transformers'. Raises ModelError."""
    return _first_of(hub_id, ["config.json"]).parent


def fetch_tokenizer(hub_id: str) -> Path:
    """A folder with the tokenizer's files. Raises ModelError when there are none."""
    folder = _first_of(hub_id, ["tokenizer.json", "spiece.model", "vocab.txt"]).parent
    _fetch_some(hub_id, TOKENIZER_FILES)
    return folder


def _fetch_some(hub_id: str, files: Sequence[str]) -> None:
    for file in files:
        try:
            _first_of(hub_id, [file])
        except ModelError:  # which of them a model has differs
            continue


def _safer_first(file: str) -> Iterator[str]:
    if file == _DEFAULT_WEIGHTS:
        yield WEIGHTS_NAMES[0]
    elif file.endswith((".bin", ".pth", ".pt")):
        yield file.rpartition(".")[0] + ".safetensors"
    yield file


def _first_of(hub_id: str, files: Sequence[str], otherwise: Sequence[str] = ()) -> Path:
    """The first of ``files`` in the cache, else the first that the hub has, these or others."""
    try:
        return _cached(hub_id, files) or _download(hub_id, [*files, *otherwise])
    # Whatever it is: the client lets through what its transport raises, which is requests, httpx
    # or httpx2 by its version, and has a library of its own for large files.
    except Exception as exc:
        reason = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
        raise ModelError(
            f"{hub_id} is not in the hub's cache and cannot be fetched ({reason[:200]}); go "
            f"online once, or copy {CONFIG_NAME} and {WEIGHTS_NAMES[0]} into a folder and set "
            "PIPELINE_MODEL to its path"
        ) from exc


def _cached(hub_id: str, files: Sequence[str]) -> Path | None:
    for file in files:
        try:
            return Path(hf_hub_download(hub_id, file, local_files_only=True))
        except (LocalEntryNotFoundError, HFValidationError):
            continue
    return None


def _is_cached(hub_id: str, files: Sequence[str]) -> bool:
    return _cached(hub_id, files) is not None


def _download(hub_id: str, files: Sequence[str]) -> Path:
    if constants.HF_HUB_OFFLINE:
        raise ConnectionError("HF_HUB_OFFLINE is set")
    _check_network()
    for file in files:
        try:
            return Path(hf_hub_download(hub_id, file))
        except LocalEntryNotFoundError:  # no answer; its parent class says "no such file"
            raise
        except EntryNotFoundError:
            continue
    raise FileNotFoundError(f"it has no {' or '.join(files)}")


def _check_network() -> None:
    """Fail at once where the hub's name is unknown (a proxy would resolve it for us)."""
    if os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"):
        return
    endpoint = urlsplit(constants.ENDPOINT)
    try:
        socket.getaddrinfo(endpoint.hostname, endpoint.port or 443)
    except OSError as exc:
        raise ConnectionError("this machine is offline: the hub's name is unknown") from exc
