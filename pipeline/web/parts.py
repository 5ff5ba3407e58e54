"""What the pages are made with."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.postgres.reading import Reading
from pipeline.web.finding import Finder
from pipeline.web.images import Images
from pipeline.web.options import WebOptions


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
