"""``pipeline space export --pending`` and ``import FOLDER``: rows that are embedded elsewhere."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipeline.cli.output import note, print_json, progress_bar

if TYPE_CHECKING:
    from pipeline.postgres.connections import Connection
    from pipeline.postgres.database import Database
    from pipeline.settings import Settings
    from pipeline.spaces import Space
    from pipeline.transfer import AnswersReport


def export_pending(name: str, folder: Path, limit: int | None, *, as_json: bool) -> None:
    """Write the rows that wait for a space into a folder."""
    from pipeline import spaces, transfer
    from pipeline.ingest.worker import WorkerOptions
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import EMBED
    from pipeline.queue import status
    from pipeline.settings import Settings

    settings = Settings.load()
    with Database.of(settings).open(needs=EMBED) as connection, progress_bar() as bar:
        space = spaces.get_space(connection, name)
        due = status.counts(connection, space.id).due
        task = bar.add_task("exporting", total=due if limit is None else min(due, limit), rate="")
        count = transfer.export_pending(
            connection,
            space,
            folder,
            WorkerOptions.of(settings).claim.bounds,
            limit=limit,
            progress=lambda done: bar.update(task, completed=done),
        )
    if as_json:
        print_json({"space": name, "folder": str(folder), "rows": count})
        return
    print(f"exported {count} rows that wait for {name} to {folder}")
    if count:
        note(
            'next: python -c "from pipeline.integrations.ray import run; '
            f"run('{folder}', 'answers/')\", then pipeline space import {name} answers/"
        )


def import_answers(name: str, folder: Path, *, as_json: bool) -> None:
    """Write the answers of a folder; exits 1 where files of it cannot be read."""
    from pipeline import spaces
    from pipeline.ingest import load_first
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import EMBED
    from pipeline.queue import status
    from pipeline.settings import Settings
    from pipeline.spaces.statistics import refresh_if_stale

    settings = Settings.load()
    database = Database.of(settings)
    with database.open(needs=EMBED) as connection:
        space = spaces.get_space(connection, name)
        due = status.counts(connection, space.id).due
        load_first.take_off_index(connection, space, due, settings.load_first_rows)
        lacks_index = load_first.lacks_index(connection, space)
        report = _import(connection, space, folder, settings)
        refresh_if_stale(connection, space, report.items)
    if lacks_index:
        _index(database, space, settings.load_first_rows)
    if as_json:
        print_json({"space": name, **asdict(report)})
    else:
        print(
            f"{report.answers} answers: {report.done} rows written ({report.items} items), "
            f"{report.failed} failed, {report.left} left as they are"
        )
    for problem in report.unreadable:
        note(f"pipeline: {problem}")
    if report.unreadable:
        raise typer.Exit(1)


def _import(
    connection: "Connection", space: "Space", folder: Path, settings: "Settings"
) -> "AnswersReport":
    from pipeline import transfer
    from pipeline.queue.backoff import Backoff

    with progress_bar() as bar:
        task = bar.add_task("importing", total=None, rate="")
        return transfer.import_answers(
            connection,
            space,
            folder,
            max_attempts=settings.max_attempts,
            backoff=Backoff(settings.backoff_seconds, settings.backoff_max_seconds),
            progress=lambda report: bar.update(task, completed=report.answers),
        )


def _index(database: "Database", space: "Space", first_rows: int) -> None:
    """Build what was taken off for a large backlog, once little of that is left."""
    from pipeline.ingest import load_first
    from pipeline.spaces.index.build import IndexBuild

    build = IndexBuild(database, space)

    def run() -> None:
        build.run()

    with progress_bar() as bar:
        bar.add_task("indexing", total=None, rate="")
        load_first.index_now(database, space, first_rows, run)
