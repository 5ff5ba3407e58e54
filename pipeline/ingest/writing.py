"""The stage that writes: finished jobs with their items, failures with their reason, and what goes
back untouched."""

import logging
import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psycopg

from pipeline.errors import RowError, TransientRowError
from pipeline.ingest.assembly import Assembly
from pipeline.ingest.claim_size import ClaimSize
from pipeline.ingest.connections import Connections
from pipeline.ingest.events import Ended, WorkEvents
from pipeline.ingest.in_flight import InFlight
from pipeline.ingest.parts import Batch, Failure, Outcome
from pipeline.ingest.pipes import Pipes
from pipeline.ingest.report import IngestReport
from pipeline.ingest.set_aside import SetAside
from pipeline.jobs import ClaimedJob, Fence, FinishedJob
from pipeline.postgres.faults import is_of_a_row, is_too_large
from pipeline.queue import claims, locked
from pipeline.queue.backoff import Backoff
from pipeline.queue.failures import names as names_of
from pipeline.queue.messages import storable
from pipeline.spaces.items import Writer, Written

logger = logging.getLogger(__name__)

# Details of row failures in the log per run; the rest is in `pipeline failures`.
LOGGED_FAILURES = 20


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """See the settings of the same names.

    Attributes:
        most_rows: per transaction.
    """

    most_rows: int = 1024
    max_attempts: int = 5
    backoff: Backoff = field(default_factory=lambda: Backoff(2.0, 600.0))


class Writing:
    """One thread. What became of the rows is counted in the report.

    Args:
        progress: called with the report after every write.
        events: told of failures, and how rows ended.
    """

    def __init__(
        self,
        connections: Connections,
        pipes: Pipes,
        in_flight: InFlight,
        size: ClaimSize,
        writer: Writer,
        worker_id: str,
        report: IngestReport,
        options: WriteOptions,
        progress: Callable[[IngestReport], None] | None,
        events: WorkEvents,
    ) -> None:
        self._connection = connections.open("write")
        self._pipes = pipes
        self._in_flight = in_flight
        self._size = size
        self._writer = writer
        self._worker_id = worker_id
        self._report = report
        self._options = options
        self._progress = progress
        self._events = events
        self._began = 0  # the present batch, nanoseconds since the epoch
        self._aside = SetAside(self._held)
        self._retrying: set[int] = set()
        self._logged = 0

    def run(self) -> None:
        assembly = Assembly()
        while (outcomes := self._next_outcomes()) is not None:
            batch = assembly.take(outcomes)
            self._report.reused += batch.reused
            self._size.finished(len(batch.finished) + len(batch.failures))
            batch.extend(self._aside.due())
            self._began = time.time_ns()
            with self._report.timed("write"):
                self._finish(batch.finished)
                self._fail(batch.failures)
                self._release(batch.released)
            if self._progress is not None:
                self._progress(self._report)

    def _next_outcomes(self) -> list[Outcome] | None:
        """What has come in while the last batch was written, up to a claim; None at the end.

        Nothing when it is time to look after what was set aside.
        """
        pipe = self._pipes.to_write
        try:
            first = pipe.get(timeout=self._aside.seconds_left())
        except queue.Empty:
            return []
        if first is None:
            return None
        outcomes, size = [first], first.size()
        while size < self._options.most_rows:
            try:
                outcome = pipe.get_nowait()
            except queue.Empty:
                break
            if outcome is None:
                pipe.put(None)
                break
            outcomes.append(outcome)
            size += outcome.size()
        return outcomes

    def _finish(self, finished: list[FinishedJob]) -> None:
        if not finished:
            return
        try:
            written = self._connection.run(
                lambda c: self._writer.finish(c, self._worker_id, finished)
            )
        except psycopg.Error as exc:
            if len(finished) > 1 and (is_of_a_row(exc) or is_too_large(exc)):
                middle = len(finished) // 2  # until the row that is refused stands alone
                self._finish(finished[:middle])
                self._finish(finished[middle:])
            elif is_of_a_row(exc):
                error = TransientRowError("internal", f"the database refuses this row: {exc}")
                error.of_content = True
                self._fail([(finished[0].job, error)])
            else:
                raise
            return
        through = self._set_aside_locked(Batch(finished=finished), written.jobs).finished
        self._count_done(through, written)
        ended = [f.job for f in through]
        self._in_flight.remove(ended)
        # Which of them were not written any more is not told.
        self._ended(ended, "done" if written.jobs == len(ended) else "done or passed")

    def _set_aside_locked(self, batch: Batch, ended: int) -> Batch:
        """Those of these rows that are through, one way or another, where the database has ended
        ``ended`` of them; the others are still ours, and wait for a lock on them to go."""
        jobs = batch.jobs()
        if ended == len(jobs):
            return batch
        held = self._held(jobs)
        waiting, through = batch.divided(lambda job: job.fence in held)
        if held:
            self._aside.add(waiting)
            self._in_flight.set_aside(waiting.jobs())
        return through

    def _held(self, jobs: Sequence[ClaimedJob]) -> dict[Fence, bool]:
        space = self._writer.space.id
        return self._connection.run(lambda c: locked.held(c, space, self._worker_id, jobs))

    def _count_done(self, finished: Sequence[FinishedJob], written: Written) -> None:
        self._report.done += written.jobs
        self._report.items += written.items
        self._retrying.difference_update(f.job.source_id for f in finished if f.job.attempts > 1)
        self._report.retrying = len(self._retrying)
        if written.jobs < len(finished):
            logger.info(
                "%d rows changed or passed to another worker meanwhile; nothing was written of "
                "them and they are embedded anew",
                len(finished) - written.jobs,
            )

    def _fail(self, failures: list[Failure]) -> None:
        if not failures:
            return
        states = self._connection.run(
            lambda c: claims.fail(
                c,
                self._writer.space.id,
                self._worker_id,
                failures,
                max_attempts=self._options.max_attempts,
                backoff=self._options.backoff,
            )
        )
        failures = self._set_aside_locked(Batch(failures=failures), len(states)).failures
        logged = [job.source_id for job, _ in failures[: max(0, LOGGED_FAILURES - self._logged)]]
        names = self._connection.run(lambda c: names_of(c, logged)) if logged else {}
        for job, error in failures:
            state = states.get(job.source_id)
            self._retrying.discard(job.source_id)
            if state == "failed":
                self._report.failed += 1
                self._events.failure(error.code, "failed")
            elif state == "pending":
                self._retrying.add(job.source_id)
                self._events.failure(error.code, "retried")
            how = {"failed": "failed", "pending": "retried"}.get(state or "", "passed")
            self._ended([job], how, error.code)
            self._log_failure(job, error, state, names.get(job.source_id, job.name()))
        self._report.retrying = len(self._retrying)
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
                storable(error.message),
                extra={"source_id": job.source_id, "code": error.code, "attempts": job.attempts},
            )
        if self._logged == LOGGED_FAILURES:
            logger.warning("more rows fail; see `pipeline failures`")

    def _release(self, released: list[ClaimedJob]) -> None:
        if released:
            ids = [job.source_id for job in released]
            count = self._connection.run(
                lambda c: claims.release(c, self._writer.space.id, self._worker_id, ids)
            )
            through = self._set_aside_locked(Batch(released=released), count).released
            self._in_flight.remove(through)
            self._ended(through, "released")

    def _ended(self, jobs: Sequence[ClaimedJob], outcome: str, code: str = "") -> None:
        self._events.ended(jobs, Ended(outcome, code), self._began, time.time_ns())
