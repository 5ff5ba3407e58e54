"""``pipeline demo``: from nothing to cross-modal search in one command."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import note, print_table, progress_bar
from pipeline.errors import PipelineError, SpaceError

if TYPE_CHECKING:
    from pipeline.database import Connection
    from pipeline.demo.tour import Answer
    from pipeline.settings import Settings


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
    from pipeline import migrate, sources
    from pipeline.database import connect, resolve_url, shown_url
    from pipeline.demo import MODEL, SAMPLES, source_rows
    from pipeline.demo.contact_sheet import write
    from pipeline.demo.tour import take_tour
    from pipeline.index import UnifiedIndex
    from pipeline.settings import Settings

    settings = Settings.load(model=MODEL)
    note("1. the database")
    url = resolve_url(settings)
    applied = migrate.upgrade(url)
    print(f"database      {shown_url(url)}")
    print(f"schema        {f'{len(applied)} migrations applied' if applied else 'up to date'}")
    with connect(url) as connection:
        _ensure_demo_space(connection, settings)
        note("2. the sample data")
        report = sources.AddReport()
        sources.add(connection, source_rows(), report)
        sources.register_roots(connection, [SAMPLES])
    print(
        f"source items  {report.added} added, {report.changed} changed, "
        f"{report.unchanged} unchanged"
    )
    note("3. the vectors")
    _ingest(settings)
    note("4. the questions")
    with UnifiedIndex(settings) as index, connect(url) as connection:
        answers = take_tour(index, connection, k)
        items = len(index)
    _print(answers)
    written = write(
        sheet,
        answers,
        f"{items} items in one table, {answers[0].stop.direction} and back, with the small "
        "demonstration model. It knows drawings like these; for photographs use a full-size one.",
    )
    print(f"\ncontact sheet: {written}")
    print(_NEXT_STEPS.replace("{command}", _command()))


def _ensure_demo_space(connection: "Connection", settings: "Settings") -> None:
    from pipeline.demo import MODEL
    from pipeline.first_space import ensure_space

    space, created = ensure_space(connection, settings, note)
    if space.model != MODEL:
        raise SpaceError(
            f"the active space of this database is {space.name!r} with the model {space.model}; "
            "the demonstration does not mix its pictures into it: unset DATABASE_URL, or set "
            "PIPELINE_HOME to a new folder, and run it again"
        )
    print(
        f"space         {space.name}: {space.dimensions} dimensions, {space.precision}, "
        f"{'created' if created else 'active'}"
    )


def _ingest(settings: "Settings") -> None:
    from pipeline.ingest import IngestListener, ingest

    with progress_bar() as bar:
        task = bar.add_task("embedding", total=None, rate="")
        report = ingest(
            settings,
            listener=IngestListener(
                starting=lambda _, due: bar.update(task, total=due),
                progress=lambda report: bar.update(task, completed=report.done + report.failed),
            ),
        )
    if report.failed or report.retrying:
        raise PipelineError(
            f"{report.failed + report.retrying} of the sample rows could not be embedded; "
            "see `pipeline failures`"
        )
    speed = f" in {report.seconds:.1f} s" if report.done else ""
    print(f"embedded      {report.done} rows{speed}")


def _print(answers: "list[Answer]") -> None:
    from pipeline.cli.search import shown

    for answer in answers:
        print_table(
            f"{answer.stop.direction}: {answer.title}",
            ("rank", "similarity", "id", "modality", "content"),
            [
                (n.rank, f"{n.similarity:.3f}", n.document.id, n.document.modality, shown(n))
                for n in answer.found
            ],
            right=("rank", "similarity", "id"),
        )


_NEXT_STEPS = """
How to go on

  {command} db psql          opens psql on this database; try

    SELECT modality, count(*) FROM multimodal_items GROUP BY modality;

    -- the pictures nearest to a stored text, by the index
    SELECT metadata->>'name' AS name, content_ref
    FROM multimodal_items WHERE modality = 'image'
    ORDER BY embedding <=> (SELECT embedding FROM multimodal_items
                            WHERE modality = 'text' AND metadata->>'name' = 'pizza' LIMIT 1)
    LIMIT 10;

    -- both modalities, calibrated across the modality gap
    SELECT rank, modality, metadata->>'name' AS name, similarity
    FROM search_items(like_item => (SELECT min(id) FROM multimodal_items), k => 10);

  {command} search "a slice of pizza" --modality image
  {command} add your/pictures --text "your text" && {command} ingest

This is a small demonstration model. For photographs use a full-size one, in a space of its own:

  {command} space create photos --model ViT-B-32/laion2b_s34b_b79k
  {command} space build photos && {command} space activate photos
"""


def _command() -> str:
    """How the person called us, so that the lines can be copied."""
    called = Path(sys.argv[0])
    if called.name != "pipeline":
        return "pipeline"
    try:
        return str(called.absolute().relative_to(Path.cwd()))
    except ValueError:
        return "pipeline" if called.parent == Path() else str(called)
