"""The stage that loads and prepares: threads that turn claimed jobs into the model's input.

Texts have threads of their own, and so has what is loaded from here and what from elsewhere: none
waits for another. Elsewhere each place has its turn.
"""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import groupby
from operator import attrgetter

import psycopg

from pipeline.errors import PipelineError, TransientRowError
from pipeline.ingest.claim_size import CLAIMS_IN_FLIGHT
from pipeline.ingest.control import Control
from pipeline.ingest.events import WorkEvents
from pipeline.ingest.in_flight import WaitingInput
from pipeline.ingest.parts import Outcome
from pipeline.ingest.pipes import Pipes
from pipeline.ingest.preparing import Preparer
from pipeline.ingest.turns import Turns
from pipeline.jobs import ClaimedJob
from pipeline.postgres.reconnect import Stopped
from pipeline.references import place_of

logger = logging.getLogger(__name__)

# How often a thread that waits for room looks whether it is to stop.
LOOK_SECONDS = 0.2


class Loading:
    """Takes jobs from the claiming stage and hands parts, or failures, to those after it.

    Args:
        turns: loads what is elsewhere.
        workers: threads for what is here.
        events: told what was prepared.
    """

    def __init__(
        self,
        preparer: Preparer,
        pipes: Pipes,
        waiting_input: WaitingInput,
        control: Control,
        turns: Turns,
        workers: int,
        events: WorkEvents,
    ) -> None:
        self._preparer = preparer
        self._pipes = pipes
        self._input = waiting_input
        self._control = control
        self._workers = workers
        self._events = events
        self._texts = ThreadPoolExecutor(CLAIMS_IN_FLIGHT, "prepare")
        self._here = ThreadPoolExecutor(workers, "load")
        self._elsewhere = turns
        self._loading: dict[Future[None], list[ClaimedJob]] = {}

    def submit(self, jobs: Sequence[ClaimedJob]) -> None:
        """Begin with these jobs: those with nothing to load together, each other one alone."""
        for modality, same in groupby(
            sorted(jobs, key=attrgetter("modality")), key=attrgetter("modality")
        ):
            of_modality = list(same)
            if self._preparer.is_inline(modality):
                work = partial(self._load, modality, of_modality)
                self._started(self._texts.submit(work), of_modality)
            else:
                for job in of_modality:
                    self._started(self._submit_one(job), [job])

    def release_what_waits(self) -> None:
        """Jobs whose loading has not begun go back to the queue at once."""
        for future, jobs in list(self._loading.items()):
            if future.cancel():
                self._pipes.to_write.put(Outcome(released=jobs))

    def waiting(self) -> int:
        """How many tasks wait for a thread, or for its turn."""
        return max(0, len(self._loading) - self._elsewhere.held_up() - self._workers)

    def held_up(self) -> int:
        """How many jobs wait for places in trouble."""
        return self._elsewhere.held_up()

    def is_at_work(self) -> bool:
        """Whether more parts may be coming."""
        return bool(self._loading)

    def close(self) -> None:
        """Begin nothing any more; what is being loaded goes on in threads that nobody waits for."""
        self._elsewhere.close()
        for pool in (self._texts, self._here):
            pool.shutdown(wait=False, cancel_futures=True)

    def _submit_one(self, job: ClaimedJob) -> Future[None]:
        work = partial(self._load, job.modality, [job])
        place = place_of(job.content_ref)
        return self._here.submit(work) if place is None else self._elsewhere.submit(place, work)

    def _started(self, future: Future[None], jobs: list[ClaimedJob]) -> None:
        self._loading[future] = jobs
        future.add_done_callback(lambda done: self._loading.pop(done, None))

    def _load(self, modality: str, jobs: list[ClaimedJob]) -> None:
        try:
            if not self._preparer.is_inline(modality):
                self._input.wait_for_room(self._control.abort, LOOK_SECONDS)
            began = time.time_ns()
            parts, failures = self._preparer.prepare(modality, jobs)
            self._events.prepared(jobs, began, time.time_ns())
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
