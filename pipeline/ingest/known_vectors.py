"""Vectors that the space has already, looked up for many threads at once.

Every image that a worker loads asks whether its content is known. One statement for each, one
after the other, holds up some 1,000 images a second; while one statement is under way the other
threads' questions gather, and the next one asks them all.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.spaces.items import KnownContent

Found = dict[bytes, KnownContent]
LookUp = Callable[[str, Sequence[bytes]], Found]


@dataclass(slots=True, eq=False)
class _Question:
    modality: str
    hashes: Sequence[bytes]
    answer: Found | None = None
    error: BaseException | None = None


class KnownVectors:
    """``known(modality, hashes)``: the vectors of those SHA-256 sums that the space has.

    Args:
        look_up: asks the database; called by one thread at a time, with distinct hashes.
    """

    def __init__(self, look_up: LookUp) -> None:
        self._look_up = look_up
        self._asking = threading.Lock()
        self._waiting: deque[_Question] = deque()

    def __call__(self, modality: str, hashes: Sequence[bytes]) -> Found:
        """Raises what ``look_up`` raises, in each thread whose question was in the statement."""
        question = _Question(modality, hashes)
        self._waiting.append(question)
        with self._asking:
            # Else the thread that was asking before us has asked for us too.
            if question.answer is None and question.error is None:
                self._ask([self._waiting.popleft() for _ in range(len(self._waiting))])
        if question.error is not None:
            raise question.error
        assert question.answer is not None
        return question.answer

    def _ask(self, questions: list[_Question]) -> None:
        for modality in {question.modality for question in questions}:
            asked = [question for question in questions if question.modality == modality]
            wanted: dict[Any, None] = dict.fromkeys(h for q in asked for h in q.hashes)
            try:
                found = self._look_up(modality, list(wanted))
            except BaseException as exc:
                for question in asked:
                    question.error = exc
            else:
                for question in asked:
                    question.answer = {h: found[h] for h in question.hashes if h in found}
