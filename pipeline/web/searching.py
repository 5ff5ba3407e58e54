"""The rows of a search, for a page and for the API."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.postgres.connections import Connection
from pipeline.tracing import span
from pipeline.web import catalogue
from pipeline.web.asked import MOST_ROWS, PAGE, After, Asked
from pipeline.web.catalogue import Card
from pipeline.web.faults import PageError
from pipeline.web.statement import Found, Statement, of_newest, of_search


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a search.

    Attributes:
        shown: the statement that gives them in psql.
        after: the last of them, where more follow.
    """

    cards: list[Card]
    shown: str
    after: After | None


def rows_of(connection: Connection, asked: Asked, found: Sequence[Found], rows: int = PAGE) -> Rows:
    """The next rows of what is asked for, at most so many.

    Args:
        found: what its terms lead to.

    Raises:
        PageError: 404: there is no such attached source.
    """
    statement = statement_of(connection, asked, found, rows, rows)
    with span("retrieve"):
        cards = catalogue.cards(connection, statement)
    has_more = bool(cards) and cards[-1].rank >= statement.asked_for < MOST_ROWS
    return Rows(cards, statement.shown, cards[-1].after if has_more else None)


def statement_of(
    connection: Connection, asked: Asked, found: Sequence[Found], rows: int, newest: int
) -> Statement:
    """The statement of what is asked for.

    Args:
        rows: how many, of a search.
        newest: how many, where nothing is searched for.

    Raises:
        PageError: 404: there is no such attached source.
    """
    sources = catalogue.attached(connection).get(asked.source) if asked.source else None
    if asked.source and sources is None:
        raise PageError(404, f"Nothing is attached as {asked.source[:60]!r}.")
    if found:
        return of_search(asked, found, rows)
    return of_newest(asked, sources, newest)
