"""The worker: claim -> load -> prepare -> embed -> write, each stage in threads of its own.

Bounded by the jobs in flight, of which the claiming stage takes no more until the writing one has
finished some, and by the bytes of what waits for the model: memory does not grow with the backlog.
No transaction is open while a file is fetched or the model runs.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import psycopg

from pipeline.embedders import Embedder
from pipeline.embedders.derived import all_encoders
from pipeline.errors import DatabaseError, RemoteModelError
from pipeline.ingest.claim_size import BYTES_PER_CLAIM, CLAIMS_IN_FLIGHT, ClaimSize
from pipeline.ingest.claiming import Claiming, ClaimOptions
from pipeline.ingest.connections import Connections
from pipeline.ingest.control import Control
from pipeline.ingest.embedding import Embedding
from pipeline.ingest.events import WorkEvents
from pipeline.ingest.in_flight import InFlight, WaitingInput
from pipeline.ingest.known_vectors import Found, KnownVectors
from pipeline.ingest.leases import Heartbeat, LeaseOptions, Watch, give_back
from pipeline.ingest.loading import Loading
from pipeline.ingest.pipes import Pipes
from pipeline.ingest.places import Places
from pipeline.ingest.preparing import Load, Preparer
from pipeline.ingest.report import IngestReport
from pipeline.ingest.tracing import traced
from pipeline.ingest.turns import Turns
from pipeline.ingest.writing import WriteOptions, Writing
from pipeline.loaders.data import longest_reference
from pipeline.modalities import Reader
from pipeline.postgres.database import Database
from pipeline.postgres.faults import is_of_the_database
from pipeline.queue import claims
from pipeline.queue.backoff import Backoff
from pipeline.queue.bounds import ClaimBounds
from pipeline.references import WEB, scheme_of
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.spaces.items import Writer

logger = logging.getLogger(__name__)

# Model input in memory that the model has not yet seen; an image is 150 kB at 224 pixels.
INPUT_BYTES = 32 * 2**20
# How often the report looks which stage the others wait for.
SAMPLE_SECONDS = 0.05
# How long the threads get to end before the rows in hand are given back.
JOIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What each stage needs; see the settings of the same names."""

    claim: ClaimOptions = field(default_factory=ClaimOptions)
    lease: LeaseOptions = field(default_factory=LeaseOptions)
    write: WriteOptions = field(default_factory=WriteOptions)
    most_jobs_per_claim: int = 1024
    load_workers: int = 8
    http_per_host: int = 4
    grace_seconds: float = 30.0
    outage_seconds: float = 300.0

    def loads_per_place(self, place: str) -> int:
        """At the same time; a store bears more than a host that is anybody's."""
        return self.http_per_host if scheme_of(place) in WEB else self.load_workers

    @classmethod
    def of(cls, settings: Settings, *, once: bool = True, limit: int | None = None) -> Self:
        return cls(
            claim=ClaimOptions(
                once=once,
                limit=limit,
                lease_seconds=settings.lease_seconds,
                sweep_seconds=settings.sweep_seconds,
                poll_seconds=settings.poll_seconds,
                max_attempts=settings.max_attempts,
                bounds=ClaimBounds(
                    BYTES_PER_CLAIM,
                    settings.max_text_bytes,
                    longest_reference(settings.max_bytes),
                ),
            ),
            lease=LeaseOptions(settings.lease_seconds, settings.heartbeat_interval),
            write=WriteOptions(
                most_rows=settings.claim_size,
                max_attempts=settings.max_attempts,
                backoff=Backoff(settings.backoff_seconds, settings.backoff_max_seconds),
            ),
            most_jobs_per_claim=settings.claim_size,
            load_workers=settings.load_workers,
            http_per_host=settings.http_per_host,
            grace_seconds=settings.grace_seconds,
            outage_seconds=settings.outage_seconds,
        )


class Worker:
    """Works on the queue of one space until it is empty (``once``) or until it is told to stop.

    Args:
        space: the space to fill; its tables are written directly, active or not.
        embedder: the space's model, or what stands in for it in a test or a benchmark.
        readers: by modality, one for each that the space has.
        load: from a reference to its content, raising ``RowError``.
        progress: called with the report after every write.
        events: told what happens.
    """

    def __init__(
        self,
        database: Database,
        space: Space,
        embedder: Embedder,
        readers: Mapping[str, Reader],
        load: Load,
        options: WorkerOptions,
        *,
        progress: Callable[[IngestReport], None] | None = None,
        events: WorkEvents | None = None,
    ) -> None:
        self.id = claims.new_worker_id()
        self.report = IngestReport(space.name)
        self._space = space
        self._options = options
        self._events = traced(events or WorkEvents(), space.name)
        self._database = database
        self._control = Control()
        self._connections = Connections(database, options.outage_seconds, self._control.abort)
        self._pipes = Pipes()
        self._in_flight = InFlight()
        self._writer = Writer(space)
        self._lookup = self._connections.open("lookup")
        self._loading, stages = self._stages(embedder, readers, load, progress)
        self._run_stage = {**stages, **self._lease_keepers(), "sample": self._sample}

    def _stages(
        self,
        embedder: Embedder,
        readers: Mapping[str, Reader],
        load: Load,
        progress: Callable[[IngestReport], None] | None,
    ) -> tuple[Loading, dict[str, Callable[[], None]]]:
        """What loads, and by name what each thread runs."""
        options, timed, events = self._options, self.report.timed, self._events
        encoders = all_encoders(embedder)
        batch = max((encoder.batch_size for encoder in encoders.values()), default=1)
        # At first two batches, and something to do for every thread that loads: so the first look
        # at the rate is one at a worker that is busy.
        first = max(64, 2 * batch, options.load_workers)
        size = ClaimSize(first, options.most_jobs_per_claim)
        # Two batches for each of the claims in flight.
        self._input = WaitingInput(INPUT_BYTES, 2 * CLAIMS_IN_FLIGHT * batch)
        places = Places()
        preparer = Preparer(readers, places.watching(load), KnownVectors(self._look_up), timed)
        turns = Turns(places, options.load_workers, options.loads_per_place)
        loading = Loading(
            preparer, self._pipes, self._input, self._control, turns, options.load_workers, events
        )
        claiming = Claiming(
            self._connections,
            self._control,
            self._pipes,
            self._in_flight,
            size,
            self._input,
            self._space.id,
            self.id,
            options.claim,
            hand_over=loading.submit,
            held_up=loading.held_up,
            release_what_waits=loading.release_what_waits,
            timed=timed,
            events=events,
        )
        embedding = Embedding(encoders, self._pipes, self._input, loading.is_at_work, timed, events)
        writing = Writing(
            self._connections,
            self._pipes,
            self._in_flight,
            size,
            self._writer,
            self.id,
            self.report,
            options.write,
            progress,
            events,
        )
        return loading, {"claim": claiming.run, "embed": embedding.run, "write": writing.run}

    def _lease_keepers(self) -> dict[str, Callable[[], None]]:
        """By name, the threads that see to it that what is in flight stays this worker's."""
        lease = self._options.lease
        heartbeat = Heartbeat(
            self._connections,
            self._control,
            self._in_flight,
            self._space.id,
            self.id,
            lease,
            self.report,
        )
        watch = Watch(self._connections, self._control, lease)
        return {"heartbeat": heartbeat.run, "watch": watch.run}

    def stop(self) -> None:
        """Claim no more; what is claimed is finished or given back within the grace period.

        May be called by a signal handler.
        """
        self.report.stopped = True
        self._control.ask_to_stop()

    def run(self) -> IngestReport:
        """Work. Returns the report once everything claimed is finished, failed or given back.

        Raises:
            DatabaseError: the database stayed away, or cannot do what it should; the rows in hand
                were given back, if that was possible.
            RemoteModelError: the model's server gives no vectors; likewise.
            PipelineError: the model broke down; the rows in hand come back by their lapsing leases.
        """
        began = time.monotonic()
        threads = [
            threading.Thread(target=self._control.guard, args=(name, stage), name=name, daemon=True)
            for name, stage in self._run_stage.items()
        ]
        for thread in threads:
            thread.start()
        try:
            self._supervise()
        finally:
            self._end(threads)
            self._events.over()
            self.report.seconds = time.monotonic() - began
        error = self._control.error
        if isinstance(error, psycopg.Error):
            raise DatabaseError(
                f"the database refuses what the worker does: {' '.join(str(error).split())}"
            ) from error
        if error is not None:
            raise error
        return self.report

    def _supervise(self) -> None:
        """Wait until every stage has ended, one has failed, or the grace period is over."""
        deadline: float | None = None
        while not self._control.is_over(set(self._run_stage)):
            if deadline is None and self._control.stop.is_set():
                deadline = time.monotonic() + self._options.grace_seconds
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                logger.warning(
                    "%d rows were not finished within the grace period; giving them back",
                    len(self._in_flight),
                )
                return
            self._control.wait_for_news(left)

    def _end(self, threads: Sequence[threading.Thread]) -> None:
        self._control.stop.set()
        self._control.abort.set()
        self._control.drained.set()
        self._pipes.end()
        deadline = time.monotonic() + JOIN_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._loading.close()
        self._connections.close()
        # After a failure of ours a row in hand may be to blame. It is left to its lease: only so
        # does the attempt count, and a row that breaks every worker ends as failed. No row is to
        # blame for the trouble of the database or of a model's server.
        error = self._control.error
        innocent = error is None or isinstance(error, RemoteModelError)
        if len(self._in_flight) and (innocent or is_of_the_database(error)):
            give_back(self._database, self._space.id, self.id, len(self._in_flight))

    def _look_up(self, modality: str, hashes: Sequence[bytes]) -> Found:
        return self._lookup.run(lambda c: self._writer.known_vectors(c, modality, hashes))

    def _sample(self) -> None:
        """For the report: which stage do the others wait for?"""
        while not self._control.drained.wait(SAMPLE_SECONDS):
            self.report.sample(
                {
                    "load": self._loading.waiting(),
                    "embed": self._pipes.to_embed.qsize(),
                    "write": self._pipes.to_write.qsize(),
                }
            )
