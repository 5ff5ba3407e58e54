"""A claim is a few seconds' work."""

import pytest

from pipeline.ingest.claim_size import SECONDS, ClaimSize


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def work(size: ClaimSize, clock: Clock, rate: float, seconds: float, step: float = 0.1) -> None:
    """Finish ``rate`` jobs a second for so long."""
    for _ in range(round(seconds / step)):
        clock.now += step
        size.finished(round(rate * step))


def test_a_slow_model_holds_few_rows(clock: Clock) -> None:
    size = ClaimSize(64, 1024, clock=clock)
    assert size.jobs == 64
    work(size, clock, 20, seconds=20)
    assert 15 <= size.jobs / SECONDS <= 25


def test_a_fast_one_takes_the_largest_claims_at_once(clock: Clock) -> None:
    size = ClaimSize(64, 1024, clock=clock)
    work(size, clock, 20_000, seconds=2)
    assert size.jobs == 1024


def test_a_pause_in_the_loading_halves_the_claim_at_most(clock: Clock) -> None:
    size = ClaimSize(64, 1024, clock=clock)
    work(size, clock, 20_000, seconds=2)
    clock.now += 60
    size.finished(1)
    assert size.jobs == 512


def test_at_least_one_row_is_claimed(clock: Clock) -> None:
    size = ClaimSize(1, 1024, clock=clock)
    work(size, clock, 0, seconds=10)
    assert size.jobs == 1


def test_no_claim_is_larger_than_the_setting(clock: Clock) -> None:
    size = ClaimSize(64, 8, clock=clock)
    assert size.jobs == 8
    work(size, clock, 20_000, seconds=2)
    assert size.jobs == 8
