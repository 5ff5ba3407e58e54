"""``pipeline status``, ``failures`` and ``retry``: the queue for people."""

from dataclasses import asdict
from typing import Annotated

import typer

from pipeline.cli.output import print_json, print_table


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what is stored and what is still to do, per space and modality.

    Example: pipeline status
    """
    from pipeline.database import open_database, resolve_url, shown_url
    from pipeline.settings import Settings
    from pipeline.status import read_status

    settings = Settings.load()
    with open_database(settings) as connection:
        found = read_status(connection)
    if as_json:
        print_json([asdict(row) for row in found])
        return
    print(f"database: {shown_url(resolve_url(settings))}")
    print_table(
        None,
        ("space", "state", "model", "modality", "items", "pending", "running", "failed"),
        [
            (r.space, r.state, r.model, r.modality, r.items, r.pending, r.running, r.failed)
            for r in found
        ],
        right=("items", "pending", "running", "failed"),
    )


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
    from pipeline import queue
    from pipeline.database import open_database
    from pipeline.ingest import find_space
    from pipeline.settings import Settings

    with open_database(Settings.load()) as connection:
        found = find_space(connection, space)
        if rows:
            each = queue.failed_rows(connection, found.id, limit)
            if as_json:
                print_json([asdict(row) for row in each])
                return
            print_table(
                None,
                ("id", "source", "key", "code", "attempts", "error"),
                [(r.source_id, r.source, r.source_key, r.code, r.attempts, r.error) for r in each],
                right=("id", "attempts"),
            )
            return
        groups = queue.failures(connection, found.id)
    if as_json:
        print_json([asdict(group) for group in groups])
    elif not groups:
        print("no row has failed")
    else:
        print_table(
            None,
            ("code", "rows", "for example", "key", "error"),
            [(g.code, g.count, g.source_id, g.source_key, g.error) for g in groups],
            right=("rows", "for example"),
        )


def retry(
    code: Annotated[str | None, typer.Option(help="Only rows that failed with this code.")] = None,
    id_: Annotated[
        list[int] | None, typer.Option("--id", help="Only this source item; may be repeated.")
    ] = None,
    space: Annotated[str | None, typer.Option(help="Of this space, not the active one.")] = None,
) -> None:
    """Bring failed rows back into the queue, all of them or some.

    Example: pipeline retry --code timeout
    """
    from pipeline import queue
    from pipeline.database import open_database
    from pipeline.errors import ROW_ERROR_CODES, ConfigurationError
    from pipeline.ingest import find_space
    from pipeline.settings import Settings

    if code is not None and code not in ROW_ERROR_CODES:
        raise ConfigurationError(
            f"there is no error code {code!r}; there are: {', '.join(sorted(ROW_ERROR_CODES))}"
        )
    with open_database(Settings.load()) as connection:
        found = find_space(connection, space)
        count = queue.retry(connection, space_id=found.id, code=code, source_ids=id_ or None)
    print(f"{count} {'row' if count == 1 else 'rows'} back in the queue")
