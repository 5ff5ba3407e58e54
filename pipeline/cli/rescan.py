"""``pipeline rescan``: find the content that changed behind its references."""

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
    """Look at what every stored reference leads to, and re-open the jobs of what changed.

    Exits 75 when some could not be reached. Example: pipeline rescan --source files
    """
    from pipeline.loaders import Loader, LoadOptions
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import EMBED
    from pipeline.settings import Settings
    from pipeline.sources.media_roots import media_roots
    from pipeline.sources.rescan import count_loaded
    from pipeline.sources.rescan import rescan as run_rescan

    settings = Settings.load()
    with Database.of(settings).open(needs=EMBED) as connection, progress_bar() as bar:
        task = bar.add_task("asking", total=count_loaded(connection, source), rate="")
        with Loader(LoadOptions.of(settings), media_roots(connection)) as loader:
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
