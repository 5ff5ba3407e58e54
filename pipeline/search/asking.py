"""Asking a running ``pipeline serve`` for the vector of a query, and the statements that do it.

A question is committed at once and its answer looked for again and again, each time by a connection
that is given back: who waits holds none, so that few serve many. The rights are those of
``text_embedding()``: whoever may search may ask.
"""

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg

from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.postgres.connections import Connection, explain
from pipeline.postgres.pool import Pool, run
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


class Unanswered(Exception):  # noqa: N818 (no error yet: somebody else may have the answer)
    """Nobody can be asked; the reason as a sentence without its full stop."""


def known(connection: Connection, text: str) -> Vectors | None:
    """The vector (D,) of a text that was asked for before; None: there is none.

    Raises:
        psycopg.Error: MM004, with what the server said against it some other time.
    """
    row = connection.execute(
        """
        SELECT CASE WHEN query_embeddings_missing(ARRAY[%(query)s]) = 0
            THEN text_embedding(%(query)s)::real[] END
        """,
        {"query": text},
    ).fetchone()
    return _vector(row)


def ask_for_text(pool: Pool, text: str) -> Vectors:
    """The vector (D,) of a text, by whoever serves; kept for the next who asks.

    Raises:
        Unanswered: nobody serves, or can be asked.
        ConfigurationError: the text is refused.
        DatabaseError: too many wait already, or the answer did not come.
    """

    def ask() -> None:
        run(pool, lambda c: c.execute("SELECT ask_for_query_embeddings(ARRAY[%s])", (text,)))

    return _answer(pool, ask, lambda connection: known(connection, text))


def ask_for_file(pool: Pool, data: bytes) -> Vectors:
    """The vector (D,) of a file's bytes, by whoever serves; nothing of either is kept.

    Raises:
        Unanswered: nobody serves, or can be asked.
        ConfigurationError: the file is refused.
        DatabaseError: too many wait already, or the answer did not come.
    """
    request: list[UUID] = []

    def ask() -> None:
        if request:
            run(pool, _check_is_served)
        else:
            request.extend(run(pool, lambda connection: _left(connection, data)))

    def fetch(connection: Connection) -> Vectors | None:
        row = connection.execute("SELECT file_embedding(%s)::real[]", request).fetchone()
        return _vector(row)

    try:
        return _answer(pool, ask, fetch)
    except BaseException:
        if request:
            run(pool, lambda connection: connection.execute("SELECT forget_file(%s)", request))
        raise


def _left(connection: Connection, data: bytes) -> tuple[UUID]:
    row = connection.execute("SELECT ask_for_file_embedding(%b)", (data,)).fetchone()
    assert row is not None
    return (row[0],)


def _check_is_served(connection: Connection) -> None:
    row = connection.execute(
        "SELECT bool_or(is_served(id)) FROM embedding_spaces WHERE state = 'active'"
    ).fetchone()
    if row is None or not row[0]:
        raise Unanswered("nobody serves the active embedding space any more")


def _answer(
    pool: Pool, ask: Callable[[], None], look: Callable[[Connection], Vectors | None]
) -> Vectors:
    deadline = time.monotonic() + WAIT_SECONDS
    asked_at, pause = -ASK_AGAIN_SECONDS, FIRST_PAUSE
    try:
        while True:
            if time.monotonic() >= asked_at + ASK_AGAIN_SECONDS:
                ask()
                asked_at = time.monotonic()
            if (vector := run(pool, look)) is not None:
                return vector
            if time.monotonic() > deadline:
                raise DatabaseError(
                    f"no vector for the query within {WAIT_SECONDS:.0f} s; `pipeline serve` runs "
                    "but is busy, or its model is slow: try again"
                )
            time.sleep(pause)
            pause = min(pause * 1.2, LARGEST_PAUSE)
    except psycopg.Error as exc:
        if exc.sqlstate in _NOBODY:
            raise Unanswered(exc.diag.message_primary or "nobody can be asked") from exc
        if exc.sqlstate == REFUSED:
            raise ConfigurationError(explain(exc)) from exc
        raise DatabaseError(explain(exc)) from exc


def _vector(row: tuple[Any, ...] | None) -> Vectors | None:
    return None if row is None or row[0] is None else unit_rows([row[0]])[0]
