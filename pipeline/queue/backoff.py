"""How long a row that failed waits for its next attempt."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds before the next attempt: doubling, capped, with full jitter on its upper half."""

    first: float
    largest: float

    def delay(self, attempts: int) -> float:
        """For a job that has failed ``attempts`` times; never less than half the nominal delay."""
        nominal = min(self.largest, self.first * 2.0 ** min(max(attempts, 1) - 1, 60))
        return nominal * (0.5 + random.random() / 2)
