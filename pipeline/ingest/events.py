"""What a worker tells while it works, beside its report: to whoever counts, or traces."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pipeline.jobs import ClaimedJob
from pipeline.spaces.index.build import ignore


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of rows.

    Attributes:
        outcome: ``done``, ``failed`` for good, ``retried``, ``released``, ``passed`` to another
            worker or a later content, or ``done or passed``, where some of a batch were.
        code: of the error, if it is one.
    """

    outcome: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class WorkEvents:
    """Whom to tell. Each is called in the thread that did it, and must not take long.

    The times of those about jobs are nanoseconds since the epoch: when it began and ended.

    Attributes:
        batch: the modality, how many inputs, and the seconds that the model took for them.
        failure: the error's code, and what became of the row: ``failed`` for good, or ``retried``.
        lapsed: how many leases were found lapsed.
        claimed: the jobs of one claim.
        prepared: jobs that were loaded, decoded and prepared together, or that failed at it.
        embedded: the jobs of a batch, a job once for each of its parts, and how many inputs.
        ended: jobs that ended alike, and how.
        over: the worker has ended.
    """

    batch: Callable[[str, int, float], None] = ignore
    failure: Callable[[str, str], None] = ignore
    lapsed: Callable[[int], None] = ignore
    claimed: Callable[[Sequence[ClaimedJob], int, int], None] = ignore
    prepared: Callable[[Sequence[ClaimedJob], int, int], None] = ignore
    embedded: Callable[[Iterable[ClaimedJob], int, int, int], None] = ignore
    ended: Callable[[Sequence[ClaimedJob], Ended, int, int], None] = ignore
    over: Callable[[], None] = ignore
