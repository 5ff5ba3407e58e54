"""One run of ingestion: the space, its own model, what reads its content, and a worker on them."""

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from pipeline.ingest import load_first
from pipeline.ingest.connections import Connections
from pipeline.ingest.events import WorkEvents
from pipeline.ingest.recording import Recorded, recorded
from pipeline.ingest.report import IngestReport
from pipeline.postgres.chores import every
from pipeline.postgres.connections import Connection
from pipeline.postgres.database import Database
from pipeline.postgres.rights import EMBED
from pipeline.quality.upkeep import RecallUpkeep, keep_up
from pipeline.queue import status
from pipeline.queue.pauses import Pause, find_pause, wait_until_resumed
from pipeline.queue.sweep import sweep
from pipeline.settings import Settings
from pipeline.sources.media_roots import media_roots
from pipeline.spaces import IndexProgress, Space, find_space, get_space
from pipeline.spaces.index.build import IndexBuild, ignore
from pipeline.spaces.retirement import drop_retired
from pipeline.spaces.statistics import LOOK_SECONDS, refresh_if_stale

if TYPE_CHECKING:
    from pipeline.ingest.worker import Worker

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class IngestListener:
    """Whom to tell how a run goes.

    Attributes:
        starting: the worker and the rows due, before it runs.
        progress: the report, after every write.
        loading_first: the rows due, where they are loaded before the space is indexed.
        indexing: the build of the indexes, before it begins.
        indexed: how far the build is.
        measuring: the measurement of recall, before it begins.
        measured: what of it is being done.
        events: what the worker tells.
    """

    starting: Callable[["Worker", int], None] = ignore
    progress: Callable[[IngestReport], None] = ignore
    loading_first: Callable[[int], None] = ignore
    indexing: Callable[[IndexBuild], None] = ignore
    indexed: Callable[[IndexProgress], None] = ignore
    measuring: Callable[[RecallUpkeep], None] = ignore
    measured: Callable[[str], None] = ignore
    events: WorkEvents = field(default_factory=WorkEvents)


def ingest(
    settings: Settings,
    *,
    database: Database | None = None,
    space_name: str | None = None,
    once: bool = True,
    limit: int | None = None,
    listener: IngestListener | None = None,
) -> IngestReport:
    """Embed what is due. With nothing due and ``once`` no model is loaded and no torch imported.

    Neither is it for a space that is paused: ``once`` ends, otherwise the pause is waited out.

    A large backlog for an empty active space is loaded before the space's index is built, see
    ``load_first.py``.

    Args:
        database: where; None: the settings say.
        space_name: the space to fill; None: the active one.

    Raises:
        PipelineError: no space, a model that differs from the space's, a database that stays away.
    """
    listener = listener or IngestListener()
    database = database or Database.of(settings)
    first_rows = settings.load_first_rows
    if not once:
        _wait_until_resumed(settings, database, space_name)
    with database.open(needs=EMBED) as connection:
        space = find_space(connection, space_name)
        pause, held = _held(connection, space)
        if once and pause:
            return IngestReport(space.name, paused=pause, held=held)
        listener.events.lapsed(sweep(connection, settings.max_attempts))
        due = status.counts(connection, space.id).due
        due = due if limit is None else min(due, limit)
        if load_first.take_off_index(connection, space, due, first_rows):
            listener.loading_first(due)
        lacks_index = load_first.lacks_index(connection, space)

    with recorded(database, space, settings.run_days) as run:
        listener = replace(listener, starting=_noting(run, listener))

        def work(once: bool) -> IngestReport:
            return _work(settings, database, space, due, listener, once=once, limit=limit)

        build_index = partial(_build_index, database, space, listener)
        if not once:
            report = _beside(settings, database, space, lacks_index, build_index, work)
            _look_after(settings, database, space, report)
            return report
        report = run.report = work(True) if due else IngestReport(space.name)
        if lacks_index:
            report.seconds_indexing = load_first.index_now(database, space, first_rows, build_index)
        _look_after(settings, database, space, report)
        upkeep = RecallUpkeep(database, space, listener.measured, settings.evaluation_days)
        keep_up(upkeep, listener.measuring)
        report.seconds_measuring = upkeep.seconds
        return report


def _noting(run: Recorded, listener: IngestListener) -> Callable[["Worker", int], None]:
    """``listener.starting``, with the worker and what it does noted first."""

    def starting(worker: "Worker", due: int) -> None:
        run.worker, run.report = worker.id, worker.report
        listener.starting(worker, due)

    return starting


def _build_index(database: Database, space: Space, listener: IngestListener) -> None:
    build = IndexBuild(database, space, progress=listener.indexed)
    listener.indexing(build)
    build.run()


def _look_after(settings: Settings, database: Database, space: Space, report: IngestReport) -> None:
    """What is to do after a run, and what of its rows waits for the end of a pause."""
    with database.open("pipeline statistics") as connection:
        space = get_space(connection, space.name)  # it may have got a table
        report.paused, report.held = _held(connection, space)
        refresh_if_stale(connection, space, report.items)
        drop_retired(connection, settings.drop_retired_days)


def _held(connection: Connection, space: Space) -> tuple[Pause | None, int]:
    """The space's pause, and how many rows that are due wait for its end."""
    pause = find_pause(connection, space.id)
    return pause, status.counts(connection, space.id).due if pause else 0


def _wait_until_resumed(settings: Settings, database: Database, space_name: str | None) -> None:
    """Before the model is loaded, and whether or not the database is there all the time."""
    with database.open(needs=EMBED) as connection:
        space = find_space(connection, space_name)
    connections = Connections(database, settings.outage_seconds, threading.Event())
    try:
        connections.open("paused").run(
            lambda c: wait_until_resumed(c, space.id, settings.poll_seconds)
        )
    finally:
        connections.close()


def _beside(
    settings: Settings,
    database: Database,
    space: Space,
    lacks_index: bool,
    build_index: Callable[[], None],
    work: Callable[[bool], IngestReport],
) -> IngestReport:
    """A worker that goes on for ever, and what has to be looked after meanwhile."""

    def look_at_recall(_: Connection) -> None:
        keep_up(RecallUpkeep(database, space, retention_days=settings.evaluation_days))

    with ExitStack() as beside:
        beside.enter_context(
            every(
                LOOK_SECONDS,
                database,
                "statistics",
                lambda c: refresh_if_stale(c, get_space(c, space.name)),
            )
        )
        beside.enter_context(every(LOOK_SECONDS, database, "recall", look_at_recall))
        if lacks_index:
            first_rows = settings.load_first_rows
            beside.enter_context(load_first.index_beside(database, space, first_rows, build_index))
        return work(False)


def _work(
    settings: Settings,
    database: Database,
    space: Space,
    due: int,
    listener: IngestListener,
    *,
    once: bool,
    limit: int | None,
) -> IngestReport:
    """One worker with the space's own model, from its first claim to its last."""
    # Late: torch, NumPy and the decoders, which a run with nothing to do must not pay for.
    from pipeline.ingest.reading import open_readers
    from pipeline.ingest.worker import Worker, WorkerOptions
    from pipeline.loaders import Loader, LoadOptions
    from pipeline.spaces.opening import open_model

    embedder = open_model(database, space, device=settings.device, batch_size=settings.batch_size)
    with database.open("pipeline media roots") as connection:
        roots = media_roots(connection)
    with ExitStack() as stack:
        loader = stack.enter_context(Loader(LoadOptions.of(settings), roots))
        readers = stack.enter_context(open_readers(space, embedder, settings))
        worker = Worker(
            database,
            space,
            embedder,
            readers,
            loader.load,
            WorkerOptions.of(settings, once=once, limit=limit),
            progress=listener.progress,
            events=listener.events,
        )
        listener.starting(worker, due)
        report = worker.run()
        report.tokens = getattr(embedder, "tokens", 0)  # of a model behind a server
        return report
