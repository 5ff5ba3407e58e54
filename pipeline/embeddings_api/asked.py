"""A request for embeddings as it was meant: read from JSON, and refused where it means nothing.

Texts are strings or ``{"text": ...}``. Images are ``{"image": ...}`` (Jina's form: a data URI or
bare base64), ``{"type": "image_url", "image_url": {"url": "data:..."}}`` alone or as the one entry
of a ``content`` (OpenRouter's form), or strings with ``"modality": "image"`` (infinity's form).
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipeline.embeddings_api.faults import ApiError, bad
from pipeline.modalities import IMAGE, TEXT, Modality, Role

# As OpenAI's own.
MOST_INPUTS = 2048

_JSON = TypeAdapter(dict[str, Any])
_DATA_URI = re.compile(r"data:image/[\w.+-]+(;[\w.+=-]+)*;base64,", re.ASCII)
_NO_URL = (
    "is neither a data URI (data:image/png;base64,...) nor base64; what a URL or a path names is "
    "never loaded: send the file itself"
)
# By the words of Voyage and NVIDIA, Cohere and OpenRouter, Jina.
_ROLES: Mapping[str, Role] = {
    "query": "query",
    "search_query": "query",
    "retrieval.query": "query",
    "document": "item",
    "passage": "item",
    "search_document": "item",
    "retrieval.passage": "item",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one request.

    Attributes:
        inputs: how many.
        text: bytes of a text in UTF-8.
        file: bytes of an image's file.
    """

    inputs: int
    text: int
    file: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be embedded, and how the vectors are wanted.

    Attributes:
        contents: as bytes: a text in UTF-8, or an image's file.
        dimensions: None: as many as there are.
        is_base64: whether each vector is wanted as base64 of little-endian float32.
    """

    model: str
    contents: tuple[tuple[Modality, bytes], ...]
    role: Role
    dimensions: int | None
    is_base64: bool


def read(body: bytes, limits: Limits) -> Asked:
    """A request's body.

    Raises:
        ApiError: 400, naming what is wrong with which part of it.
    """
    try:
        given = _JSON.validate_json(body)
    except ValidationError as exc:
        raise bad(f"the body is no JSON object: {exc.errors()[0]['msg']}") from exc
    model = given.get("model")
    if not isinstance(model, str):
        raise bad("model is the name of a model; GET /v1/models has it", "model")
    dimensions = given.get("dimensions")
    if dimensions is not None and type(dimensions) is not int:
        raise bad("dimensions is a whole number", "dimensions")
    return Asked(
        model=model,
        contents=_contents(given, limits),
        role=_role(given),
        dimensions=dimensions,
        is_base64=_chosen(given, ("encoding_format", "embedding_type"), "float", "base64"),
    )


def _chosen(given: Mapping[str, Any], names: tuple[str, ...], off: str, on: str) -> bool:
    """Whether ``on`` is chosen of two values under the first of these names that is there."""
    for name in names:
        if (value := given.get(name)) is not None:
            if value not in (off, on):
                raise bad(f"{name} is {off!r} or {on!r}", name)
            return bool(value == on)
    return False


def _role(given: Mapping[str, Any]) -> Role:
    for name in ("input_type", "task"):
        if (value := given.get(name)) is not None:
            if not isinstance(value, str) or value not in _ROLES:
                raise bad(f"{name} is one of {', '.join(_ROLES)}", name)
            return _ROLES[value]
    return "item"


def _contents(given: Mapping[str, Any], limits: Limits) -> tuple[tuple[Modality, bytes], ...]:
    wanted = given.get("input")
    entries = wanted if isinstance(wanted, list) else [wanted]
    if wanted is None or not entries:
        raise bad("input is a text, an image, or a list of them", "input")
    if len(entries) > limits.inputs:
        raise bad(f"{len(entries)} inputs; expected at most {limits.inputs}", "input")
    if isinstance(entries[0], int | list):
        raise bad(
            "input holds tokens, which are those of another model; send the text itself (of "
            "LangChain's OpenAIEmbeddings: check_embedding_ctx_length=False)",
            "input",
        )
    has_images = _chosen(given, ("modality",), TEXT.name, IMAGE.name)
    return tuple(
        _content(one, f"input[{index}]", has_images, limits) for index, one in enumerate(entries)
    )


def _content(one: Any, place: str, is_image: bool, limits: Limits) -> tuple[Modality, bytes]:
    if isinstance(one, str):
        return _image(one, place, limits) if is_image else _text(one, place, limits)
    if isinstance(one, dict) and isinstance(one.get("content"), list):
        if len(one["content"]) != 1:
            raise bad(f"{place}: one text or one image makes a vector, not several", place)
        (one,) = one["content"]
    if isinstance(one, dict):
        for name, make in (("text", _text), ("image", _image)):
            if isinstance(one.get(name), str):
                return make(one[name], place, limits)
        link = one.get("image_url")
        url = link.get("url") if isinstance(link, dict) else link
        if isinstance(url, str):
            return _image(url, place, limits)
    raise bad(
        f'{place}: a string, {{"text": "..."}}, {{"image": "data:image/png;base64,..."}} or '
        '{"type": "image_url", "image_url": {"url": "data:..."}} is expected',
        place,
    )


def _text(text: str, place: str, limits: Limits) -> tuple[Modality, bytes]:
    data = text.encode("utf-8", "surrogatepass")
    return TEXT, _within(data, limits.text, place)


def _image(sent: str, place: str, limits: Limits) -> tuple[Modality, bytes]:
    start = found.end() if (found := _DATA_URI.match(sent)) else 0
    try:
        data = base64.b64decode(memoryview(sent.encode("ascii"))[start:], validate=True)
    except (ValueError, binascii.Error):
        raise bad(f"{place}: the image {_NO_URL}", place, "not_an_image") from None
    return IMAGE, _within(data, limits.file, place)


def _within(data: bytes, most: int, place: str) -> bytes:
    if len(data) > most:
        raise _too_large(f"{place}: {len(data):,} bytes; expected at most {most:,}", place)
    return data


def _too_large(message: str, place: str) -> ApiError:
    return bad(message, place, "too_large")
