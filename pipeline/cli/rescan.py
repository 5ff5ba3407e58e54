"""``pipeline rescan``: find the content that changed behind its references."""

from dataclasses import asdict
from typing import Annotated

import typer

from pipeline.cli.output import EX_TEMPFAIL, note, print_json, progress_bar
from pipeline.cli.removing import AllowMassDelete, as_dicts, brake_of, tell_refused


def rescan(
    source: Annotated[
        str | None, typer.Option(help="Only rows of this source.", show_default=False)
    ] = None,
    allow_mass_delete: AllowMassDelete = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look at what every stored reference leads to: what changed is embedded anew by the next
    ingest, the rows of renamed files move with them, and those of what is gone are removed.

    Exits 1 when too much of a source is gone at once, so that nothing of it was removed, 75 when
    some could not be reached. Example: pipeline rescan --source files
    """
    from pipeline.loaders import Loader, LoadOptions
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import RESCAN
    from pipeline.settings import Settings
    from pipeline.sources.media_roots import media_roots
    from pipeline.sources.rescan import count_loaded
    from pipeline.sources.rescan import rescan as run_rescan

    settings = Settings.load()
    with Database.of(settings).open(needs=RESCAN) as connection, progress_bar() as bar:
        task = bar.add_task("asking", total=count_loaded(connection, source), rate="")
        registered = media_roots(connection)
        with Loader(LoadOptions.of(settings), registered) as loader:
            report = run_rescan(
                connection,
                loader.stat,
                brake_of(settings, released=allow_mass_delete),
                (*settings.media_roots, *registered),
                source=source,
                workers=settings.load_workers,
                progress=lambda r: bar.update(
                    task, completed=r.checked, rate=f"{r.changed} changed"
                ),
            )
    if as_json:
        print_json(asdict(report) | {"refused": as_dicts(report.refused)})
    else:
        print(
            f"{report.checked} checked, {report.changed} changed, {report.moved} moved, "
            f"{report.removed} removed, {report.unreadable} unreadable, "
            f"{report.unreachable} unreachable"
        )
    if report.changed or report.moved or report.unreadable:
        note("next: pipeline ingest")
    tell_refused(report.refused)
    if report.refused:
        raise typer.Exit(1)
    if report.unreachable:
        raise typer.Exit(EX_TEMPFAIL)
