"""Work on the database as steps, for whoever blocks and for whoever awaits.

A function that yields its statements and is sent their rows does not know how they are run: it
serves threads (``pool.take``) and event loops (``async_pool.take``), psycopg and asyncpg.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import psycopg

T = TypeVar("T")
Row: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that may run twice, as whatever reads may.

    Attributes:
        sql: with ``%(name)s`` for values, each with a cast, which tells asyncpg its type.
    """

    sql: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing, for so long; no connection is held meanwhile."""

    seconds: float


Steps: TypeAlias = Generator[Statement | Pause, list[Row], T]


def on(connection: "psycopg.Connection[Any]", steps: Steps[T]) -> T:
    """The steps on one connection that the caller has, without a pause among them."""
    try:
        step = next(steps)
        while True:
            assert isinstance(step, Statement)
            cursor = connection.execute(step.sql, step.values)
            step = steps.send(cursor.fetchall() if cursor.description else [])
    except StopIteration as done:
        value: T = done.value
        return value
