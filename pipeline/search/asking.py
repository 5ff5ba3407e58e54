"""Asking a running ``pipeline serve`` for the vector of a query, and the statements that do it.

A question is committed at once and its answer looked for again and again, each time by a connection
that is given back: who waits holds none, so that few serve many. The rights are those of
``text_embedding()``: whoever may search may ask.
"""

import time
from collections.abc import Callable, Sequence

import psycopg

from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.postgres.connections import explain
from pipeline.postgres.steps import Pause, Statement, Steps
from pipeline.vectors import Vectors, unit_rows

WAIT_SECONDS = 60.0
# A question lapses when nobody repeats it; and whoever served may be gone.
ASK_AGAIN_SECONDS = 5.0
FIRST_PAUSE, LARGEST_PAUSE = 0.002, 0.05
# What text_embedding() takes; longer texts are for who has the model.
MOST_BYTES = 10_000

# Nobody serves; or this session cannot leave a question: it only reads and the server cannot reach
# itself, or it has not even the right to ask.
_NOBODY = ("MM002", "MM005", "25006", "42501")
REFUSED = "MM004"

# One row a text, in their order; none at all while one of them has no vector.
_KNOWN = """
    SELECT text_embedding(a.query)::real[]
    FROM unnest(CASE WHEN query_embeddings_missing(%(texts)s::text[]) = 0
        THEN %(texts)s::text[] END) WITH ORDINALITY AS a (query, n)
    ORDER BY a.n
"""


class Unanswered(Exception):  # noqa: N818 (no error yet: somebody else may have the answer)
    """Nobody can be asked; the reason as a sentence without its full stop."""


def known(texts: Sequence[str]) -> Steps[Vectors | None]:
    """The vectors (n, D) of texts that were asked for before; None: one of them has none.

    Raises:
        psycopg.Error: MM004, with what the server said against one some other time.
    """
    rows = yield Statement(_KNOWN, {"texts": list(texts)})
    return unit_rows([vector for (vector,) in rows]) if rows else None


def known_here(texts: Sequence[str]) -> Steps[Vectors | None]:
    """As :func:`known`; None also where this session may not look, or one was refused."""
    try:
        return (yield from known(texts))
    except psycopg.Error as exc:
        if exc.sqlstate in ("42501", REFUSED):
            return None
        raise


def ask_for_texts(texts: Sequence[str], seconds: float | None = None) -> Steps[Vectors]:
    """The vectors (n, D) of texts, by whoever serves; kept for the next who asks.

    Args:
        seconds: to wait for them; None: ``WAIT_SECONDS``.

    Raises:
        Unanswered: nobody serves, or can be asked.
        ConfigurationError: one of the texts is refused.
        DatabaseError: too many wait already, or the answer did not come.
    """
    question = Statement(
        "SELECT ask_for_query_embeddings(%(texts)s::text[])::text", {"texts": list(texts)}
    )

    def ask() -> Steps[None]:
        yield question

    return (yield from _answer(ask, lambda: known(texts), seconds))


def ask_for_file(data: bytes, seconds: float | None = None) -> Steps[Vectors]:
    """The vector (D,) of a file's bytes, by whoever serves; nothing of either is kept.

    Args:
        seconds: to wait for it; None: ``WAIT_SECONDS``.

    Raises:
        Unanswered: nobody serves, or can be asked.
        ConfigurationError: the file is refused.
        DatabaseError: too many wait already, or the answer did not come.
    """
    request: dict[str, str] = {}

    def ask() -> Steps[None]:
        if request:
            yield from _check_is_served()
        else:
            left = "SELECT ask_for_file_embedding(%(data)b::bytea)::text"
            ((request["id"],),) = yield Statement(left, {"data": data})

    def fetch() -> Steps[Vectors | None]:
        rows = yield Statement("SELECT file_embedding(%(id)s::text::uuid)::real[]", request)
        return None if not rows or rows[0][0] is None else unit_rows([rows[0][0]])[0]

    try:
        return (yield from _answer(ask, fetch, seconds))
    except BaseException:
        if request:
            yield Statement("SELECT forget_file(%(id)s::text::uuid)::text", request)
        raise


def _check_is_served() -> Steps[None]:
    rows = yield Statement(
        "SELECT bool_or(is_served(id)) FROM embedding_spaces WHERE state = 'active'"
    )
    if not rows or not rows[0][0]:
        raise Unanswered("nobody serves the active embedding space any more")


def _answer(
    ask: Callable[[], Steps[None]],
    look: Callable[[], Steps[Vectors | None]],
    seconds: float | None,
) -> Steps[Vectors]:
    patience = WAIT_SECONDS if seconds is None else seconds
    deadline = time.monotonic() + patience
    asked_at, pause = -ASK_AGAIN_SECONDS, FIRST_PAUSE
    try:
        while True:
            if time.monotonic() >= asked_at + ASK_AGAIN_SECONDS:
                yield from ask()
                asked_at = time.monotonic()
            if (vectors := (yield from look())) is not None:
                return vectors
            if time.monotonic() > deadline:
                raise DatabaseError(
                    f"no vector for the query within {patience:.0f} s; `pipeline serve` runs "
                    "but is busy, or its model is slow: try again"
                )
            yield Pause(pause)
            pause = min(pause * 1.2, LARGEST_PAUSE)
    except psycopg.Error as exc:
        if exc.sqlstate in _NOBODY:
            raise Unanswered(exc.diag.message_primary or str(exc)) from exc
        if exc.sqlstate == REFUSED:
            raise ConfigurationError(explain(exc)) from exc
        raise DatabaseError(explain(exc)) from exc
