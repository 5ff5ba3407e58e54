"""What a worker tells while it works, beside its report: to whoever counts, or traces."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.spaces.index.build import ignore


@dataclass(frozen=True, slots=True)
class WorkEvents:
    """Whom to tell. Each is called in the thread that did it, and must not take long.

    Attributes:
        batch: the modality, how many inputs, and the seconds that the model took for them.
        failure: the error's code, and what became of the row: ``failed`` for good, or ``retried``.
        lapsed: how many leases were found lapsed.
    """

    batch: Callable[[str, int, float], None] = ignore
    failure: Callable[[str, str], None] = ignore
    lapsed: Callable[[int], None] = ignore
