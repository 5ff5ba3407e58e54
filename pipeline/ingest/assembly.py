"""Parts made whole again: a job is finished when all of its parts are embedded."""

from collections.abc import Sequence

from pipeline.errors import RowError
from pipeline.ingest.parts import Batch, Outcome, PreparedPart, Result
from pipeline.jobs import ClaimedJob, EmbeddedItem, Fence, FinishedJob


class Assembly:
    """Puts parts together until a job is whole. One bad part fails its job, once."""

    def __init__(self) -> None:
        # By claim, not by row: a row that changed or lapsed may be in hand twice.
        self._results: dict[Fence, dict[int, tuple[PreparedPart, Result]]] = {}

    def take(self, outcomes: Sequence[Outcome]) -> Batch:
        """The jobs that are complete with these outcomes; the others wait for their parts."""
        batch = Batch()
        for outcome in outcomes:
            batch.failures.extend(outcome.failures)
            batch.released.extend(outcome.released)
            batch.reused += outcome.reused
            for part, result in outcome.embedded:
                if part.parts == 1:  # nearly always
                    self._complete(part.job, [(part, result)], batch)
                    continue
                results = self._results.setdefault(part.job.fence, {})
                results[part.part] = (part, result)
                if len(results) == part.parts:
                    del self._results[part.job.fence]
                    self._complete(part.job, [results[n] for n in sorted(results)], batch)
        return batch

    @staticmethod
    def _complete(
        job: ClaimedJob, results: Sequence[tuple[PreparedPart, Result]], batch: Batch
    ) -> None:
        items: list[EmbeddedItem] = []
        for part, result in results:
            if isinstance(result, RowError):
                result.of_content = True
                batch.failures.append((job, result))
                return
            items.append(
                EmbeddedItem(
                    part.part,
                    part.content_ref,
                    job.metadata,
                    part.notes,
                    part.content_sha256,
                    result,
                )
            )
        batch.finished.append(FinishedJob(job, items))
