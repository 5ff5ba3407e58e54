"""Import of answers: the vectors of rows that were embedded away from the database.

Each batch claims the jobs of rows that are as they were when they were exported, and finishes them
as a worker does, in a transaction of its own: whoever is interrupted begins again, and what is
done is passed over. A row that changed meanwhile, that is gone or that a worker has stays with the
queue, and nothing of its answer is used.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.embedders.isolation import LENGTH_TOLERANCE
from pipeline.errors import ConfigurationError
from pipeline.jobs import ClaimedJob, FinishedJob
from pipeline.postgres.connections import Connection
from pipeline.queue import claims
from pipeline.queue.backoff import Backoff
from pipeline.queue.given import claim_given
from pipeline.spaces import Space
from pipeline.spaces.items import Writer
from pipeline.transfer.answer_files import Answer, answer_files, read_answers
from pipeline.transfer.readers import open_parquet

BATCH = 1_000
LEASE_SECONDS = 60.0  # a batch takes a second; one that was killed comes back after this


@dataclass(frozen=True, slots=True)
class AnswersReport:
    """What became of answers.

    Attributes:
        answers: that were read.
        done: rows whose items were written.
        items: parts of them.
        failed: rows that are not embedded, now or ever.
        left: rows that changed, are gone or done, or are in a worker's hand.
        unreadable: files that cannot be read, such as one that was being written.
    """

    answers: int = 0
    done: int = 0
    items: int = 0
    failed: int = 0
    left: int = 0
    unreadable: tuple[str, ...] = ()


def import_answers(
    connection: Connection,
    space: Space,
    folder: Path,
    *,
    max_attempts: int,
    backoff: Backoff,
    progress: Callable[[AnswersReport], None] = lambda _: None,
) -> AnswersReport:
    """Write what a folder of answers says of the rows that still wait for it.

    Args:
        connection: outside a transaction.
        max_attempts: after so many a row whose trouble may pass is given up.
        progress: told after each batch.

    Raises:
        ConfigurationError: there are none, or an answer is of another space, or no answer; what
            was written before stays.
    """
    report = AnswersReport()
    own = _Import(connection, space, max_attempts, backoff)
    for path in answer_files(folder):
        try:
            file = open_parquet(path)
        except ConfigurationError as exc:
            report = replace(report, unreadable=(*report.unreadable, str(exc)))
            continue
        for answers in read_answers(path, file, BATCH):
            report = own.take(path, answers, report)
            progress(report)
    return report


class _Import:
    def __init__(
        self, connection: Connection, space: Space, max_attempts: int, backoff: Backoff
    ) -> None:
        self._connection = connection
        self._space = space
        self._max_attempts = max_attempts
        self._backoff = backoff
        self._worker = claims.new_worker_id()
        self._writer = Writer(space)

    def take(self, path: Path, answers: Sequence[Answer], before: AnswersReport) -> AnswersReport:
        """Write a batch; the report with it."""
        for answer in answers:
            self._check(path, answer)
        # An answer may be there twice, of two runs.
        by_row = {(answer.source_id, answer.version): answer for answer in answers}
        jobs = claim_given(
            self._connection, self._space.id, self._worker, list(by_row), LEASE_SECONDS
        )
        finished, failures = [], []
        for job in jobs:
            answer = by_row[job.source_id, job.version]
            if answer.error is not None:
                failures.append((job, answer.error))
            else:
                finished.append(_finished(job, answer))
        written = self._writer.finish(self._connection, self._worker, finished)
        states = claims.fail(
            self._connection,
            self._space.id,
            self._worker,
            failures,
            max_attempts=self._max_attempts,
            backoff=self._backoff,
        )
        # What somebody locked in between is theirs again.
        claims.release(self._connection, self._space.id, self._worker)
        return replace(
            before,
            answers=before.answers + len(answers),
            done=before.done + written.jobs,
            items=before.items + written.items,
            failed=before.failed + len(states),
            left=before.left + len(answers) - written.jobs - len(states),
        )

    def _check(self, path: Path, answer: Answer) -> None:
        where = f"{path}: the answer for source item {answer.source_id}"
        if answer.fingerprint != self._space.fingerprint:
            raise ConfigurationError(
                f"{where} is of another model (fingerprint {answer.fingerprint[:12]}) than the "
                f"space {self._space.name!r} ({self._space.fingerprint[:12]}); import it into the "
                "space that it was exported from"
            )
        if answer.error is None and not answer.items:
            raise ConfigurationError(f"{where} has neither items nor a code")
        for item in answer.items:
            if item.vector.shape != (self._space.dimensions,):
                raise ConfigurationError(
                    f"{where} has {item.vector.size} dimensions, and the space "
                    f"{self._space.name!r} {self._space.dimensions}"
                )
            length = float(np.linalg.norm(item.vector.astype(np.float64)))
            if not abs(length - 1.0) < LENGTH_TOLERANCE:  # NaN as well
                raise ConfigurationError(f"{where} has a vector of length {length:.4}, not 1")


def _finished(job: ClaimedJob, answer: Answer) -> FinishedJob:
    """With the row's own metadata, as it is now."""
    return FinishedJob(job, [replace(item, metadata=job.metadata) for item in answer.items])
