"""What a server has done, and what it tells while it does."""

from dataclasses import dataclass


@dataclass
class ServeReport:
    """What a server has done so far; ``answered``, ``refused`` and ``batches`` of texts."""

    answered: int = 0
    refused: int = 0
    files: int = 0
    batches: int = 0
    forgotten: int = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """Queries that got their answers together.

    Attributes:
        kind: ``texts`` or ``files``.
        answered: how many have a vector now.
        refused: how many were told why they get none.
        seconds: since they were claimed; that they waited for it before is not in it.
    """

    kind: str
    answered: int
    refused: int
    seconds: float
