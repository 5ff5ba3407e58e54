"""``pipeline status``, ``failures`` and ``retry``: the queue for people."""

from dataclasses import asdict
from typing import Annotated

import typer

from pipeline.cli.output import note, print_json, print_table, say, shortened, wrong
from pipeline.cli.space_pause import shown_pause, tell_pauses


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """Show what is stored and what is still to do, per space and modality.

    Rows of a modality that no space in use has are counted too; in JSON such a modality's space is
    null. A space that is paused is said to be, by whom and why; a standby how far behind it is.

    Example: pipeline status
    """
    from pipeline.postgres.database import Database
    from pipeline.postgres.standby import find_standby
    from pipeline.queue.pauses import pauses
    from pipeline.queue.status import ingest_status, unsupported
    from pipeline.settings import Settings

    database = Database.of(Settings.load())
    with database.open() as connection:
        found = ingest_status(connection)
        left = unsupported(connection)
        paused, standby = pauses(connection), find_standby(connection)
    if as_json:
        nowhere = {"space": None, "state": None, "model": None, "paused": None}
        behind = {"standby": asdict(standby) if standby else None}
        nothing = {"items": 0, "pending": 0, "running": 0, "failed": 0}
        print_json(
            [
                {**asdict(row), "unsupported": 0, "paused": shown_pause(paused, row.space)} | behind
                for row in found
            ]
            + [
                {**nowhere, "modality": row.modality, **nothing, "unsupported": row.source_items}
                | behind
                for row in left
            ]
        )
        return
    say(f"database: {database}{f' ({standby})' if standby else ''}")
    print_table(
        None,
        ("space", "state", "model", "modality", "items", "pending", "running", "failed"),
        [
            (r.space, r.state, r.model, r.modality, r.items, r.pending, r.running, r.failed)
            for r in found
        ],
        right=("items", "pending", "running", "failed"),
    )
    tell_pauses(paused.values())
    for row in left:
        say(f"{row.modality}: {row.source_items} source items that no space in use can embed")


def failures(
    space: Annotated[str | None, typer.Option(help="Of this space, not the active one.")] = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="Row by row instead of grouped by code.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="With --rows: at most so many.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """Show the rows that failed for good, grouped by error code, with an example of each.

    Example: pipeline failures --rows --limit 20
    """
    from pipeline.postgres.database import Database
    from pipeline.queue.failures import explained, failed_rows, grouped
    from pipeline.settings import Settings
    from pipeline.spaces import find_space

    with Database.of(Settings.load()).open() as connection:
        found = find_space(connection, space)
        failed = explained(
            failed_rows(connection, found.id, limit) if rows else grouped(connection, found.id)
        )
    if as_json:
        print_json(failed)
        return
    if not failed:
        print("no row has failed")
        return
    if rows:
        columns = {"id": "source_id", "source": "source", "key": "source_key"}
        columns |= {"reference": "content_ref", "code": "code"}
        columns |= {"attempts": "attempts", "error": "error"}
    else:
        columns = {"code": "code", "rows": "count", "for example": "source_id"}
        columns |= {"key": "source_key", "reference": "content_ref", "error": "error"}
    print_table(
        None,
        tuple(columns),
        [[shortened(str(row[name])) for name in columns.values()] for row in failed],
        right=("id", "attempts", "rows", "for example"),
    )
    for code, cure in {row["code"]: row["next"] for row in failed}.items():
        note(f"{code}: {cure}")
    note("next: pipeline retry, once the cause is gone")


def retry(
    code: Annotated[str | None, typer.Option(help="Only rows that failed with this code.")] = None,
    id_: Annotated[
        list[int] | None, typer.Option("--id", help="Only this source item; may be repeated.")
    ] = None,
    space: Annotated[str | None, typer.Option(help="Of this space, not the active one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Bring failed rows back into the queue, all of them or some.

    Example: pipeline retry --code timeout
    """
    from pipeline.errors import ROW_ERROR_CODES
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import EMBED
    from pipeline.queue import failures
    from pipeline.settings import Settings
    from pipeline.spaces import find_space

    if code is not None and code not in ROW_ERROR_CODES:
        wrong("--code", f"there is no {code!r}; there are: {', '.join(sorted(ROW_ERROR_CODES))}")
    with Database.of(Settings.load()).open(needs=EMBED) as connection:
        found = find_space(connection, space)
        count = failures.retry(connection, space_id=found.id, code=code, source_ids=id_ or None)
    if as_json:
        print_json({"space": found.name, "retried": count})
        return
    print(f"{count} {'row' if count == 1 else 'rows'} back in the queue")
