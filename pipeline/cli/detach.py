"""``pipeline detach``: source items no longer follow a table, view, folder or bucket."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import note, print_json
from pipeline.cli.sql_words import tell_warnings, told_as_options

if TYPE_CHECKING:
    from pipeline.sources.attached import AttachedSource


def detach(
    name: Annotated[str, typer.Argument(help="Its name, as pipeline attach --list has it.")],
    keep_items: Annotated[
        bool,
        typer.Option("--keep-items", help="Leave its source items and their vectors, as nobody's."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """End what pipeline attach began: the table is as it was, and what came of it is removed.

    Example: pipeline detach products --keep-items
    """
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import ATTACH
    from pipeline.settings import Settings
    from pipeline.sources.attached import attached_sources
    from pipeline.sources.attachments import detach as detach_source

    database = Database.of(Settings.load())
    with database.open(needs=ATTACH) as connection, told_as_options():
        tell_warnings(connection)
        (source,) = attached_sources(connection, name)
        if not (keep_items or yes) and source.source_items:
            _confirm(source)
        count = detach_source(connection, name, keep_items=keep_items, schema=database.schema)
    if as_json:
        print_json({"name": name, "source_items": count, "kept": keep_items})
    else:
        print(f"{name}: {count} source items {'kept' if keep_items else 'removed'}")
    note(f"detached: {name}, which followed {source.of}")


def _confirm(source: "AttachedSource") -> None:
    """Ask, where somebody can answer."""
    from pipeline.errors import ConfigurationError

    going = f"{source.source_items} source items of {source.name!r} with their vectors"
    if not sys.stdin.isatty():
        raise ConfigurationError(
            f"this removes {going}; add --yes if that is meant, or --keep-items"
        )
    typer.confirm(f"Remove {going}?", abort=True, err=True)
