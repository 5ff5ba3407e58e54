"""The stage that loads and prepares: threads that turn claimed jobs into the model's input."""

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from operator import attrgetter

import psycopg

from pipeline.errors import PipelineError, TransientRowError
from pipeline.ingest.control import Control
from pipeline.ingest.in_flight import WaitingInput
from pipeline.ingest.parts import Outcome
from pipeline.ingest.pipes import Pipes
from pipeline.ingest.preparing import Preparer
from pipeline.jobs import ClaimedJob
from pipeline.postgres.reconnect import Stopped

logger = logging.getLogger(__name__)

# How often a thread that waits for room looks whether it is to stop.
LOOK_SECONDS = 0.2


class Loading:
    """Takes jobs from the claiming stage and hands parts, or failures, to those after it.

    Args:
        workers: threads.
    """

    def __init__(
        self,
        preparer: Preparer,
        pipes: Pipes,
        waiting_input: WaitingInput,
        control: Control,
        workers: int,
    ) -> None:
        self._preparer = preparer
        self._pipes = pipes
        self._input = waiting_input
        self._control = control
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, "load")
        self._loading: dict[Future[None], list[ClaimedJob]] = {}

    def submit(self, jobs: Sequence[ClaimedJob]) -> None:
        """Begin with these jobs: those with nothing to load together, each other one alone."""
        for modality, same in groupby(
            sorted(jobs, key=attrgetter("modality")), key=attrgetter("modality")
        ):
            of_modality = list(same)
            if self._preparer.is_inline(modality):
                self._start(modality, of_modality)
            else:
                for job in of_modality:
                    self._start(modality, [job])

    def release_what_waits(self) -> None:
        """Jobs whose loading has not begun go back to the queue at once."""
        for future, jobs in list(self._loading.items()):
            if future.cancel():
                self._pipes.to_write.put(Outcome(released=jobs))

    def waiting(self) -> int:
        """How many tasks wait for a thread."""
        return max(0, len(self._loading) - self._workers)

    def is_at_work(self) -> bool:
        """Whether more parts may be coming."""
        return bool(self._loading)

    def close(self) -> None:
        """Begin nothing any more; what is being loaded goes on in threads that nobody waits for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start(self, modality: str, jobs: list[ClaimedJob]) -> None:
        future = self._pool.submit(self._load, modality, jobs)
        self._loading[future] = jobs
        future.add_done_callback(lambda done: self._loading.pop(done, None))

    def _load(self, modality: str, jobs: list[ClaimedJob]) -> None:
        try:
            if not self._preparer.is_inline(modality):
                self._input.wait_for_room(self._control.abort, LOOK_SECONDS)
            parts, failures = self._preparer.prepare(modality, jobs)
        except Stopped:
            return
        except (PipelineError, psycopg.Error) as exc:  # not of the row: the worker ends
            self._control.fail(exc)
            return
        except Exception as exc:
            # A bug of ours or of a library costs these rows an attempt, not the worker.
            logger.debug("could not prepare %s", jobs[0].name(), exc_info=True)
            error = TransientRowError("internal", f"{type(exc).__name__}: {exc}")
            parts, failures = [], [(job, error) for job in jobs]
        if failures:
            self._pipes.to_write.put(Outcome(failures=failures))
        if parts:
            self._input.add(parts)
            self._pipes.to_embed.put(parts)
