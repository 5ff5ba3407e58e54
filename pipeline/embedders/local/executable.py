"""What could run code that comes with a model is refused by its name, before anything is opened."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError

# Of transformers and the hub's clients, but for the last, which is Hydra's: a class or a function
# by its name. Whatever they stand in, tokenizer_kwargs say, ends as an argument of theirs.
NAMES = ("trust_remote_code", "auto_map", "code_revision", "custom_pipelines", "_target_")
# Those that transformers looks into for such names, beside OpenCLIP's own.
FILES = (
    "config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "processor_config.json",
    "preprocessor_config.json",
)


def refuse_code(file: Path, document: Any) -> None:
    """Refuse a configuration that asks for code of the model's own.

    Args:
        document: what is in the file, as JSON gives it.

    Raises:
        ModelError: naming the file and the place in it.
    """
    for place in _asks_for_code(document):
        raise ModelError(
            f"{file}: {place} asks for Python that comes with the model, and nothing of a model's "
            "is ever run; take another model, or one that OpenCLIP and transformers know"
        )


def refuse_code_in(folder: Path) -> None:
    """:func:`refuse_code` for what transformers would read in a folder. Raises ModelError."""
    for name in FILES:
        file = folder / name
        if file.is_file():
            try:
                document = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError) as exc:
                raise ModelError(f"{file} cannot be read: {exc}; copy it there again") from exc
            refuse_code(file, document)


def _asks_for_code(value: Any, place: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            here = f"{place}.{name}".removeprefix(".")
            if str(name).lower() in NAMES and inner not in (False, None):
                yield here
            yield from _asks_for_code(inner, here)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _asks_for_code(inner, f"{place}.{number}")
