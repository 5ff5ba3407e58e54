"""``pipeline sync``: mend what the triggers did not see."""

from dataclasses import asdict
from typing import Annotated

import typer

from pipeline.cli.output import note, print_json, progress_bar
from pipeline.cli.removing import AllowMassDelete, brake_of


def sync(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look.")] = False,
    allow_mass_delete: AllowMassDelete = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find changes of source_items that no trigger saw, and mend them.

    Triggers do not run for session_replication_role = replica, pg_restore --disable-triggers and
    logical replication. Example: pipeline sync --dry-run
    """
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import EMBED
    from pipeline.settings import Settings
    from pipeline.sources.source_items import estimated_count
    from pipeline.sources.sync import sync as run_sync

    settings = Settings.load()
    with Database.of(settings).open(needs=EMBED) as connection, progress_bar() as bar:
        task = bar.add_task("comparing", total=estimated_count(connection), rate="")
        report = run_sync(
            connection,
            mend=not dry_run,
            brake=brake_of(settings, released=allow_mass_delete),
            progress=lambda r: bar.update(task, completed=r.checked, rate=str(r)),
        )
    if as_json:
        print_json(asdict(report))
    else:
        print(f"{report.checked} checked: {report}")
    if dry_run and report:
        note("nothing was changed; without --dry-run it is mended")
    elif report.new or report.changed:
        note("next: pipeline ingest")
    if report.refused:
        note(
            f"pipeline: the vectors of {report.refused} rows of source_items that are no longer "
            "there were kept, since they are so many: is source_items whole? If that is meant, "
            "--allow-mass-delete"
        )
        raise typer.Exit(1)
