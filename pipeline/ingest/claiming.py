"""The stage that claims: no more jobs than are soon worked on, until none is due or to be told."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from pipeline.ingest.claim_size import CLAIMS_IN_FLIGHT, ClaimSize
from pipeline.ingest.connections import Connections
from pipeline.ingest.control import Control
from pipeline.ingest.events import WorkEvents
from pipeline.ingest.in_flight import InFlight, WaitingInput
from pipeline.ingest.pipes import Pipes
from pipeline.jobs import ClaimedJob
from pipeline.queue import claims
from pipeline.queue.bounds import ClaimBounds
from pipeline.queue.due import CaughtUp, is_due
from pipeline.queue.news import wait_for_jobs
from pipeline.queue.pauses import find_pause, wait_until_resumed
from pipeline.queue.sweep import sweep

logger = logging.getLogger(__name__)

# How often the stage, waiting for another, looks whether it is to stop.
LOOK_SECONDS = 0.2
# How often a run that has caught up looks for what is still its own, for which all that is new has
# to be read: of a million rows that arrive just then, too.
LOOK_AGAIN_SECONDS = 1.0
# So many rows that wait for places in trouble hinder no claim; each is a reference in memory.
MOST_HELD_UP = 10_000


@dataclass(frozen=True, slots=True)
class ClaimOptions:
    """See the settings of the same names.

    Attributes:
        once: end when none is due, or none but those that came after that was so for the first
            time, or when the space is paused; otherwise wait for more.
        limit: claim at most so many jobs in all.
    """

    once: bool = True
    limit: int | None = None
    lease_seconds: float = 60.0
    sweep_seconds: float = 10.0
    poll_seconds: float = 2.0
    max_attempts: int = 5
    bounds: ClaimBounds = field(default_factory=ClaimBounds)


class Claiming:
    """One thread. Its end, when nothing is in flight any more, is the end of every stage.

    Args:
        hand_over: to the stage that loads.
        held_up: how many jobs wait for places in trouble, which hinder no claim.
        release_what_waits: has that stage give back what it has not begun.
        timed: notes for the report how long claiming takes.
        events: told of lapsed leases and of claims.
    """

    def __init__(
        self,
        connections: Connections,
        control: Control,
        pipes: Pipes,
        in_flight: InFlight,
        size: ClaimSize,
        waiting_input: WaitingInput,
        space_id: int,
        worker_id: str,
        options: ClaimOptions,
        *,
        hand_over: Callable[[Sequence[ClaimedJob]], None],
        held_up: Callable[[], int],
        release_what_waits: Callable[[], None],
        timed: Callable[[str], AbstractContextManager[None]],
        events: WorkEvents,
    ) -> None:
        self._connection = connections.open("claim")
        self._control = control
        self._pipes = pipes
        self._in_flight = in_flight
        self._size = size
        self._input = waiting_input
        self._space_id = space_id
        self._worker_id = worker_id
        self._options = options
        self._left = options.limit
        self._caught_up: CaughtUp | None = None
        self._hand_over = hand_over
        self._held_up = held_up
        self._release_what_waits = release_what_waits
        self._timed = timed
        self._events = events

    def run(self) -> None:
        next_sweep, suspects = 0.0, False
        while not self._control.stop.is_set() and self._left != 0:
            if self._connection.run(lambda c: find_pause(c, self._space_id)) is not None:
                if self._options.once:
                    break
                self._wait_until_resumed()
                continue
            if time.monotonic() >= next_sweep:
                self._sweep()
                suspects = self._is_due(suspects=True)
                if suspects:  # which are waited for alone, and not for hosts in trouble
                    self._release_what_waits()
                next_sweep = time.monotonic() + self._options.sweep_seconds
            if suspects:
                # One at a time, alone in the worker: if the row kills it, no other is blamed.
                if self._in_flight.wait_below(1, LOOK_SECONDS):
                    suspects = self._claim(1, suspects=True) > 0
            elif self._caught_up is not None and not self._is_due(caught_up=self._caught_up):
                # What is in flight may come back as due or be changed, so it is waited for before
                # the end; but not what is new since: beside a steady stream there would be none.
                if self._in_flight.wait_empty(LOOK_AGAIN_SECONDS):
                    suspects = self._is_due(suspects=True)
                    if not suspects and not self._is_due(caught_up=self._caught_up):
                        break
            # Not one by one: a claim costs the same for one row as for many.
            elif self._has_room_for(size := self._jobs_per_claim()) and not self._claim(size):
                if not self._options.once:
                    self._wait_for_jobs()
                elif self._caught_up is None:
                    self._caught_up = self._caught_up_now()
                else:
                    self._control.stop.wait(0.05)  # due, but locked by somebody for a moment
        if self._control.stop.is_set():
            self._release_what_waits()
        while not self._in_flight.wait_empty(LOOK_SECONDS) and not self._control.abort.is_set():
            pass
        self._control.drained.set()
        self._pipes.end()

    def _has_room_for(self, size: int) -> bool:
        """Whether another claim of so many jobs may be in flight."""
        return self._in_flight.wait_below(
            (CLAIMS_IN_FLIGHT - 1) * size + 1 + min(self._held_up(), MOST_HELD_UP),
            LOOK_SECONDS,
            (CLAIMS_IN_FLIGHT - 1) * self._options.bounds.bytes,
        )

    def _jobs_per_claim(self) -> int:
        return min(self._size.jobs, max(1, self._input.room() // CLAIMS_IN_FLIGHT))

    def _sweep(self) -> None:
        lost = self._connection.run(lambda c: sweep(c, self._options.max_attempts))
        if lost:
            logger.info("%d rows came back from workers that are gone", lost)
            self._events.lapsed(lost)

    def _is_due(self, *, suspects: bool = False, caught_up: CaughtUp | None = None) -> bool:
        return self._connection.run(
            lambda c: is_due(c, self._space_id, suspects=suspects, caught_up=caught_up)
        )

    def _caught_up_now(self) -> CaughtUp:
        in_hand = self._in_flight.ids()  # before the time, so that no change of theirs is missed
        return self._connection.run(lambda c: CaughtUp.now(c, in_hand))

    def _claim(self, room: int, *, suspects: bool = False) -> int:
        if self._left is not None:
            room = min(room, self._left)
        began = time.time_ns()
        with self._timed("claim"):
            jobs = self._connection.run(
                lambda c: claims.claim(
                    c,
                    self._space_id,
                    self._worker_id,
                    room,
                    self._options.lease_seconds,
                    suspects=suspects,
                    bounds=self._options.bounds,
                )
            )
        if self._left is not None:
            self._left -= len(jobs)
        if self._caught_up is not None:
            self._caught_up.in_hand.difference_update(job.source_id for job in jobs)
        self._in_flight.add(jobs)
        self._events.claimed(jobs, began, time.time_ns())
        self._hand_over(jobs)
        return len(jobs)

    def _wait_until_resumed(self) -> None:
        """What is in flight goes on meanwhile."""
        stop, poll_seconds = self._control.stop, self._options.poll_seconds
        self._connection.run(lambda c: wait_until_resumed(c, self._space_id, poll_seconds, stop))

    def _wait_for_jobs(self) -> None:
        """Up to ``poll_seconds``, less if a notification says that there are new jobs."""
        deadline = time.monotonic() + self._options.poll_seconds
        while not self._control.stop.is_set() and time.monotonic() < deadline:
            if self._connection.run(lambda c: wait_for_jobs(c, LOOK_SECONDS)):
                return
