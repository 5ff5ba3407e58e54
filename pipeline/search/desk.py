"""Questions of many callers of one process, asked as one: what they lack at a time is one request,
and one looks for all their answers, where each by itself would ask the database a thousand times a
second between them.

Who looks is a caller's thread (``client/threads.py``) or a task (``client/tasks.py``).
"""

import copy
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import psycopg

from pipeline.errors import PipelineError
from pipeline.postgres.steps import Pause, Statement, Steps
from pipeline.search import asking
from pipeline.vectors import Vectors, unit_rows

# Between two looks a twentieth of what an answer takes, so that neither a quick model is waited for
# in vain nor a slow one asked all the time. What comes meanwhile is one more question: each costs
# the server a connection to itself, and whoever had an answer asks again at once.
SHARE, LEAST_PAUSE, LARGEST_PAUSE = 0.05, 0.002, 0.05
# At a time; `serve` lets a login wait for some thousands.
MOST_TEXTS = 1000

_MISSING = "SELECT query_embeddings_missing(%(texts)s::text[])"
_ANSWERED = """
    SELECT a.query, CASE WHEN query_embeddings_missing(ARRAY[a.query]) = 0
        THEN text_embedding(a.query)::real[] END
    FROM unnest(%(texts)s::text[]) AS a (query)
"""

Answer = Future[Vectors]


class Desk:
    """Texts that wait for their vectors, and who waits for each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Answer]] = {}
        self._asked_at: dict[str, float] = {}

    def put(self, texts: Sequence[str]) -> list[Answer]:
        """A promise of each text's vector (D,); cancelled, it is not waited for any more."""
        answers: list[Answer] = [Future() for _ in texts]
        with self._lock:
            for text, answer in zip(texts, answers, strict=True):
                self._waiting.setdefault(text, []).append(answer)
        return answers

    def answering(self, is_over: Callable[[], bool]) -> Steps[None]:
        """Ask and look until nobody waits, or ``is_over()``. What goes wrong is the callers'."""
        since, usual = time.monotonic(), 0.0
        while (texts := self._open()) and not is_over():
            due = [text for text in texts if time.monotonic() >= self._asked_at.get(text, 0.0)]
            try:
                if due:
                    yield asking.question(due)
                    again = time.monotonic() + asking.ASK_AGAIN_SECONDS
                    self._asked_at.update(dict.fromkeys(due, again))
                if (yield from self._look(texts)):
                    since, usual = time.monotonic(), time.monotonic() - since
            except psycopg.Error as exc:
                self._fail(due or texts, asking.error_of(exc))
            except PipelineError as exc:
                self._fail(texts, exc)
            pause = SHARE * max(usual, time.monotonic() - since)
            yield Pause(min(max(LEAST_PAUSE, pause), LARGEST_PAUSE))

    def fail(self, error: Exception) -> None:
        """Nobody is answered any more."""
        self._fail(list(self._waiting), error)

    def _look(self, texts: Sequence[str]) -> Steps[bool]:
        """Whether there was an answer."""
        try:
            rows = yield Statement(_MISSING, {"texts": texts})
            if rows[0][0] == len(texts):
                return False
            for text, vector in (yield Statement(_ANSWERED, {"texts": texts})):
                if vector is not None:
                    self._finish(text, unit_rows([vector])[0])
        except psycopg.Error as exc:
            if exc.sqlstate != asking.REFUSED:
                raise
            yield from self._look_for_each(texts)
        return True

    def _look_for_each(self, texts: Sequence[str]) -> Steps[None]:
        """As one of them is refused, which the server does not say of several."""
        for text in texts:
            try:
                vectors = yield from asking.known([text])
            except psycopg.Error as exc:
                if exc.sqlstate != asking.REFUSED:
                    raise
                self._fail([text], asking.error_of(exc))
            else:
                if vectors is not None:
                    self._finish(text, vectors[0])

    def _open(self) -> list[str]:
        """What somebody waits for; what nobody does is forgotten."""
        with self._lock:
            for text, answers in list(self._waiting.items()):
                if all(answer.cancelled() for answer in answers):
                    del self._waiting[text]
                    self._asked_at.pop(text, None)
            return list(self._waiting)[:MOST_TEXTS]

    def _taken(self, text: str) -> list[Answer]:
        with self._lock:
            self._asked_at.pop(text, None)
            answers = self._waiting.pop(text, [])
        return [answer for answer in answers if answer.set_running_or_notify_cancel()]

    def _finish(self, text: str, vector: Vectors) -> None:
        for answer in self._taken(text):
            answer.set_result(vector)

    def _fail(self, texts: Sequence[str], error: Exception) -> None:
        for text in texts:
            for answer in self._taken(text):
                answer.set_exception(copy.copy(error))  # each with a traceback of its own
