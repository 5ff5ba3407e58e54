"""``pipeline demo``: from nothing to cross-modal search in one command."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import note, progress_bar
from pipeline.errors import PipelineError, SpaceError

if TYPE_CHECKING:
    from pipeline.demo.progress import Progress
    from pipeline.demo.tour import Answer
    from pipeline.postgres.connections import Connection
    from pipeline.postgres.database import Database
    from pipeline.settings import Settings
    from pipeline.spaces import Space


def demo(
    sheet: Annotated[Path, typer.Option(help="Where to write the contact sheet.")] = Path(
        "contact-sheet.html"
    ),
    k: Annotated[int, typer.Option("-k", min=1, max=50, help="Results per query.")] = 5,
) -> None:
    """Set up a database with sample data and show text find images and images find text.

    Uses the embedded PostgreSQL unless DATABASE_URL is set. A second run changes nothing.

    Example: pipeline demo --sheet /tmp/sheet.html
    """
    from pipeline.demo.contact_sheet import write
    from pipeline.demo.manifest import MODEL, SAMPLES, source_rows
    from pipeline.demo.next_steps import next_steps
    from pipeline.demo.notice import warn_of_demo_model
    from pipeline.demo.progress import progress
    from pipeline.demo.tour import take_tour
    from pipeline.postgres.database import Database
    from pipeline.postgres.embedded import EmbeddedServer
    from pipeline.search.sheet_page import check_place
    from pipeline.settings import Settings
    from pipeline.sources.media_roots import register_roots
    from pipeline.sources.source_items import AddReport, add
    from pipeline.unified_index import UnifiedIndex

    check_place(sheet)
    settings = Settings.load(model=MODEL)
    note("1. the database")
    database = Database.of(settings)
    _migrate(database, settings)
    with database.connect() as connection:
        space = _ensure_demo_space(connection, settings)
        note("2. the sample data")
        report = AddReport()
        add(connection, source_rows(), report)
        register_roots(connection, [SAMPLES])
        print(
            f"source items  {report.added} added, {report.changed} changed, "
            f"{report.unchanged} unchanged"
        )
        note("3. the vectors")
        before = progress(connection, space)
        seconds = 0.0
        if before.waiting:
            warn_of_demo_model(connection, note)
            seconds = _ingest(settings, database)
        after = progress(connection, space)
    _say(before, after, seconds)
    note("4. the questions")
    with UnifiedIndex(settings) as index, database.connect() as connection:
        answers = take_tour(index, connection, k)
    _print(answers)
    written = write(sheet, answers, space)
    print(f"\ncontact sheet: {written}")
    home = EmbeddedServer(settings.home).home if settings.database_url is None else None
    print(next_steps(_command(), database.url, home))


def _migrate(database: "Database", settings: "Settings") -> None:
    from pipeline.postgres import migrate

    migrated = migrate.upgrade(
        database.url,
        roles=settings.roles,
        old_pgvector=settings.old_pgvector,
        schema=database.schema,
    )
    print(f"database      {database}")
    print(f"schema        {migrated}")


def _ensure_demo_space(connection: "Connection", settings: "Settings") -> "Space":
    from pipeline.demo.manifest import MODEL
    from pipeline.spaces.opening import NewSpace, ensure_space

    space, created = ensure_space(connection, NewSpace.of(settings), note)
    if space.model != MODEL:
        raise SpaceError(
            f"the active space of this database is {space.name!r} with the model {space.model}; "
            "the demonstration does not mix its images into it: unset DATABASE_URL, or set "
            "PIPELINE_HOME to a new folder, and run it again"
        )
    print(
        f"space         {space.name}: {space.dimensions} dimensions, {space.precision}, "
        f"{'created' if created else 'active'}"
    )
    return space


def _ingest(settings: "Settings", database: "Database") -> float:
    """How long it took, in seconds."""
    from pipeline.ingest.run import IngestListener, ingest

    with progress_bar() as bar:
        task = bar.add_task("embedding", total=None, rate="")
        report = ingest(
            settings,
            database=database,
            listener=IngestListener(
                starting=lambda _, due: bar.update(task, total=due),
                progress=lambda report: bar.update(task, completed=report.done + report.failed),
            ),
        )
    return report.seconds


def _say(before: "Progress", after: "Progress", seconds: float) -> None:
    """What became of the samples, which alone decide whether the demonstration goes on."""
    if after.failed or after.waiting:
        raise PipelineError(
            f"{after.failed + after.waiting} of the sample rows could not be embedded; see "
            "`pipeline failures`, then `pipeline retry`, and run it again"
        )
    done = after.embedded - before.embedded
    print(f"embedded      {done} rows{f' in {seconds:.1f} s' if done else ''}")
    if after.others:
        open_ = f", {after.others_open} of them not embedded, see `pipeline status`"
        print(f"beside them   {after.others} rows of yours{open_ if after.others_open else ''}")


def _print(answers: "list[Answer]") -> None:
    from pipeline.cli.search import print_neighbours
    from pipeline.demo.tour import MIXED_RANKING

    print()
    for answer in answers:
        print_neighbours(f"{answer.stop.direction}: {answer.title}", answer.found)
        if answer.stop.modality is None:
            print(f"  {MIXED_RANKING}")


def _command() -> str:
    """How the person called us, so that the lines can be copied."""
    called = Path(sys.argv[0])
    if called.name != "pipeline":
        return "pipeline"
    try:
        return str(called.absolute().relative_to(Path.cwd()))
    except ValueError:
        return "pipeline" if called.parent == Path() else str(called)
