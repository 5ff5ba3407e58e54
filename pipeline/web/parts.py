"""What the pages are made with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import psycopg

from pipeline.postgres.connections import Connection
from pipeline.postgres.reading import Reading
from pipeline.postgres.row_security import whole
from pipeline.web.finding import Finder
from pipeline.web.images import Images
from pipeline.web.options import WebOptions

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Parts:
    """One of each; threads share them.

    Attributes:
        is_settled: whether it is known who answers queries; a model may be loading until then.
        own: the database with the login's own rights, where the pages may write; else None.
    """

    options: WebOptions
    reading: Reading
    finder: Finder
    images: Images
    own: Reading | None = None
    is_settled: Callable[[], bool] = lambda: True

    def oversee(self, look: Callable[[Connection], T]) -> T:
        """What counts everybody's rows: as readers may, or else with the login's own rights, which
        whoever may write has.

        Raises:
            psycopg.errors.InsufficientPrivilege: neither may, or a policy keeps readers from rows
                of others.
        """
        try:
            return self.reading.read(whole(look))
        except psycopg.errors.InsufficientPrivilege:
            if self.own is None:
                raise
            return self.own.read(look)
