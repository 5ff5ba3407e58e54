"""``pipeline space build``: fill a space, index it, and say how far it is."""

import dataclasses
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.index_options import Memory, Parallel
from pipeline.cli.output import note, print_json, progress_bar, show_indexing
from pipeline.cli.signals import STOPPING, StopSignals

if TYPE_CHECKING:
    from rich.progress import Progress

    from pipeline.ingest.report import IngestReport
    from pipeline.ingest.space_build import BuildListener, BuildReport


def build(
    name: Annotated[str, typer.Argument(help="The space.", show_default=False)],
    embed: Annotated[
        bool,
        typer.Option("--embed/--no-embed", help="Embed here, or only index what is embedded."),
    ] = True,
    memory: Memory = None,
    parallel: Parallel = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Embed every source row into a space, then build its indexes; may be stopped and run again.

    More workers may help from anywhere with `pipeline ingest --space NAME`. Searches on the active
    space go on. Exits 0 when the space is complete, 1 when rows are missing.

    Example: pipeline space build new --memory 2GB
    """
    # Late: it loads the database driver, and torch if there is something to embed.
    from pipeline.ingest.space_build import SpaceBuild
    from pipeline.settings import Settings

    with progress_bar() as bar:
        building = SpaceBuild(
            Settings.load(),
            name,
            embed=embed,
            maintenance_memory=memory,
            parallel_workers=parallel,
            listener=_show(bar),
        )
        StopSignals(building, saying=STOPPING)
        report = building.run()
    if as_json:
        print_json(dataclasses.asdict(report) | {"coverage_share": round(report.coverage.share, 6)})
    else:
        _print(report)
    complete = report.coverage.share == 1.0
    if complete and not report.stopped:
        note(f"next: pipeline space activate {name}")
    elif report.coverage.failed:
        note(f"see `pipeline failures --space {name}`")
    # Stopped as it was told to is no failure: the next run goes on from here.
    raise typer.Exit(0 if complete or report.stopped else 1)


def _print(report: "BuildReport") -> None:
    rate = report.embedded / report.seconds_embedding if report.embedded else 0.0
    print(f"space     {report.space}{' (stopped early)' if report.stopped else ''}")
    print(f"coverage  {report.coverage}")
    print(f"items     {report.items}")
    print(
        f"embedded  {report.embedded} rows here in {report.seconds_embedding:.1f} s "
        f"({rate:.1f} rows/s)"
    )
    print(f"indexed   in {report.seconds_indexing:.1f} s")
    if report.seconds_measuring:
        print(f"measured  the recall in {report.seconds_measuring:.1f} s")


def _show(bar: "Progress") -> "BuildListener":
    """Two tasks of the bar: rows, then the index."""
    from pipeline.ingest.space_build import BuildListener

    rows = bar.add_task("loading the model", total=None, rate="")
    index = bar.add_task("indexing", total=None, rate="", visible=False)
    # Of the present run of the worker: a build may have several.
    began, before, current = time.monotonic(), 0, 0

    def embedding(due: int) -> None:
        nonlocal before, current
        before, current = before + current, 0
        bar.update(rows, description="embedding", total=before + due)

    def embedded(report: "IngestReport") -> None:
        nonlocal current
        current = report.done + report.failed + report.retrying
        rate = (before + current) / max(time.monotonic() - began, 1e-9)
        bar.update(rows, completed=before + current, rate=f"{rate:.1f} rows/s")

    def waiting(jobs: int) -> None:
        bar.update(rows, description=f"waiting for {jobs} rows of other workers or in back-off")

    def measuring(what: str) -> None:
        bar.update(
            index, description=f"measuring recall: {what}", visible=True, total=None, completed=0
        )

    show = partial(show_indexing, bar, index)
    return BuildListener(embedding, embedded, waiting, show, measuring)
