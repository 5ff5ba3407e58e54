"""What an application hands over, texts and images in Python, as rows of ``source_items``."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigurationError
from pipeline.modalities import IMAGE
from pipeline.references import expanded, is_data, is_elsewhere, local_path
from pipeline.sources.source_items import NewSource, text_row, unusable


def text_rows(docs: Iterable[str | Mapping[str, Any]], source: str) -> Iterator[NewSource]:
    """Texts, or mappings with ``text`` and anything else as metadata (``id`` is the key).

    Raises:
        ConfigurationError: naming the first that is none.
    """
    for place, doc in _each("text_docs", docs):
        if isinstance(doc, str):
            yield text_row(_usable(place, doc), source)
            continue
        if not isinstance(doc, Mapping):
            raise ConfigurationError(f"{place} is {doc!r}; a text or a mapping is expected")
        if not isinstance(doc.get("text"), str):
            raise ConfigurationError(f"{place} needs a 'text'; it has {list(doc)}")
        row = text_row(_usable(place, doc["text"]), source)
        metadata = {name: value for name, value in doc.items() if name not in {"id", "text"}}
        key = row.source_key if doc.get("id") is None else str(doc["id"])
        yield NewSource(source, key, row.modality, row.content_ref, metadata, place)


def image_rows(paths: Iterable[str | Path], source: str) -> Iterator[NewSource]:
    """Paths and URIs of images; a path becomes absolute, and is the key.

    Raises:
        ConfigurationError: naming the first that is none.
    """
    for place, given in _each("image_paths", paths):
        if not isinstance(given, (str, os.PathLike)):
            raise ConfigurationError(f"{place} is {given!r}; a path or a URI is expected")
        reference = _usable(place, str(given))
        if not reference:
            raise ConfigurationError(f"{place} is empty; a path or a URI is expected")
        if not (is_elsewhere(reference) or is_data(reference)):
            reference = str(local_path(expanded(reference)))
        yield NewSource(source, reference, IMAGE.name, reference)


def _each(name: str, given: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Each one, and what messages call it. One alone is no list of its letters."""
    if isinstance(given, (str, bytes, os.PathLike, Mapping)) or not isinstance(given, Iterable):
        raise ConfigurationError(f"{name} is a list, not one {type(given).__name__}")
    for number, one in enumerate(given):
        yield f"{name}[{number}]", one


def _usable(place: str, text: str) -> str:
    if problem := unusable(text):
        raise ConfigurationError(f"{place}: {problem}")
    return text
