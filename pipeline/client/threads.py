"""Texts that several threads ask for, one of which asks for all: the first that finds nobody at it.

When it has what it wanted itself, the next goes on. So no thread of our own runs, which a process
that is forked off would miss.
"""

import os
import threading
import time
from collections.abc import Sequence

import numpy as np

from pipeline.postgres.pool import Pool, take
from pipeline.search.asking import WAIT_SECONDS, not_in_time
from pipeline.search.desk import Answer, Desk
from pipeline.vectors import Vectors


class ThreadsDesk:
    """Vectors of texts by whoever serves, for any number of threads."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._reset()

    def _reset(self) -> None:
        self._desk = Desk()
        self._changed = threading.Condition()
        self._is_led = False
        self._owner = os.getpid()

    def ask(self, texts: Sequence[str], seconds: float | None) -> Vectors:
        """The vectors (n, D) of texts.

        Raises:
            Unanswered: nobody serves, or can be asked.
            ConfigurationError: one of the texts is refused.
            DatabaseError: too many wait already, or an answer did not come.
        """
        if self._owner != os.getpid():
            self._reset()  # we were forked: who leads stayed with our parent
        answers = self._desk.put(texts)
        for answer in answers:
            answer.add_done_callback(self._tell)
        seconds = WAIT_SECONDS if seconds is None else seconds
        deadline = time.monotonic() + seconds
        try:
            while not all(answer.done() for answer in answers):
                if time.monotonic() > deadline:
                    raise not_in_time(seconds)
                if self._leads(answers, deadline):
                    self._lead(answers, deadline)
            return np.stack([answer.result() for answer in answers])
        finally:
            for answer in answers:
                answer.cancel()

    def _leads(self, answers: Sequence[Answer], deadline: float) -> bool:
        """Wait until there is an answer, or nobody leads; whether this thread does from now on."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._is_led or all(answer.done() for answer in answers),
                deadline - time.monotonic(),
            )
            if self._is_led or all(answer.done() for answer in answers):
                return False
            self._is_led = True
            return True

    def _lead(self, answers: Sequence[Answer], deadline: float) -> None:
        def is_over() -> bool:
            return time.monotonic() > deadline or all(answer.done() for answer in answers)

        try:
            take(self._pool, self._desk.answering(is_over))
        finally:
            with self._changed:
                self._is_led = False
                self._changed.notify_all()

    def _tell(self, _: Answer) -> None:
        with self._changed:
            self._changed.notify_all()
