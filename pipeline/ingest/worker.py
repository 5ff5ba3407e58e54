"""The worker: claim -> load -> prepare -> embed -> write, each stage in threads of its own.

Bounded by the jobs in flight, of which the claimer takes no more until the writer has finished
some, and by the bytes of what waits for the model: memory does not grow with the backlog. No
transaction is open while a file is fetched or the model runs.
"""

import logging
import queue as threads_queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import psycopg

from pipeline.embedders.isolation import Result, embed_isolating
from pipeline.errors import DatabaseError, PipelineError, RowError, TransientRowError
from pipeline.ingest.assembly import Assembly, InFlight, Outcome, WaitingInput
from pipeline.ingest.claim_size import CLAIMS_IN_FLIGHT, ClaimSize
from pipeline.ingest.intake import Content, Embedder, Intake, Picture, PreparedPart
from pipeline.ingest.known_vectors import KnownVectors
from pipeline.ingest.report import IngestReport
from pipeline.postgres.connections import Connection
from pipeline.postgres.reconnect import Outage, ReconnectingConnection, Stopped
from pipeline.queue import claims
from pipeline.queue.claims import Backoff, ClaimedJob
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.spaces.items import FinishedJob, Writer, Written

__all__ = ["IngestReport", "Worker"]

logger = logging.getLogger(__name__)

# How long a batch that is not full waits for company, while more of it is being loaded.
GATHER_SECONDS = 0.02
# How often a stage that waits for another looks whether it is to stop.
LOOK_SECONDS = 0.2
# Model input in memory that the model has not yet seen; a picture is 150 kB at 224 pixels.
INPUT_BYTES = 32 * 2**20
# How often the report looks which stage the others wait for.
SAMPLE_SECONDS = 0.05
# How long the threads get to end before the rows in hand are given back.
JOIN_SECONDS = 2.0
# Details of row failures in the log per run; the rest is in `pipeline failures`.
LOGGED_FAILURES = 20
# What the database says of a row it cannot store: bad data, a broken constraint.
_REFUSED = (psycopg.DataError, psycopg.IntegrityError)


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
        self.id = claims.new_worker_id()
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
        self._in_flight = InFlight()
        self._batch_size = settings.batch_size or 32
        # At first two batches, and something to do for every thread that loads: so the first look
        # at the rate is one at a worker that is busy.
        first = max(64, 2 * self._batch_size, settings.load_workers)
        self._claim_size = ClaimSize(first, settings.claim_size)
        # Two batches for each of the claims in flight.
        self._input = WaitingInput(INPUT_BYTES, 2 * CLAIMS_IN_FLIGHT * self._batch_size)
        self._pool = ThreadPoolExecutor(settings.load_workers, "load")
        self._loading: dict[Future[None], list[ClaimedJob]] = {}
        # Between the stages; None ends the stage that reads it.
        self._to_embed: threads_queue.Queue[list[PreparedPart] | None] = threads_queue.Queue()
        self._to_write: threads_queue.Queue[Outcome | None] = threads_queue.Queue()
        self._retrying: set[int] = set()
        self._logged = 0

        self._stop = threading.Event()  # claim no more
        self._abort = threading.Event()  # give up waiting
        self._drained = threading.Event()  # nothing is claimed any more and nothing is in flight
        self._ended: set[str] = set()  # stages
        # Wakes run(). A SimpleQueue, since stop() is called by signal handlers, which may
        # interrupt run() while it holds the lock of anything else.
        self._news: threads_queue.SimpleQueue[None] = threads_queue.SimpleQueue()
        self._error: BaseException | None = None
        self._outage = Outage(settings.outage_seconds, self._abort)
        self._connections: list[ReconnectingConnection] = []
        self._lookup = self._connection("lookup")
        known_vectors = KnownVectors(self._look_up)
        self._intake = Intake(embedder, load, decode, known_vectors, settings, self.report.timed)

    # control

    def stop(self) -> None:
        """Claim no more; what is claimed is finished or given back within the grace period."""
        self._stop.set()
        self._news.put(None)

    def run(self) -> IngestReport:
        """Work. Returns the report once everything claimed is finished, failed or given back.

        Raises:
            PipelineError: the database stayed away, or the model broke down; the rows in hand
                come back by their lapsing leases.
        """
        began = time.monotonic()
        stages = {
            "claim": self._claim_loop,
            "embed": self._embed_loop,
            "write": self._write_loop,
            "heartbeat": self._heartbeat_loop,
            "watch": self._watch_loop,
            "sample": self._sample_loop,
        }
        threads = [
            threading.Thread(target=self._guard, args=(name, stage), name=name, daemon=True)
            for name, stage in stages.items()
        ]
        for thread in threads:
            thread.start()
        try:
            self._supervise(set(stages))
        finally:
            self._end(threads)
            self.report.retrying = len(self._retrying)
            self.report.seconds = time.monotonic() - began
        if isinstance(self._error, psycopg.Error):
            raise DatabaseError(
                f"the database refuses what the worker does: {' '.join(str(self._error).split())}"
            ) from self._error
        if self._error is not None:
            raise self._error
        return self.report

    def _supervise(self, stages: set[str]) -> None:
        """Wait until every stage has ended, one has failed, or the grace period is over."""
        deadline: float | None = None
        while self._error is None and self._ended != stages:
            if deadline is None and self._stop.is_set():
                deadline = time.monotonic() + self._settings.grace_seconds
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                logger.warning(
                    "%d rows were not finished within the grace period; giving them back",
                    len(self._in_flight),
                )
                return
            try:
                self._news.get(timeout=left)
            except threads_queue.Empty:
                continue

    def _guard(self, name: str, stage: Callable[[], None]) -> None:
        try:
            stage()
        except Stopped:
            pass
        except BaseException as exc:  # any failure of a stage ends the worker
            self._error = self._error or exc
        finally:
            self._ended.add(name)
            self._news.put(None)

    def _end(self, threads: Sequence[threading.Thread]) -> None:
        self._stop.set()
        self._abort.set()
        self._drain()
        deadline = time.monotonic() + JOIN_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._pool.shutdown(wait=False, cancel_futures=True)
        for connection in self._connections:
            connection.close()
        # After a failure of ours a row in hand may be to blame. It is left to its lease: only so
        # does the attempt count, and a row that breaks every worker ends as failed.
        if self._error is None and len(self._in_flight):
            self._give_back()

    def _drain(self) -> None:
        """The end of every stage: no more is coming."""
        self._drained.set()
        self._to_embed.put(None)
        self._to_write.put(None)

    def _give_back(self) -> None:
        """Whatever this process start still holds goes back untouched."""
        last = ReconnectingConnection(self._url, "pipeline release", Outage(5.0, threading.Event()))
        try:
            last.run(lambda c: claims.release(c, self._space.id, self.id))
        except (PipelineError, psycopg.Error):
            logger.warning("could not give the rows in hand back; their leases will lapse")
        finally:
            last.close()

    def _connection(self, role: str) -> ReconnectingConnection:
        connection = ReconnectingConnection(self._url, f"pipeline {role}", self._outage)
        self._connections.append(connection)
        return connection

    # claim

    def _claim_loop(self) -> None:
        connection = self._connection("claim")
        next_sweep, suspects = 0.0, False
        while not self._stop.is_set() and self._left != 0:
            if time.monotonic() >= next_sweep:
                self._sweep(connection)
                suspects = self._is_due(connection, suspects=True)
                next_sweep = time.monotonic() + self._settings.sweep_seconds
            if suspects:
                # One at a time, alone in the worker: if the row kills it, no other is blamed.
                if self._in_flight.wait_below(1, LOOK_SECONDS):
                    suspects = self._claim(connection, 1, suspects=True) > 0
            # Not one by one: a claim costs the same for one row as for many.
            elif self._in_flight.wait_below(
                (CLAIMS_IN_FLIGHT - 1) * (size := self._jobs_per_claim()) + 1, LOOK_SECONDS
            ) and not self._claim(connection, size):
                if not self._once:
                    self._wait_for_jobs(connection)
                # What is in flight may come back as due, so it is waited for before the end.
                elif self._in_flight.wait_below(1, LOOK_SECONDS):
                    suspects = self._is_due(connection, suspects=True)
                    if not suspects and not self._is_due(connection):
                        break
                    self._stop.wait(0.05)  # due, but locked by somebody for a moment
        if self._stop.is_set():
            self._release_what_waits()
        while not self._in_flight.wait_below(1, LOOK_SECONDS) and not self._abort.is_set():
            pass
        self._drain()

    def _jobs_per_claim(self) -> int:
        return min(self._claim_size.jobs, max(1, self._input.room() // CLAIMS_IN_FLIGHT))

    def _sweep(self, connection: ReconnectingConnection) -> None:
        lost = connection.run(lambda c: claims.sweep(c, self._settings.max_attempts))
        if lost:
            logger.info("%d rows came back from workers that are gone", lost)

    def _is_due(self, connection: ReconnectingConnection, *, suspects: bool = False) -> bool:
        return connection.run(lambda c: claims.is_due(c, self._space.id, suspects=suspects))

    def _claim(
        self, connection: ReconnectingConnection, room: int, *, suspects: bool = False
    ) -> int:
        if self._left is not None:
            room = min(room, self._left)
        with self.report.timed("claim"):
            jobs = connection.run(
                lambda c: claims.claim(
                    c,
                    self._space.id,
                    self.id,
                    room,
                    self._settings.lease_seconds,
                    suspects=suspects,
                )
            )
        if self._left is not None:
            self._left -= len(jobs)
        self._in_flight.add(jobs)
        texts = [job for job in jobs if job.modality == "text"]
        if texts:
            self._submit(self._load_texts, texts)
        for job in jobs:
            if job.modality == "image":
                self._submit(self._load_image, [job])
        return len(jobs)

    def _release_what_waits(self) -> None:
        """Jobs whose loading has not begun go back to the queue at once."""
        for future, jobs in list(self._loading.items()):
            if future.cancel():
                self._to_write.put(Outcome(released=jobs))

    def _wait_for_jobs(self, connection: ReconnectingConnection) -> None:
        """Up to ``poll_seconds``, less if a notification says that there are new jobs."""

        def is_notified(c: Connection) -> bool:
            c.execute(f"LISTEN {claims.CHANNEL}")
            return any(c.notifies(timeout=LOOK_SECONDS, stop_after=1))

        deadline = time.monotonic() + self._settings.poll_seconds
        while not self._stop.is_set() and time.monotonic() < deadline:
            if connection.run(is_notified):
                return

    # load and prepare

    def _submit(self, load: Callable[[list[ClaimedJob]], None], jobs: list[ClaimedJob]) -> None:
        future = self._pool.submit(self._load, load, jobs)
        self._loading[future] = jobs
        future.add_done_callback(lambda done: self._loading.pop(done, None))

    def _load(self, load: Callable[[list[ClaimedJob]], None], jobs: list[ClaimedJob]) -> None:
        try:
            load(jobs)
        except Stopped:
            pass
        except (PipelineError, psycopg.Error) as exc:  # not of the row: the worker ends
            self._error = self._error or exc
            self._news.put(None)
        except Exception as exc:
            # A bug of ours or of a library costs these rows an attempt, not the worker.
            logger.debug("could not prepare %s", jobs[0].name(), exc_info=True)
            error = TransientRowError("internal", f"{type(exc).__name__}: {exc}")
            self._to_write.put(Outcome(failures=[(job, error) for job in jobs]))

    def _load_image(self, jobs: list[ClaimedJob]) -> None:
        for job in jobs:
            self._input.wait_for_room(self._abort, LOOK_SECONDS)
            try:
                self._pass_on(self._intake.image(job))
            except RowError as exc:
                self._to_write.put(Outcome(failures=[(job, exc)]))

    def _load_texts(self, jobs: list[ClaimedJob]) -> None:
        parts, failures = self._intake.texts(jobs)
        if failures:
            self._to_write.put(Outcome(failures=failures))
        if parts:
            self._pass_on(parts)

    def _pass_on(self, parts: list[PreparedPart]) -> None:
        self._input.add(parts)
        self._to_embed.put(parts)

    def _look_up(self, modality: str, hashes: Sequence[bytes]) -> dict[bytes, Any]:
        return self._lookup.run(lambda c: self._writer.known_vectors(c, modality, hashes))

    # embed

    def _embed_loop(self) -> None:
        waiting: dict[str, list[PreparedPart]] = defaultdict(list)
        while True:
            try:
                # With nothing in hand there is nothing to hurry for, and with nothing being
                # loaded nothing to wait for.
                parts = self._to_embed.get(
                    block=not waiting or bool(self._loading),
                    timeout=GATHER_SECONDS if waiting else None,
                )
            except threads_queue.Empty:
                ready = list(waiting)
            else:
                if parts is None:
                    return
                self._sort_out(parts, waiting)
                ready = [m for m, w in waiting.items() if len(w) >= self._batch_size]
            for modality in ready:
                self._embed(modality, waiting.pop(modality))

    def _sort_out(
        self, parts: Sequence[PreparedPart], waiting: dict[str, list[PreparedPart]]
    ) -> None:
        """Parts whose vector is known go on to the writer, the others wait for their batch."""
        known: list[tuple[PreparedPart, Result]] = []
        for part in parts:
            if part.vector is not None:
                known.append((part, part.vector))
            else:
                waiting[part.job.modality].append(part)
        if known:
            self._input.drop([part for part, _ in known])
            self._to_write.put(Outcome(embedded=known, reused=len(known)))

    def _embed(self, modality: str, parts: list[PreparedPart]) -> None:
        inputs = [part.input for part in parts]
        with self.report.timed("embed"):
            if modality == "text":
                results = embed_isolating(
                    lambda some: self._embedder.embed_prepared_texts(np.stack(some)), inputs
                )
            else:
                results = []
                for start in range(0, len(inputs), self._batch_size):
                    chunk = inputs[start : start + self._batch_size]
                    results += embed_isolating(self._embedder.embed_prepared_images, chunk)
        self._input.drop(parts)
        self._to_write.put(Outcome(embedded=list(zip(parts, results, strict=True))))

    # write

    def _write_loop(self) -> None:
        connection = self._connection("write")
        assembly = Assembly()
        while (outcomes := self._next_outcomes()) is not None:
            batch = assembly.take(outcomes)
            self.report.reused += batch.reused
            self._claim_size.finished(len(batch.finished) + len(batch.failures))
            with self.report.timed("write"):
                self._finish(connection, batch.finished)
                self._fail(connection, batch.failures)
                self._release(connection, batch.released)
            if self._progress is not None:
                self._progress(self.report)

    def _next_outcomes(self) -> list[Outcome] | None:
        """What has come in while the last batch was written, up to a claim; None at the end."""
        first = self._to_write.get()
        if first is None:
            return None
        outcomes, size = [first], first.size()
        while size < self._settings.claim_size:
            try:
                outcome = self._to_write.get_nowait()
            except threads_queue.Empty:
                break
            if outcome is None:
                self._to_write.put(None)
                break
            outcomes.append(outcome)
            size += outcome.size()
        return outcomes

    def _finish(self, connection: ReconnectingConnection, finished: list[FinishedJob]) -> None:
        if not finished:
            return
        try:
            written = connection.run(lambda c: self._writer.finish(c, self.id, finished))
        except _REFUSED as exc:
            self._isolate_refused(connection, finished, exc)
            return
        self._count_done(finished, written)
        self._in_flight.remove([f.job for f in finished])

    def _isolate_refused(
        self, connection: ReconnectingConnection, finished: list[FinishedJob], exc: psycopg.Error
    ) -> None:
        """The database refuses one of these rows: halve until that one stands alone."""
        if len(finished) == 1:
            error = TransientRowError("internal", f"the database refuses this row: {exc}")
            self._fail(connection, [(finished[0].job, error)])
            return
        middle = len(finished) // 2
        self._finish(connection, finished[:middle])
        self._finish(connection, finished[middle:])

    def _count_done(self, finished: Sequence[FinishedJob], written: Written) -> None:
        self.report.done += written.jobs
        self.report.items += written.items
        self._retrying.difference_update(f.job.source_id for f in finished if f.job.attempts > 1)
        if written.jobs < len(finished):
            logger.info(
                "%d rows changed or passed to another worker meanwhile; nothing was written of "
                "them and they are embedded anew",
                len(finished) - written.jobs,
            )

    def _fail(
        self, connection: ReconnectingConnection, failures: list[tuple[ClaimedJob, RowError]]
    ) -> None:
        if not failures:
            return
        states = connection.run(
            lambda c: claims.fail(
                c,
                self._space.id,
                self.id,
                failures,
                max_attempts=self._settings.max_attempts,
                backoff=self._backoff,
            )
        )
        logged = [job.source_id for job, _ in failures[: max(0, LOGGED_FAILURES - self._logged)]]
        names = connection.run(lambda c: claims.names(c, logged)) if logged else {}
        for job, error in failures:
            state = states.get(job.source_id)
            self._retrying.discard(job.source_id)
            if state == "failed":
                self.report.failed += 1
            elif state == "pending":
                self._retrying.add(job.source_id)
            self._log_failure(job, error, state, names.get(job.source_id, job.name()))
        self.report.retrying = len(self._retrying)
        self._in_flight.remove([job for job, _ in failures])

    def _log_failure(self, job: ClaimedJob, error: RowError, state: str | None, name: str) -> None:
        self._logged += 1
        if self._logged <= LOGGED_FAILURES:
            outcome = {"failed": "failed", "pending": "will be tried again"}.get(
                state or "", "passed to somebody else"
            )
            logger.warning(
                "%s %s: %s: %s",
                name,
                outcome,
                error.code,
                error.message,
                extra={"source_id": job.source_id, "code": error.code, "attempts": job.attempts},
            )
        if self._logged == LOGGED_FAILURES:
            logger.warning("more rows fail; see `pipeline failures`")

    def _release(self, connection: ReconnectingConnection, released: list[ClaimedJob]) -> None:
        if released:
            ids = [job.source_id for job in released]
            connection.run(lambda c: claims.release(c, self._space.id, self.id, ids))
            self._in_flight.remove(released)

    # heartbeat and watch

    def _heartbeat_loop(self) -> None:
        connection = self._connection("heartbeat")
        while not self._drained.wait(self._settings.heartbeat_interval):
            ids = self._in_flight.ids()
            if ids:
                connection.run(
                    lambda c, ids=ids: claims.heartbeat(  # type: ignore[misc]
                        c, self._space.id, self.id, ids, self._settings.lease_seconds
                    )
                )

    def _watch_loop(self) -> None:
        """Whoever waits for an answer longer than a lease lasts has lost its jobs anyway."""
        while not self._drained.wait(min(1.0, self._settings.lease_seconds)):
            for connection in self._connections:
                connection.cut_if_deaf(self._settings.lease_seconds)

    def _sample_loop(self) -> None:
        """For the report: which stage do the others wait for?"""
        while not self._drained.wait(SAMPLE_SECONDS):
            self.report.sample(
                {
                    "load": max(0, len(self._loading) - self._settings.load_workers),
                    "embed": self._to_embed.qsize(),
                    "write": self._to_write.qsize(),
                }
            )
