"""``pipeline ingest``: embed what is due."""

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from pipeline.cli.ingest_forecast import show_forecast
from pipeline.cli.ingest_metrics import MetricsFile, metered
from pipeline.cli.leaving import end_now
from pipeline.cli.metrics import MetricsPort
from pipeline.cli.output import (
    EX_TEMPFAIL,
    exit_code,
    note,
    print_json,
    print_table,
    progress_bar,
    show_indexing,
    wrong,
)
from pipeline.cli.signals import STOPPING, StoppedEarly, StopSignals
from pipeline.errors import DatabaseError

if TYPE_CHECKING:
    from rich.progress import Progress

    from pipeline.cli.ingest_metrics import RunMetrics
    from pipeline.ingest.report import IngestReport
    from pipeline.ingest.run import IngestListener
    from pipeline.ingest.worker import Worker
    from pipeline.postgres.database import Database
    from pipeline.spaces.index.build import IndexBuild

logger = logging.getLogger(__name__)


EXCLUSIVE_LOCK = 0x70697067


def ingest(
    watch: Annotated[bool, typer.Option("--watch", help="Wait for more rows.")] = False,
    once: Annotated[
        bool, typer.Option("--once", help="End when none is due, as without --watch.")
    ] = False,
    space: Annotated[
        str | None, typer.Option(help="Fill this space instead of the active one.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many rows.")] = None,
    exclusive: Annotated[
        bool, typer.Option("--exclusive", help="Do nothing if another --exclusive run is going.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what is due and how long it would take.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    metrics_port: MetricsPort = None,
    metrics_file: MetricsFile = None,
) -> None:
    """Embed the rows that are due and write their vectors; overlapping runs share the work.

    Exits 0 when all is done (or when told to stop by SIGTERM or SIGINT), 1 when rows failed for
    good, 75 when rows wait for another attempt or for the end of a pause, or the database cannot
    be reached: try again.

    Example: pipeline ingest --once --limit 1000
    """
    if once and watch:
        wrong("--once", "it cannot be with --watch")
    if metrics_file is not None and watch:
        wrong("--metrics-file", "it is for runs that end; --watch has --metrics-port")
    if dry_run:
        if watch or exclusive or limit is not None:
            wrong("--dry-run", "it cannot be with --watch, --exclusive or --limit")
        show_forecast(space, as_json=as_json)
        return
    beside = threading.enumerate()
    stop = StopSignals(saying=STOPPING)
    report = None
    with metered(metrics_port, metrics_file, space) as metrics:
        try:
            report = _run(stop, not watch, space, limit, exclusive=exclusive, metrics=metrics)
        except StoppedEarly:
            note("stopped before anything was claimed")
            code = 0
        except DatabaseError as exc:
            if exit_code(exc) != EX_TEMPFAIL:
                raise
            note(f"pipeline: {exc}")
            code = EX_TEMPFAIL
        else:
            code = _told(report, stop, as_json=as_json)
        if metrics is not None and (report is not None or code):  # else nothing has run
            metrics.ended(code, report)
    _leave(code, beside)


def _told(report: "IngestReport | None", stop: StopSignals, *, as_json: bool) -> int:
    """The exit code of a run, whose report is printed; None: another exclusive one is going."""
    if report is None:
        note("another exclusive ingest is running; nothing to do")
        return 0
    if as_json:
        print_json(report.as_dict())
    else:
        _print(report, stopped=stop.asked)
    return 0 if stop.asked else report.exit_code


def _run(
    stop: StopSignals,
    once: bool,
    space: str | None,
    limit: int | None,
    *,
    exclusive: bool,
    metrics: "RunMetrics | None" = None,
) -> "IngestReport | None":
    """The run's report; None if another exclusive run is going."""
    # Late, as in every command: --help loads neither a driver nor numpy.
    from pipeline.demo.notice import warn_of_demo_model
    from pipeline.ingest.run import ingest as run_ingest
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import EMBED
    from pipeline.settings import Settings

    settings = Settings.load()
    with contextlib.ExitStack() as stack:
        database = Database.of(settings)
        if exclusive and not stack.enter_context(_exclusive_lock(database)):
            return None
        listener = _show(stack.enter_context(progress_bar()), stop, once=once)
        if metrics is not None:
            listener = stack.enter_context(metrics.of(settings, database, listener))
        with database.open(needs=EMBED) as connection:
            warn_of_demo_model(connection, note, space)
        report = run_ingest(
            settings,
            database=database,
            space_name=space,
            once=once,
            limit=limit,
            listener=listener,
        )
    logger.info("ingest has ended", extra=report.as_dict())
    return report


def _show(bar: "Progress", stop: StopSignals, *, once: bool) -> "IngestListener":
    """Two tasks of the bar: rows, and where it is built after them, the index."""
    from pipeline.ingest.run import IngestListener

    rows = bar.add_task("loading the model", total=None, rate="")
    index = bar.add_task("indexing", total=None, rate="", visible=False)
    recall = bar.add_task("recall", total=None, rate="", visible=False)

    def starting(worker: "Worker", due: int) -> None:
        bar.update(rows, description="embedding", total=due if once else None)
        stop.tell(worker)

    def progress(report: "IngestReport") -> None:
        bar.update(
            rows,
            completed=report.done + report.failed + report.retrying,
            rate=f"{report.failed} failed" if report.failed else "",
        )

    def loading_first(due: int) -> None:
        note(
            f"{due} rows for an empty space: they are loaded first and indexed after; until then "
            "a search reads every vector"
        )

    def indexing(build: "IndexBuild") -> None:
        note("building the index; searches go on meanwhile")
        stop.tell(build)

    def measured(what: str) -> None:
        bar.update(recall, description=f"measuring recall: {what}", visible=True)

    return IngestListener(
        starting,
        progress,
        loading_first,
        indexing,
        partial(show_indexing, bar, index),
        stop.tell,
        measured,
    )


@contextlib.contextmanager
def _exclusive_lock(database: "Database") -> Iterator[bool]:
    """Whether this is the only ``--exclusive`` run on the database, as long as it lasts.

    A courtesy, not a safeguard: runs may overlap, and a lock that goes with a lost connection
    costs nothing.
    """
    from pipeline.postgres.locks import reserved

    with (
        contextlib.closing(database.open("pipeline exclusive")) as connection,
        reserved(connection, EXCLUSIVE_LOCK, "ingest_jobs") as is_free,
    ):
        yield is_free


def _print(report: "IngestReport", *, stopped: bool) -> None:
    after = [
        f"{what} in {seconds:.1f} s"
        for what, seconds in (
            ("the index was built", report.seconds_indexing),
            ("recall was measured", report.seconds_measuring),
        )
        if seconds
    ]
    if report.paused and report.held:
        note(f"{report.paused}; {report.held} rows wait for `{report.paused.end}`")
    if not (report.done or report.failed or report.retrying):
        if report.held:
            return
        print(
            "stopped before a row was done; what was claimed has gone back"
            if stopped
            else f"nothing due in the space {report.space}"
        )
        print(*after, sep="\n", end="\n" if after else "")
        return
    print_table(
        None,
        ("space", "done", "failed", "retrying", "items", "reused", "seconds", "rows/s"),
        [
            (
                report.space,
                report.done,
                report.failed,
                report.retrying,
                report.items,
                report.reused,
                f"{report.seconds:.1f}",
                f"{report.rows_per_second:.1f}",
            )
        ],
        right=("done", "failed", "retrying", "items", "reused", "seconds", "rows/s"),
    )
    print_table(
        None,
        ("stage", "rows/s at work", "at work", "bottleneck"),
        [
            (of.stage, f"{of.rows_per_second:.1f}", f"{of.at_work:.0%}", f"{of.bottleneck:.0%}")
            for of in report.stages()
        ],
        right=("rows/s at work", "at work", "bottleneck"),
    )
    if report.tokens:
        after.append(f"the model's server counted {report.tokens:,} tokens")
    print(*after, sep="\n", end="\n" if after else "")
    if report.failed:
        note("some rows failed for good: see `pipeline failures`, then `pipeline retry`")
    if report.retrying:
        note("some rows wait for another attempt: run `pipeline ingest` again later")


def _leave(code: int, beside: Sequence[threading.Thread]) -> NoReturn:
    """Exit, also while a thread is still stuck in a load or a batch that outlived the grace
    period: Python would wait for it, or crash with it.

    Args:
        beside: threads that ran before the command, and are not its own.
    """
    if any(thread.is_alive() for thread in threading.enumerate() if thread not in beside):
        end_now(code)
    raise typer.Exit(code)
