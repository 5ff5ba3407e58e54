"""Every row is embedded at least once and written once, whoever is killed meanwhile."""

import random
import time
from collections.abc import Callable

import pytest

from pipeline.postgres.connections import Connection
from tests.helpers.fakes import add_texts
from tests.helpers.processes import Pipeline, wait_until
from tests.helpers.workers import assert_embedded_once, xmins

Start = Callable[..., Pipeline]


@pytest.mark.parametrize(
    ("rows", "workers", "every", "delay"),
    [
        (400, 2, 1.5, 0.1),
        pytest.param(5_000, 4, 2.0, 0.5, marks=[pytest.mark.soak, pytest.mark.timeout(900)]),
    ],
)
def test_workers_killed_at_random_lose_nothing_and_write_nothing_twice(
    url: str,
    connection: Connection,
    pipeline: Start,
    open_jobs: Callable[[], int],
    rows: int,
    workers: int,
    every: float,
    delay: float,
) -> None:
    texts = [f"text number {n}" for n in range(rows)]
    add_texts(connection, texts)

    def start() -> Pipeline:
        return pipeline(url, "ingest", "--watch", faults={"delay": delay}, max_attempts=1000)

    running = [start() for _ in range(workers)]
    wait_until(lambda: open_jobs() < rows, "the first rows")
    kills, next_kill = 0, time.monotonic()
    while open_jobs():
        assert all(worker.is_running() for worker in running)
        if time.monotonic() >= next_kill and kills < 60:
            victim = random.randrange(workers)
            running[victim].close()
            running[victim] = start()
            kills, next_kill = kills + 1, time.monotonic() + every
        time.sleep(0.05)
    assert kills > 0
    print(f"{rows} rows, {workers} workers, {kills} kills")
    assert_embedded_once(connection, texts)


def test_running_again_and_twice_at_once_changes_no_row(
    url: str, connection: Connection, pipeline: Start
) -> None:
    texts = [f"text number {n}" for n in range(100)]
    add_texts(connection, texts)
    both = [pipeline(url, "ingest", "--once") for _ in range(2)]
    assert [run.wait() for run in both] == [0, 0]
    assert_embedded_once(connection, texts)
    before = xmins(connection)
    connection.execute("UPDATE source_items SET content_ref = content_ref")
    both = [pipeline(url, "ingest", "--once") for _ in range(2)]
    assert [run.wait() for run in both] == [0, 0]
    # Also where jobs are opened again for content that did not change.
    connection.execute("SELECT enqueue_source_items(array_agg(id)) FROM source_items")
    both = [pipeline(url, "ingest", "--once") for _ in range(2)]
    assert [run.wait() for run in both] == [0, 0]
    assert xmins(connection) == before
