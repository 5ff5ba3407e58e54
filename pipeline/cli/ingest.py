"""``pipeline ingest``: embed what is due."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import EX_TEMPFAIL, note, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from pipeline.worker import IngestReport, Worker


def ingest(
    watch: Annotated[
        bool, typer.Option("--watch/--once", help="Wait for more rows, or end when none is due.")
    ] = False,
    space: Annotated[
        str | None, typer.Option(help="Fill this space instead of the active one.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many rows.")] = None,
    exclusive: Annotated[
        bool, typer.Option("--exclusive", help="Do nothing if another --exclusive run is going.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Embed the rows that are due and write their vectors; overlapping runs share the work.

    Exits 0 when all is done, 1 when rows failed for good, 75 when rows wait for another attempt.

    Example: pipeline ingest --once --limit 1000
    """
    from pipeline.database import DatabaseError
    from pipeline.settings import Settings

    stop = _StopSignals()
    settings = Settings.load()
    lock = _exclusive_lock(settings) if exclusive else None
    try:
        try:
            report = _run(settings, stop, once=not watch, space=space, limit=limit)
        except DatabaseError as exc:
            if "stayed away" not in str(exc):
                raise
            note(f"pipeline: {exc}")
            _leave(EX_TEMPFAIL)
        if as_json:
            print_json(report.as_dict())
        else:
            _print(report)
        _leave(_exit_code(report))
    finally:
        if lock is not None:
            lock.close()


def _exit_code(report: "IngestReport") -> int:
    if report.failed:
        return 1
    return EX_TEMPFAIL if report.retrying else 0


def _run(
    settings: "Settings", stop: "_StopSignals", *, once: bool, space: str | None, limit: int | None
) -> "IngestReport":
    from pipeline.ingest import ingest as run_ingest
    from pipeline.worker import IngestReport

    with progress_bar() as bar:
        task = bar.add_task("loading the model", total=None, rate="")

        def on_start(worker: "Worker", due: int) -> None:
            bar.update(task, description="embedding", total=due if once else None)
            stop.tell(worker)

        def progress(report: "IngestReport") -> None:
            bar.update(
                task,
                completed=report.done + report.failed + report.retrying,
                rate=f"{report.failed} failed" if report.failed else "",
            )

        try:
            return run_ingest(
                settings,
                space_name=space,
                once=once,
                limit=limit,
                on_start=on_start,
                progress=progress,
            )
        except _StoppedEarly:
            return IngestReport(space or "")


class _StoppedEarly(BaseException):
    """A signal while the model was still loading: nothing is claimed yet."""


class _StopSignals:
    """The first SIGTERM or SIGINT ends the run in good order, the second at once."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def tell(self, worker: "Worker") -> None:
        self._worker = worker
        if self._asked:
            worker.stop()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            os._exit(128 + number)
        self._asked = True
        if self._worker is None:
            raise _StoppedEarly
        note("stopping: finishing what is claimed; a second signal ends at once")
        self._worker.stop()


def _exclusive_lock(settings: "Settings"):  # type: ignore[no-untyped-def]  # noqa: ANN202
    from pipeline.database import open_database

    connection = open_database(settings, role="pipeline exclusive")
    row = connection.execute(
        "SELECT pg_try_advisory_lock(hashtext('pipeline ingest --exclusive'))"
    ).fetchone()
    if not (row and row[0]):
        connection.close()
        note("another exclusive ingest is running; nothing to do")
        raise typer.Exit(0)
    return connection


def _print(report: "IngestReport") -> None:
    if not (report.done or report.failed or report.retrying):
        print(f"nothing due in the space {report.space}")
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
    if report.failed:
        note("some rows failed for good: see `pipeline failures`, then `pipeline retry`")
    if report.retrying:
        note("some rows wait for another attempt: run `pipeline ingest` again later")


def _leave(code: int) -> None:
    """Exit, also while a thread is still stuck in a load that outlived the grace period."""
    others = [t for t in threading.enumerate() if t is not threading.main_thread() and t.is_alive()]
    if any(t.name.startswith("load") for t in others):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise typer.Exit(code)
