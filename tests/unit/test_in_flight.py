"""What a worker has in hand."""

import pytest

from pipeline.ingest import in_flight
from pipeline.ingest.in_flight import InFlight
from pipeline.jobs import ClaimedJob


def job(source_id: int, version: int = 1) -> ClaimedJob:
    return ClaimedJob(1, source_id, version, 1, "text", "content", "{}")


def test_a_claim_that_is_through_leaves_a_newer_one_of_the_same_row() -> None:
    stale, good = job(1), job(1, version=2)
    jobs = InFlight()
    jobs.add([stale])
    jobs.add([good])
    jobs.remove([stale])
    assert jobs.ids() == [1]
    jobs.set_aside([stale])
    assert not jobs.wait_below(1, 0)
    jobs.remove([good])
    assert jobs.ids() == []


def test_what_is_set_aside_is_in_flight_and_hinders_no_claim() -> None:
    one, two = job(1), job(2)
    jobs = InFlight()
    jobs.add([one, two])
    jobs.set_aside([one, two])
    assert jobs.ids() == [1, 2]
    assert jobs.wait_below(1, 0)
    assert not jobs.wait_empty(0)
    jobs.add([job(2, version=2)])  # claimed anew, and worked on again
    assert not jobs.wait_below(1, 0)
    jobs.remove([one])
    assert (len(jobs), jobs.wait_below(1, 0)) == (1, False)


def test_more_than_a_bound_set_aside_hinders_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_flight, "MOST_SET_ASIDE", 3)
    some = [job(number) for number in range(5)]
    jobs = InFlight()
    jobs.add(some)
    jobs.set_aside(some)
    assert not jobs.wait_below(2, 0)
    assert jobs.wait_below(3, 0)
