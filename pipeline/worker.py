"""The worker: claim -> load -> prepare -> embed -> write, each stage in threads of its own.

Bounded by the jobs in flight: the claimer takes no more until the writer has finished some, so
memory does not grow with the backlog. No transaction is open while a file is fetched or the
model runs.
"""

import logging
import queue as threads_queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psycopg

from pipeline import queue
from pipeline.database import Connection
from pipeline.embed_batches import embed_isolating
from pipeline.errors import PipelineError, RowError, TransientRowError
from pipeline.intake import Content, Embedder, Intake, Picture, PreparedPart
from pipeline.queue import Backoff, ClaimedJob
from pipeline.reconnect import Outage, ReconnectingConnection, Stopped
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.writer import EmbeddedItem, FinishedJob, Writer

logger = logging.getLogger(__name__)

STAGES = ("claim", "load", "embed", "write")
# How long a stage waits for company before it goes on with a batch that is not full.
GATHER_SECONDS = 0.02
# Details of row failures in the log per run; the rest is in `pipeline failures`.
LOGGED_FAILURES = 20


@dataclass
class IngestReport:
    """What a run did. ``busy`` is seconds of work per stage, summed over its threads."""

    space: str
    done: int = 0
    failed: int = 0
    retrying: int = 0
    items: int = 0
    reused: int = 0
    seconds: float = 0.0
    busy: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    @property
    def rows_per_second(self) -> float:
        return self.done / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "space": self.space,
            "done": self.done,
            "failed": self.failed,
            "retrying": self.retrying,
            "items": self.items,
            "reused": self.reused,
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(self.rows_per_second, 1),
            "busy_seconds": {stage: round(busy, 3) for stage, busy in self.busy.items()},
        }


class _InFlight:
    """The jobs that this worker holds: bounds memory, feeds the heartbeat, knows what is left."""

    def __init__(self) -> None:
        self._jobs: dict[int, ClaimedJob] = {}
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, jobs: Sequence[ClaimedJob]) -> None:
        with self._changed:
            self._jobs.update((job.source_id, job) for job in jobs)

    def remove(self, jobs: Sequence[ClaimedJob]) -> None:
        with self._changed:
            for job in jobs:
                # The same row may have been claimed anew since; that claim stays.
                if self._jobs.get(job.source_id) is job:
                    del self._jobs[job.source_id]
            self._changed.notify_all()

    def ids(self) -> list[int]:
        with self._changed:
            return sorted(self._jobs)

    def wait_below(self, count: int, seconds: float) -> bool:
        """Whether fewer than ``count`` jobs are in flight, waiting up to ``seconds`` for it."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._jobs) < count, seconds)


class Worker:
    """Works on the queue of one space until it is empty (``once``) or until it is told to stop.

    Args:
        url: the database.
        space: the space to fill; its tables are written directly, active or not.
        embedder: the space's model, or what stands in for it in a test or a benchmark.
        load: from a reference to its bytes, raising ``RowError``.
        decode: from bytes to an upright RGB picture, raising ``RowError``.
        once: return when no job is due; otherwise wait for more.
        limit: at most so many jobs.
        progress: called with the report after every write.
    """

    def __init__(
        self,
        url: str,
        space: Space,
        embedder: Embedder,
        load: Callable[[str], Content],
        decode: Callable[[bytes], Picture],
        settings: Settings,
        *,
        once: bool = True,
        limit: int | None = None,
        progress: Callable[[IngestReport], None] | None = None,
    ) -> None:
        self.id = queue.new_worker_id()
        self.report = IngestReport(space.name)
        self._url = url
        self._space = space
        self._embedder = embedder
        self._settings = settings
        self._once = once
        self._left = limit
        self._progress = progress
        self._writer = Writer(space)
        self._backoff = Backoff(settings.backoff_seconds, settings.backoff_max_seconds)
        self._stop = threading.Event()  # claim no more
        self._abort = threading.Event()  # give up waiting
        self._drained = threading.Event()  # nothing is claimed any more and nothing is in flight
        self._error: BaseException | None = None
        self._in_flight = _InFlight()
        self._capacity = 2 * settings.claim_size
        self._to_embed: threads_queue.Queue[list[PreparedPart]] = threads_queue.Queue()
        self._to_write: threads_queue.Queue[_Outcome] = threads_queue.Queue()
        self._outage = Outage(settings.outage_seconds, self._abort)
        self._connections: list[ReconnectingConnection] = []
        self._lookup = self._connection("lookup")
        self._lookup_lock = threading.Lock()
        self._intake = Intake(embedder, load, decode, self._known_vectors, settings)
        self._logged = 0

    # control

    def stop(self) -> None:
        """Claim no more; what is claimed is finished or given back within the grace period."""
        self._stop.set()

    def run(self) -> IngestReport:
        """Work. Returns the report once everything claimed is finished, failed or given back.

        Raises:
            PipelineError: the database stayed away, or the model broke down; the jobs in hand
                are given back if the database can be reached, else by their lapsing leases.
        """
        started = time.monotonic()
        pool = ThreadPoolExecutor(self._settings.load_workers, "load")
        stages = [
            threading.Thread(target=self._guard, args=(stage,), name=name, daemon=True)
            for name, stage in (
                ("claim", lambda: self._claim_loop(pool)),
                ("embed", self._embed_loop),
                ("write", self._write_loop),
                ("heartbeat", self._heartbeat_loop),
            )
        ]
        for stage in stages:
            stage.start()
        try:
            self._supervise(stages)
        finally:
            self._stop.set()
            self._abort.set()
            self._drained.set()
            pool.shutdown(wait=False, cancel_futures=True)
            self._give_back()
            for connection in self._connections:
                connection.close()
            self.report.seconds = time.monotonic() - started
        if self._error is not None:
            raise self._error
        return self.report

    def _supervise(self, stages: Sequence[threading.Thread]) -> None:
        deadline: float | None = None
        while any(stage.is_alive() for stage in stages) and self._error is None:
            stages[2].join(0.1)
            for connection in self._connections:
                connection.cut_if_deaf()
            if self._stop.is_set() and deadline is None:
                deadline = time.monotonic() + self._settings.grace_seconds
            if deadline is not None and time.monotonic() > deadline and len(self._in_flight):
                logger.warning(
                    "%d rows were not finished within the grace period; giving them back",
                    len(self._in_flight),
                )
                return
            if self._drained.is_set() and not stages[2].is_alive():
                return

    def _guard(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except Stopped:
            pass
        except BaseException as exc:  # noqa: BLE001 (any failure of a stage ends the worker)
            if self._error is None:
                self._error = exc
            self._stop.set()
            self._abort.set()

    def _connection(self, role: str) -> ReconnectingConnection:
        connection = ReconnectingConnection(self._url, f"pipeline {role}", self._outage)
        self._connections.append(connection)
        return connection

    def _give_back(self) -> None:
        """The last step: whatever is still claimed by this process start goes back untouched."""
        if self._error is None and not len(self._in_flight):
            return
        last = ReconnectingConnection(self._url, "pipeline release", Outage(5.0, threading.Event()))
        try:
            last.run(lambda c: queue.release(c, self._space.id, self.id))
        except (PipelineError, psycopg.Error):
            logger.warning("could not give the rows in hand back; their leases will lapse")
        finally:
            last.close()

    # claim

    def _claim_loop(self, pool: ThreadPoolExecutor) -> None:
        connection = self._connection("claim")
        next_sweep, suspects = 0.0, False
        loading: list[Future[None]] = []
        while not self._stop.is_set() and self._left != 0:
            if time.monotonic() >= next_sweep:
                connection.run(lambda c: queue.sweep(c, self._settings.max_attempts))
                suspects = connection.run(lambda c: queue.has_suspects(c, self._space.id))
                next_sweep = time.monotonic() + self._settings.sweep_seconds
            if suspects and self._in_flight.wait_below(1, 0.2):
                suspects = bool(self._claim(connection, pool, loading, 1, suspects=True))
                continue
            # Not one by one: a claim costs the same for one row as for many.
            room = self._settings.claim_size
            if suspects or not self._in_flight.wait_below(self._capacity - room + 1, 0.2):
                continue
            if self._claim(connection, pool, loading, room):
                continue
            if not self._once:
                self._wait_for_jobs(connection)
            # What is in flight may come back as due, so it is waited for before the end.
            elif self._in_flight.wait_below(1, 0.2):
                suspects = connection.run(lambda c: queue.has_suspects(c, self._space.id))
                if not suspects and not self._due(connection):
                    break
                self._stop.wait(0.05)  # due, but locked by somebody for a moment
        if self._stop.is_set():
            for future in loading:
                future.cancel()
            self._in_flight_cancelled(loading)
        while not self._in_flight.wait_below(1, 0.2) and not self._abort.is_set():
            pass
        self._drained.set()

    def _due(self, connection: ReconnectingConnection) -> bool:
        counts = connection.run(lambda c: queue.counts(c, self._space.id))
        return counts.due > 0

    def _claim(
        self,
        connection: ReconnectingConnection,
        pool: ThreadPoolExecutor,
        loading: list[Future[None]],
        room: int,
        *,
        suspects: bool = False,
    ) -> int:
        if self._left is not None:
            room = min(room, self._left)
        began = time.monotonic()
        jobs = connection.run(
            lambda c: queue.claim(
                c, self._space.id, self.id, room, self._settings.lease_seconds, suspects=suspects
            )
        )
        self.report.busy["claim"] += time.monotonic() - began
        if not jobs:
            return 0
        if self._left is not None:
            self._left -= len(jobs)
        self._in_flight.add(jobs)
        loading[:] = [future for future in loading if not future.done()]
        texts = [job for job in jobs if job.modality == "text"]
        if texts:
            loading.append(self._submit(pool, self._load_texts, texts))
        loading.extend(
            self._submit(pool, self._load_image, [job]) for job in jobs if job.modality == "image"
        )
        return len(jobs)

    def _submit(
        self,
        pool: ThreadPoolExecutor,
        load: Callable[[list[ClaimedJob]], None],
        jobs: list[ClaimedJob],
    ) -> "Future[None]":
        def run() -> None:
            began = time.monotonic()
            try:
                load(jobs)
            except Stopped:
                pass
            except PipelineError as exc:  # the database stayed away: the worker ends
                self._guard(lambda: _raise(exc))
            except Exception as exc:
                # A bug of ours or of a library costs these rows an attempt, not the worker.
                logger.exception("could not prepare %s", jobs[0].name())
                error = TransientRowError("internal", f"{type(exc).__name__}: {exc}")
                self._to_write.put(_Outcome(failures=[(job, error) for job in jobs]))
            self.report.busy["load"] += time.monotonic() - began

        future = pool.submit(run)
        future.jobs = jobs  # type: ignore[attr-defined]
        return future

    def _in_flight_cancelled(self, loading: Sequence["Future[None]"]) -> None:
        """Jobs whose loading never began go back to the queue at once."""
        jobs = [job for f in loading if f.cancelled() for job in f.jobs]  # type: ignore[attr-defined]
        if jobs:
            self._to_write.put(_Outcome(released=jobs))

    def _wait_for_jobs(self, connection: ReconnectingConnection) -> None:
        """Up to ``poll_seconds``, less if a notification says that there are new jobs."""

        def listen(c: Connection) -> None:
            c.execute(f"LISTEN {queue.CHANNEL}")
            deadline = time.monotonic() + self._settings.poll_seconds
            while not self._stop.is_set() and time.monotonic() < deadline:
                if list(c.notifies(timeout=0.2, stop_after=1)):
                    return

        connection.run(listen)

    # load and prepare

    def _load_image(self, jobs: list[ClaimedJob]) -> None:
        for job in jobs:
            try:
                self._to_embed.put(self._intake.image(job))
            except RowError as exc:
                self._to_write.put(_Outcome(failures=[(job, exc)]))

    def _load_texts(self, jobs: list[ClaimedJob]) -> None:
        parts, failures = self._intake.texts(jobs)
        if failures:
            self._to_write.put(_Outcome(failures=failures))
        if parts:
            self._to_embed.put(parts)

    def _known_vectors(self, modality: str, hashes: Sequence[bytes]) -> dict[bytes, Any]:
        with self._lookup_lock:
            return self._lookup.run(
                lambda c: self._writer.known_vectors(c, modality, hashes)
            )

    # embed

    def _embed_loop(self) -> None:
        waiting: dict[str, list[PreparedPart]] = defaultdict(list)
        while True:
            gathered = sum(map(len, waiting.values()))
            try:
                parts = self._to_embed.get(timeout=GATHER_SECONDS if gathered else 0.2)
                ready = [part for part in parts if part.input is None]
                if ready:
                    self._embedded([(part, part.vector) for part in ready], reused=True)
                for part in parts:
                    if part.input is not None:
                        waiting[part.job.modality].append(part)
                full = [m for m, w in waiting.items() if len(w) >= self._settings.batch_size]
            except threads_queue.Empty:
                full = [m for m, w in waiting.items() if w]
                if not full and self._drained.is_set():
                    return
            for modality in full:
                self._embed(modality, waiting.pop(modality))

    def _embed(self, modality: str, parts: list[PreparedPart]) -> None:
        began = time.monotonic()
        inputs = [part.input for part in parts]
        if modality == "text":
            embed: Callable[[list[Any]], Any] = lambda some: (  # noqa: E731
                self._embedder.embed_prepared_texts(np.stack(some))
            )
            outcomes = embed_isolating(embed, inputs)
        else:
            outcomes = []
            for start in range(0, len(inputs), self._settings.batch_size):
                chunk = inputs[start : start + self._settings.batch_size]
                outcomes.extend(embed_isolating(self._embedder.embed_prepared_images, chunk))
        self.report.busy["embed"] += time.monotonic() - began
        self._embedded(list(zip(parts, outcomes, strict=True)), reused=False)

    def _embedded(self, outcomes: list[tuple[PreparedPart, Any]], *, reused: bool) -> None:
        self._to_write.put(_Outcome(embedded=outcomes, reused=len(outcomes) if reused else 0))

    # write

    def _write_loop(self) -> None:
        connection = self._connection("write")
        assembly = _Assembly()
        while True:
            try:
                outcomes = [self._to_write.get(timeout=0.2)]
            except threads_queue.Empty:
                if self._drained.is_set():
                    return
                continue
            began = time.monotonic()
            size = 0
            while size < self._settings.claim_size:
                try:
                    outcomes.append(self._to_write.get(timeout=GATHER_SECONDS))
                    size += outcomes[-1].size()
                except threads_queue.Empty:
                    break
            finished, failures, released = assembly.take(outcomes)
            self.report.reused += sum(outcome.reused for outcome in outcomes)
            began = time.monotonic()
            self._finish(connection, finished)
            self._fail(connection, failures)
            if released:
                ids = [job.source_id for job in released]
                connection.run(lambda c, ids=ids: queue.release(c, self._space.id, self.id, ids))
                self._in_flight.remove(released)
            self.report.busy["write"] += time.monotonic() - began
            if self._progress is not None:
                self._progress(self.report)

    def _finish(self, connection: ReconnectingConnection, finished: list[FinishedJob]) -> None:
        if not finished:
            return
        done = connection.run(lambda c: self._writer.finish(c, self.id, finished))
        self.report.done += done
        self.report.items += sum(len(f.items) for f in finished)
        if done < len(finished):
            logger.info(
                "%d rows changed or passed to another worker meanwhile; nothing was written of "
                "them and they are embedded anew",
                len(finished) - done,
            )
        self._in_flight.remove([f.job for f in finished])

    def _fail(
        self, connection: ReconnectingConnection, failures: list[tuple[ClaimedJob, RowError]]
    ) -> None:
        if not failures:
            return
        states = connection.run(
            lambda c: queue.fail(
                c,
                self._space.id,
                self.id,
                failures,
                max_attempts=self._settings.max_attempts,
                backoff=self._backoff,
            )
        )
        for job, error in failures:
            state = states.get(job.source_id)
            if state == "failed":
                self.report.failed += 1
            elif state == "pending":
                self.report.retrying += 1
            self._log_failure(job, error, state)
        self._in_flight.remove([job for job, _ in failures])

    def _log_failure(self, job: ClaimedJob, error: RowError, state: str | None) -> None:
        self._logged += 1
        if self._logged <= LOGGED_FAILURES:
            outcome = {"failed": "failed", "pending": "will be tried again"}.get(
                state or "", "passed to somebody else"
            )
            logger.warning("%s %s: %s: %s", job.name(), outcome, error.code, error.message)
        if self._logged == LOGGED_FAILURES:
            logger.warning("more rows fail; see `pipeline failures`")

    # heartbeat

    def _heartbeat_loop(self) -> None:
        connection = self._connection("heartbeat")
        while not self._drained.wait(self._settings.lease_seconds / 3):
            ids = self._in_flight.ids()
            if ids:
                connection.run(
                    lambda c, ids=ids: queue.heartbeat(
                        c, self._space.id, self.id, ids, self._settings.lease_seconds
                    )
                )


@dataclass(slots=True)
class _Outcome:
    """What a stage hands to the writer."""

    embedded: list[tuple[PreparedPart, Any]] = field(default_factory=list)
    failures: list[tuple[ClaimedJob, RowError]] = field(default_factory=list)
    released: list[ClaimedJob] = field(default_factory=list)
    reused: int = 0

    def size(self) -> int:
        return len(self.embedded) + len(self.failures) + len(self.released)


class _Assembly:
    """Puts parts together until a job is whole; one bad part fails its job, once."""

    def __init__(self) -> None:
        self._parts: dict[tuple[int, int], dict[int, EmbeddedItem]] = {}
        self._failed: set[tuple[int, int]] = set()

    def take(
        self, outcomes: Sequence[_Outcome]
    ) -> tuple[list[FinishedJob], list[tuple[ClaimedJob, RowError]], list[ClaimedJob]]:
        finished: list[FinishedJob] = []
        failures: list[tuple[ClaimedJob, RowError]] = []
        released: list[ClaimedJob] = []
        for outcome in outcomes:
            failures.extend(outcome.failures)
            released.extend(outcome.released)
            for part, result in outcome.embedded:
                key = (part.job.source_id, part.job.version)
                if key in self._failed:
                    continue
                if isinstance(result, RowError):
                    self._parts.pop(key, None)
                    if part.parts > 1:
                        self._failed.add(key)
                    failures.append((part.job, result))
                    continue
                parts = self._parts.setdefault(key, {})
                parts[part.part] = EmbeddedItem(
                    part.part, part.content_ref, part.metadata, part.content_sha256, result
                )
                if len(parts) == part.parts:
                    del self._parts[key]
                    finished.append(FinishedJob(part.job, [parts[n] for n in sorted(parts)]))
        return finished, failures, released


def _raise(exc: BaseException) -> None:
    raise exc
