"""``pipeline space pause`` and ``resume``: workers leave a space alone for a while."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.output import note, print_json, say
from pipeline.settings import Settings

# What needs the database driver is imported by the command that uses it.
if TYPE_CHECKING:
    from pipeline.queue.pauses import Pause

Name = Annotated[str, typer.Argument(help="The space.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def pause(
    name: Name,
    why: Annotated[
        str | None, typer.Option(help="Shown to whoever wonders.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have workers claim none of a space's rows until `space resume`; rows are queued as ever.

    What they have in hand they finish. Searches, `serve`, and answers that are imported go on.

    Example: pipeline space pause demo --why "the disk is nearly full"
    """
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import EMBED
    from pipeline.queue import pauses, status
    from pipeline.spaces import get_space

    with Database.of(Settings.load()).open(needs=EMBED) as connection:
        space = get_space(connection, name)
        paused = pauses.pause(connection, space.name, why)
        counts = status.counts(connection, space.id)
    if as_json:
        print_json(
            {
                "space": name,
                "paused": paused.as_dict(),
                "pending": counts.pending,
                "running": counts.running,
            }
        )
    else:
        say(f"{paused}; {counts.pending} rows wait, {counts.running} are being finished")
    note(f"next: {paused.end}")


def resume(name: Name, as_json: AsJson = False) -> None:
    """End a pause; workers that wait begin at once. Example: pipeline space resume demo"""
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import EMBED
    from pipeline.queue import pauses, status
    from pipeline.spaces import get_space

    with Database.of(Settings.load()).open(needs=EMBED) as connection:
        space = get_space(connection, name)
        was_paused = pauses.resume(connection, space.name)
        pending = status.counts(connection, space.id).pending
    if as_json:
        print_json({"space": name, "paused": None, "was_paused": was_paused, "pending": pending})
    else:
        say(f"{name} goes on" if was_paused else f"{name} was not paused")
        if pending:
            note(f"{pending} rows wait: `pipeline ingest`, unless one is running")


def shown_pause(paused: "Mapping[str, Pause]", space: str) -> dict[str, Any] | None:
    """A space's pause for JSON."""
    return found.as_dict() if (found := paused.get(space)) else None


def tell_pauses(paused: "Iterable[Pause]") -> None:
    """A line each, below a table."""
    for one in paused:
        say(f"{one}; `{one.end}` ends it")
