"""Building a space: embed every source item into it, then index it, then take its statistics.

Every step looks first at what is there, so a build that was killed goes on where it stopped, and
several may run at once: the embedding is shared through the queue, the index is built by one.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from pipeline import spaces
from pipeline.errors import SpaceError
from pipeline.ingest.report import IngestReport
from pipeline.ingest.run import IngestListener, ingest
from pipeline.ingest.worker import Worker
from pipeline.postgres.connections import Connection
from pipeline.postgres.database import Database
from pipeline.postgres.rights import CHANGE
from pipeline.quality.upkeep import RecallUpkeep
from pipeline.queue.due import remaining, server_time
from pipeline.queue.pauses import wait_until_resumed
from pipeline.queue.sweep import sweep
from pipeline.settings import Settings
from pipeline.spaces import Coverage, IndexProgress, Space
from pipeline.spaces.index.build import IndexBuild, ignore

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5


class Ingest(Protocol):
    """``pipeline.ingest.run.ingest``, or what stands in for it in a test."""

    def __call__(
        self,
        settings: Settings,
        *,
        database: Database | None,
        space_name: str | None,
        once: bool,
        listener: IngestListener,
    ) -> IngestReport: ...


@dataclass
class BuildListener:
    """Whom to tell how far the build is."""

    embedding: Callable[[int], None] = field(default=ignore)  # jobs due, when embedding starts
    embedded: Callable[[IngestReport], None] = field(default=ignore)
    waiting: Callable[[int], None] = field(default=ignore)  # jobs that others hold or that wait
    indexing: Callable[[IndexProgress], None] = field(default=ignore)
    measuring: Callable[[str], None] = field(default=ignore)  # which pair, by which ef_search


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What is there after the build. ``stopped``: it was told to, and there is more to do."""

    space: str
    coverage: Coverage
    items: int
    embedded: int
    seconds_embedding: float
    seconds_indexing: float
    seconds_measuring: float
    stopped: bool


class SpaceBuild:
    """One build of a space; ``stop`` may be called from another thread or a signal handler.

    Args:
        embed: False: leave the embedding to other workers, index what is there.
        maintenance_memory: see ``spaces.build_indexes``.
        parallel_workers: see ``spaces.build_indexes``.
    """

    def __init__(
        self,
        settings: Settings,
        space_name: str,
        *,
        embed: bool = True,
        maintenance_memory: str | None = None,
        parallel_workers: int | None = None,
        listener: BuildListener | None = None,
        run_ingest: Ingest = ingest,
    ) -> None:
        self._settings = settings
        self._database = Database.of(settings)
        self._name = space_name
        self._embed = embed
        self._memory = maintenance_memory
        self._workers = parallel_workers
        self._listener = listener or BuildListener()
        self._run_ingest = run_ingest
        self._stopped = threading.Event()
        self._worker: Worker | None = None
        self._indexing: IndexBuild | None = None
        self._measuring: RecallUpkeep | None = None
        self._embedded = 0

    def stop(self) -> None:
        """Finish or give back what is claimed, cancel an index that is being built, and return."""
        self._stopped.set()
        if self._worker is not None:
            self._worker.stop()
        if self._indexing is not None:
            self._indexing.stop()
        if self._measuring is not None:
            self._measuring.stop()

    def run(self) -> BuildReport:
        """Build what is missing.

        Raises:
            PipelineError: no such space, a model that differs, a database that stays away.
            SpaceError: nothing was embedded, so there is nothing to index.
        """
        with self._database.open(needs=CHANGE) as connection:
            space = spaces.get_space(connection, self._name)
            began = time.monotonic()
            if self._embed:
                spaces.enqueue_missing(connection, space)
                self._fill(connection, space)
                # The first item of a derived modality brought its table.
                space = spaces.get_space(connection, self._name)
            filled = time.monotonic()
            if not self._stopped.is_set():
                self._index(connection, space)
            indexed = time.monotonic()
            if not self._stopped.is_set():
                connection.execute("SELECT refresh_space_statistics(%s)", (space.name,))
                self._measure(connection, space)
            return BuildReport(
                space=space.name,
                coverage=spaces.coverage(connection, space),
                items=spaces.item_count(connection, space),
                embedded=self._embedded,
                seconds_embedding=filled - began,
                seconds_indexing=indexed - filled,
                seconds_measuring=self._measuring.seconds if self._measuring else 0.0,
                stopped=self._stopped.is_set(),
            )

    def _fill(self, connection: Connection, space: Space) -> None:
        """Until none of the jobs that it finds is pending or running, also of other workers and in
        back-off. What comes later is left to whoever works next: beside a steady stream there is
        always more."""
        began = server_time(connection)
        while not self._stopped.is_set():
            # None is claimed of a paused space, and no model is loaded for it.
            wait_until_resumed(connection, space.id, self._settings.poll_seconds, self._stopped)
            left = remaining(connection, space.id, began)
            if left.due and not self._stopped.is_set():
                report = self._run_ingest(
                    self._settings,
                    database=self._database,
                    space_name=space.name,
                    once=True,
                    listener=IngestListener(
                        starting=self._started, progress=self._listener.embedded
                    ),
                )
                self._worker = None
                self._embedded += report.done
                continue
            if not left.waiting:
                break
            self._listener.waiting(left.waiting)
            sweep(connection, self._settings.max_attempts)
            self._stopped.wait(POLL_SECONDS)

    def _started(self, worker: Worker, due: int) -> None:
        self._worker = worker
        if self._stopped.is_set():
            worker.stop()
        self._listener.embedding(due)

    def _index(self, connection: Connection, space: Space) -> None:
        if spaces.is_empty(connection, space) and spaces.coverage(connection, space).source_items:
            raise SpaceError(
                f"nothing is embedded into the space {space.name!r}; see `pipeline failures`"
            )
        self._indexing = IndexBuild(
            self._database,
            space,
            progress=self._listener.indexing,
            maintenance_memory=self._memory,
            parallel_workers=self._workers,
        )
        if self._stopped.is_set():
            self._indexing.stop()
        self._indexing.run()

    def _measure(self, connection: Connection, space: Space) -> None:
        """So that it is tuned before the gate looks at it, and before anybody searches it."""
        self._measuring = RecallUpkeep(
            self._database, space, self._listener.measuring, self._settings.evaluation_days
        )
        if not self._stopped.is_set() and self._measuring.is_due(connection):
            self._measuring.run()
