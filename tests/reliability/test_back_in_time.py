"""The rows of a killed worker are done again within a lease and a sweep."""

import time
from collections.abc import Callable

import pytest

from pipeline.errors import ConfigurationError
from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.processes import Pipeline, wait_until
from tests.helpers.workers import assert_embedded_once, make_worker, running

POINTS = ("after_claim", "after_load", "after_embed", "in_write", "after_commit")


@pytest.mark.parametrize(
    ("lease", "sweep"),
    [
        pytest.param(3.0, 0.5, id="quick"),
        pytest.param(60.0, 10.0, id="default", marks=[pytest.mark.soak, pytest.mark.timeout(400)]),
    ],
)
def test_rows_of_workers_killed_at_every_stage_are_done_by_another(
    url: str,
    settings: Settings,
    space: Space,
    connection: Connection,
    pipeline: Callable[..., Pipeline],
    open_jobs: Callable[[], int],
    lease: float,
    sweep: float,
) -> None:
    texts = [f"text number {n}" for n in range(160)]
    add_texts(connection, texts)
    timing = {"lease_seconds": lease, "sweep_seconds": sweep}
    # Three claims of 8 each at most: there is enough for everyone to die of.
    victims = {
        point: pipeline(url, "ingest", "--once", faults={"kill_at": point}, claim_size=8, **timing)
        for point in POINTS
    }
    assert {point: victim.wait() for point, victim in victims.items()} == dict.fromkeys(POINTS, -9)
    lost = connection.execute("SELECT count(*) FROM ingest_jobs WHERE state = 'running'").fetchone()
    assert lost is not None
    assert lost[0] >= 4 * 8  # all but those of the worker killed after it had committed
    worker = make_worker(settings.model_copy(update=timing), space, once=False)
    with running(worker):
        seconds = wait_until(lambda: open_jobs() == 0, "the rows", lease + sweep + 30)
    print(f"lease {lease:.0f} s, sweep every {sweep} s: {lost[0]} rows done in {seconds:.1f} s")
    assert_embedded_once(connection, texts)


@pytest.mark.parametrize("timing", [{"lease_seconds": 0.6}, {"heartbeat_seconds": 0.1}])
def test_the_heartbeat_keeps_rows_that_take_longer_than_a_lease(
    settings: Settings, space: Space, connection: Connection, timing: dict[str, float]
) -> None:
    settings = settings.model_copy(update={"lease_seconds": 0.6, **timing})
    add_texts(connection, ["slow"])
    slow = make_worker(settings, space, FakeEmbedder(before=lambda _: time.sleep(2.5)), once=False)
    other = make_worker(settings, space, once=False)
    with running(slow):
        wait_until(
            lambda: (
                connection.execute("SELECT 1 FROM ingest_jobs WHERE worker IS NOT NULL").fetchone()
                is not None
            ),
            "the claim",
        )
        with running(other):
            wait_until(
                lambda: connection.execute("SELECT 1 FROM ingest_jobs").fetchone() is None,
                "the row",
            )
    assert (slow.report.done, other.report.done) == (1, 0)


def test_a_heartbeat_comes_three_times_a_lease_unless_it_is_set() -> None:
    assert Settings.load().heartbeat_interval == 20
    assert Settings.load(lease_seconds=90, heartbeat_seconds=15).heartbeat_interval == 15
    with pytest.raises(ConfigurationError, match=r"HEARTBEAT_SECONDS: .* shorter than"):
        Settings.load(lease_seconds=10, heartbeat_seconds=10)
