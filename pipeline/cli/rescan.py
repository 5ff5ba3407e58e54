"""``pipeline rescan``: find the pictures that changed behind their references."""

from dataclasses import asdict
from typing import Annotated

import typer

from pipeline.cli.output import EX_TEMPFAIL, note, print_json, progress_bar


def rescan(
    source: Annotated[
        str | None, typer.Option(help="Only rows of this source.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look at every stored picture's object anew and re-open the jobs of those that changed.

    Exits 75 when some could not be reached. Example: pipeline rescan --source files
    """
    from pipeline.loaders import Loader
    from pipeline.postgres.connections import open_database
    from pipeline.settings import Settings
    from pipeline.sources import source_items
    from pipeline.sources.rescan import count_pictures
    from pipeline.sources.rescan import rescan as run_rescan

    settings = Settings.load()
    with open_database(settings) as connection, progress_bar() as bar:
        task = bar.add_task("asking", total=count_pictures(connection, source), rate="")
        with Loader(settings, source_items.media_roots(connection)) as loader:
            report = run_rescan(
                connection,
                loader.stat,
                source=source,
                workers=settings.load_workers,
                progress=lambda r: bar.update(
                    task, completed=r.checked, rate=f"{r.changed} changed"
                ),
            )
    if as_json:
        print_json(asdict(report))
    else:
        print(
            f"{report.checked} checked, {report.changed} changed, {report.gone} gone, "
            f"{report.unreachable} unreachable"
        )
    if report.changed or report.gone:
        note("next: pipeline ingest")
    if report.unreachable:
        raise typer.Exit(EX_TEMPFAIL)
