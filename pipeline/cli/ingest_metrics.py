"""What ``--metrics-port`` and ``--metrics-file`` show of one run of ``pipeline ingest``."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.metrics import metrics_at
from pipeline.cli.output import exit_code, wrong
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.ingest.report import IngestReport
    from pipeline.ingest.run import IngestListener
    from pipeline.ingest.worker import Worker
    from pipeline.postgres.database import Database
    from pipeline.settings import Settings
    from pipeline.spaces import IndexProgress

MetricsFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="At the end write metrics there, such as NAME.prom for node_exporter.",
        show_default=False,
    ),
]


class RunMetrics:
    """Of one run.

    Args:
        port: where they are shown meanwhile; None: nowhere.
        file: where they are written at the end; None: nowhere.
        space: the space that was asked for; None: the active one.
    """

    def __init__(self, port: str | None, file: Path | None, space: str | None) -> None:
        from pipeline.metrics.ingest import IngestMetrics

        self._port = port
        self._file = file
        self._ingest = IngestMetrics(space or "")
        self._database: Database | None = None
        self._is_working = False
        self._began = time.monotonic()

    @contextmanager
    def of(
        self, settings: "Settings", database: "Database", listener: "IngestListener"
    ) -> Iterator["IngestListener"]:
        """A listener that counts and tells the one given, while the metrics are shown."""
        self._database = database

        def starting(worker: "Worker", due: int) -> None:
            self._is_working = True
            self._ingest.follow(worker.report)
            listener.starting(worker, due)

        def progress(report: "IngestReport") -> None:
            self._ingest.follow(report)
            listener.progress(report)

        def indexed(progress: "IndexProgress") -> None:
            self._ingest.indexed(progress)
            listener.indexed(progress)

        with ExitStack() as stack:
            if self._port is not None:
                stack.enter_context(
                    metrics_at(self._port, settings, database, self._ingest, self._reason)
                )
            yield replace(
                listener,
                starting=starting,
                progress=progress,
                indexed=indexed,
                events=self._ingest.events,
            )

    def _reason(self) -> str | None:
        return None if self._is_working else "no model is loaded"

    def ended(self, code: int, report: "IngestReport | None" = None) -> None:
        """Write the file, where there is to be one.

        Args:
            code: with which the run exits.
            report: None: the run did not come so far.
        """
        if report is not None:
            self._ingest.follow(report)
        if self._file is None:
            return
        from pipeline.metrics.database import OfDatabase, reading
        from pipeline.metrics.run import RunEnd, space_of
        from pipeline.metrics.textfile import write

        registry = self._ingest.registry
        space = self._ingest.space or space_of(self._file)
        if self._database is not None and space:
            registry.register(OfDatabase(reading(self._database), space))
        seconds = time.monotonic() - self._began
        registry.register(RunEnd(space, code, seconds, self._file))
        write(registry, self._file)


@contextmanager
def metered(port: str | None, file: Path | None, space: str | None) -> Iterator[RunMetrics | None]:
    """None where no metrics were asked for. An error that leaves the block is a run that ended.

    Raises:
        MissingExtra: the extra ``metrics`` is not installed.
    """
    if port is None and file is None:
        yield None
        return
    if file is not None and port is not None:
        wrong("--metrics-file", "it cannot be with --metrics-port")
    if file is not None and not file.absolute().parent.is_dir():
        wrong("--metrics-file", f"there is no folder {file.parent}")
    metrics = RunMetrics(port, file, space)
    try:
        yield metrics
    except PipelineError as exc:
        metrics.ended(exit_code(exc))
        raise
    except Exception:
        metrics.ended(1)
        raise
