"""Options that say what of a table's rows is embedded: one for each modality, and ``--each``.

``--image photo_url`` is a column, and the content's name is the column's, unless it is given one:
``--image photo=photo_url``. Of an SQL expression without a name the modality's is taken.
"""

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline import modalities
from pipeline.cli.output import wrong

if TYPE_CHECKING:
    from pipeline.sources.attachments import Content

# Option -> what was given with it.
Given = Mapping[str, list[str]]

EACH = "each"
_NAMED = re.compile(r"([\w-]+)=(?![=>])(.+)", re.DOTALL)
_NAMED_EACH = re.compile(r"([\w-]*):(\w+)=(?![=>])(.+)", re.DOTALL)
_COLUMN = re.compile(r"(?:\w+\.)*(\w+)")


def with_content_options(command: Callable[..., None]) -> Callable[..., None]:
    """The same command with these options, whose values it gets as ``given``."""
    own = inspect.signature(command)
    options = [
        inspect.Parameter(f"of_{option}", inspect.Parameter.KEYWORD_ONLY, **kind)
        for option, kind in _options(set(own.parameters))
    ]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        given = {
            option.name.removeprefix("of_"): values.pop(option.name, None) or []
            for option in options
        }
        command(given=given, **values)

    first, *rest = (
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for one in own.parameters.values()
        if one.name != "given"
    )
    run.__signature__ = own.replace(parameters=[first, *options, *rest])  # type: ignore[attr-defined]
    return run


def _options(taken: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name -> default and annotation; a modality that is called as another option has none."""
    for modality in modalities.registered():
        if modality.name not in taken:
            said = f"Column or SQL expression with {modality.name}; may be repeated."
            yield modality.name, _option(modality.name, said, "[NAME=]SQL")
    said = "The same, of an array with one in each element; its modality follows the name."
    yield EACH, _option(EACH, said, "[NAME:MODALITY=]SQL")


def _option(name: str, said: str, metavar: str) -> dict[str, Any]:
    option = typer.Option(
        f"--{name.replace('_', '-')}", help=said, metavar=metavar, show_default=False
    )
    return {"default": None, "annotation": Annotated[list[str] | None, option]}


def contents_of(given: Given) -> "dict[str, Content]":
    """By name. What cannot be meant is wrong usage."""
    from pipeline.sources.attachments import Content

    found: dict[str, Content] = {}
    for option, values in given.items():
        for value in values:
            name, content = _each(value) if option == EACH else _one(option, value)
            if not content.content.strip():
                wrong(f"--{option}", "the column is empty")
            if name in found:
                wrong(f"--{option}", f"two contents are called {name!r}; say NAME=SQL of one")
            found[name] = content
    return found


def _one(modality: str, value: str) -> "tuple[str, Content]":
    from pipeline.sources.attachments import Content

    named = _NAMED.fullmatch(value)
    name, expression = named.groups() if named else (_name_of(value, modality), value)
    return name, Content(modality, expression)


def _each(value: str) -> "tuple[str, Content]":
    """An array without a modality is one of references, by what a reference is taken for."""
    from pipeline.sources.attachments import Content

    if named := _NAMED_EACH.fullmatch(value):
        name, modality, expression = named.groups()
        if modality not in modalities.known_names():
            wrong("--each", f"there is no modality {modality!r}")
        return name or _name_of(expression, modality), Content(modality, expression, each=True)
    modality = modalities.of_reference("").name
    name, content = _one(modality, value)
    return name, Content(modality, content.content, each=True)


def _name_of(expression: str, modality: str) -> str:
    """That of a plain column, else the modality's."""
    column = _COLUMN.fullmatch(expression.strip())
    return column[1] if column else modality


def columns_of(option: str, values: list[str] | None) -> tuple[str, ...] | None:
    """Of an option with columns, a comma between them or the option repeated."""
    if values is None:
        return None
    found = tuple(part.strip() for value in values for part in value.split(","))
    if not all(found):
        wrong(option, "a column is empty")
    return found


def metadata_of(values: list[str] | None) -> tuple[str, ...] | str | None:
    """Columns, or one SQL expression that gives ``jsonb``."""
    if values is None or all(re.fullmatch(r"[\w, ]*", value) for value in values):
        return columns_of("--metadata", values)
    if len(values) > 1:
        wrong("--metadata", "it takes columns, or one SQL expression that gives jsonb")
    return values[0]
