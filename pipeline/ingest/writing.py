"""The stage that writes: finished jobs with their items, failures with their reason, and what goes
back untouched."""

import logging
import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psycopg

from pipeline.errors import RowError, TransientRowError
from pipeline.ingest.assembly import Assembly
from pipeline.ingest.claim_size import ClaimSize
from pipeline.ingest.connections import Connections
from pipeline.ingest.in_flight import InFlight
from pipeline.ingest.parts import Failure, Outcome
from pipeline.ingest.pipes import Pipes
from pipeline.ingest.report import IngestReport
from pipeline.jobs import ClaimedJob, FinishedJob
from pipeline.queue import claims
from pipeline.queue.backoff import Backoff
from pipeline.queue.failures import names as names_of
from pipeline.spaces.items import Writer, Written

logger = logging.getLogger(__name__)

# Details of row failures in the log per run; the rest is in `pipeline failures`.
LOGGED_FAILURES = 20
# What the database says of a row it cannot store: bad data, a broken constraint.
_REFUSED = (psycopg.DataError, psycopg.IntegrityError)


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
        progress: Callable[[IngestReport], None] | None = None,
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
        self._retrying: set[int] = set()
        self._logged = 0

    def run(self) -> None:
        assembly = Assembly()
        while (outcomes := self._next_outcomes()) is not None:
            batch = assembly.take(outcomes)
            self._report.reused += batch.reused
            self._size.finished(len(batch.finished) + len(batch.failures))
            with self._report.timed("write"):
                self._finish(batch.finished)
                self._fail(batch.failures)
                self._release(batch.released)
            if self._progress is not None:
                self._progress(self._report)

    def _next_outcomes(self) -> list[Outcome] | None:
        """What has come in while the last batch was written, up to a claim; None at the end."""
        pipe = self._pipes.to_write
        first = pipe.get()
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
        except _REFUSED as exc:
            self._isolate_refused(finished, exc)
            return
        self._count_done(finished, written)
        self._in_flight.remove([f.job for f in finished])

    def _isolate_refused(self, finished: list[FinishedJob], exc: psycopg.Error) -> None:
        """The database refuses one of these rows: halve until that one stands alone."""
        if len(finished) == 1:
            error = TransientRowError("internal", f"the database refuses this row: {exc}")
            self._fail([(finished[0].job, error)])
            return
        middle = len(finished) // 2
        self._finish(finished[:middle])
        self._finish(finished[middle:])

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
        logged = [job.source_id for job, _ in failures[: max(0, LOGGED_FAILURES - self._logged)]]
        names = self._connection.run(lambda c: names_of(c, logged)) if logged else {}
        for job, error in failures:
            state = states.get(job.source_id)
            self._retrying.discard(job.source_id)
            if state == "failed":
                self._report.failed += 1
            elif state == "pending":
                self._retrying.add(job.source_id)
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
                error.message,
                extra={"source_id": job.source_id, "code": error.code, "attempts": job.attempts},
            )
        if self._logged == LOGGED_FAILURES:
            logger.warning("more rows fail; see `pipeline failures`")

    def _release(self, released: list[ClaimedJob]) -> None:
        if released:
            ids = [job.source_id for job in released]
            self._connection.run(
                lambda c: claims.release(c, self._writer.space.id, self._worker_id, ids)
            )
            self._in_flight.remove(released)
