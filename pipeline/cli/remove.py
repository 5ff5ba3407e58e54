"""``pipeline remove``: rows of ``source_items`` by source, key, path, folder or pattern."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import note, print_json, print_table, say, shortened, wrong
from pipeline.cli.removing import AllowMassDelete, as_dicts, brake_of, tell_refused

if TYPE_CHECKING:
    from pipeline.postgres.connections import Connection
    from pipeline.sources.removal import Leaving

Names = Annotated[
    list[str] | None,
    typer.Argument(
        help="Keys; paths and folders; URIs; or patterns of these with * and ?, in quotes."
    ),
]
SHOWN = 5


def remove(
    names: Names = None,
    source: Annotated[
        str | None, typer.Option(help="Of this source only; without NAMES all of it.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count and show.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    allow_mass_delete: AllowMassDelete = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Remove rows from the source table, and with them their vectors, in every space.

    A name that no row has ends it with nothing removed; so does one of an attached source's row.

    Example: pipeline remove photos/2019 "*.gif" --dry-run
    """
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import REMOVE
    from pipeline.settings import Settings
    from pipeline.sources import removal
    from pipeline.sources.attached import check_may_go

    if not names and source is None:
        wrong("NAMES", "name keys, paths, folders or patterns, or a --source")
    if not all(names or []):
        wrong("NAMES", "a name is empty")
    settings = Settings.load()
    brake = brake_of(settings, released=allow_mass_delete)
    with Database.of(settings).open(needs=REMOVE) as connection:
        rows = _found(connection, names or [None], source)
        going = removal.counted(rows)
        check_may_go(connection, going)
        done = removal.Removed(refused=removal.refusals(connection, going, brake, named=True))
        if not (dry_run or done.refused):
            if not yes:
                _confirm(len(rows), going)
            done = removal.remove(connection, rows, brake, named=True)
    if as_json:
        refused = as_dicts(done.refused)
        print_json({"found": going, "removed": done.removed, "refused": refused})
    elif dry_run:
        _show(rows, going)
    else:
        print(f"{done.removed} removed")
    tell_refused(done.refused)
    if done.refused and not dry_run:
        raise typer.Exit(1)


def _found(
    connection: "Connection", names: Sequence[str | None], source: str | None
) -> "list[Leaving]":
    """The rows that are meant, each once; a name that no row has is an error."""
    from pipeline.errors import ConfigurationError
    from pipeline.references import redact
    from pipeline.sources.selection import selected

    found: dict[int, Leaving] = {}
    for name in names:
        rows = selected(connection, name, source=source)
        if not rows:
            of = "" if source is None else f" of the source {source!r}"
            called = "" if name is None else f" is called {redact(name)!r}"
            raise ConfigurationError(f"no row{of}{called}; nothing was removed")
        found |= {row.source_id: row for row in rows}
    return list(found.values())


def _show(rows: "Sequence[Leaving]", going: dict[str, int]) -> None:
    from pipeline.references import redact

    print_table(None, ("source", "rows"), list(going.items()), right=("rows",))
    for row in rows[:SHOWN]:
        say(f"source item {row.source_id}: {shortened(redact(row.content_ref))}")
    if len(rows) > SHOWN:
        print(f"and {len(rows) - SHOWN} more")
    note("nothing was removed; without --dry-run it is")


def _confirm(count: int, going: dict[str, int]) -> None:
    """Ask, where somebody can answer."""
    from pipeline.errors import ConfigurationError

    of = ", ".join(f"{rows} of {source!r}" for source, rows in going.items())
    if not sys.stdin.isatty():
        raise ConfigurationError(
            f"this removes {count} rows ({of}) with their vectors; add --yes if that is meant"
        )
    typer.confirm(f"Remove {count} rows ({of}) and their vectors?", abort=True, err=True)
