"""SIGTERM and SIGINT: finish or give back, and go, with nothing left behind."""

import json
import random
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.postgres.connections import Connection
from tests.helpers.fakes import add_texts
from tests.helpers.processes import Pipeline, wait_until
from tests.helpers.workers import assert_embedded_once

Start = Callable[..., Pipeline]


def jobs(connection: Connection, condition: str = "true") -> int:
    row = connection.execute(
        f"SELECT count(*) FROM ingest_jobs WHERE {condition}"  # type: ignore[arg-type]
    ).fetchone()
    assert row is not None
    return int(row[0])


def backends(connection: Connection) -> list[Any]:
    """Of pipelines, on the test's database."""
    return connection.execute(
        """
        SELECT application_name, state, query FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
            AND backend_type = 'client backend'
        """
    ).fetchall()


def test_a_signal_in_mid_batch_ends_the_run_in_good_order(
    url: str, connection: Connection, pipeline: Start
) -> None:
    texts = [f"text number {n}" for n in range(1000)]
    add_texts(connection, texts)
    runs = {
        number: pipeline(
            url, "ingest", "--watch", "--json", faults={"delay": 0.2}, lease_seconds=60
        )
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    wait_until(
        lambda: connection.execute(
            "SELECT 1 FROM ingest_jobs HAVING count(DISTINCT worker) = 2"
        ).fetchone(),
        "both claims",
    )
    for number, run in runs.items():
        run.signal(number)
    assert [run.wait() for run in runs.values()] == [0, 0]
    assert jobs(connection, "state <> 'pending' OR attempts <> 0") == 0
    done = sum(json.loads(run.output.read_text().splitlines()[-1])["done"] for run in runs.values())
    row = connection.execute("SELECT count(*) FROM multimodal_items").fetchone()
    assert row == (done,)
    assert jobs(connection) == 1000 - done
    assert 0 < done < 1000
    ended = connection.execute("SELECT done, exit_code, stopped FROM ingest_runs").fetchall()
    assert [row[1:] for row in ended] == [(0, True)] * 2
    assert sum(row[0] for row in ended) == done
    assert backends(connection) == []


def test_a_build_of_a_space_ends_in_good_order_too(
    url: str, connection: Connection, pipeline: Start
) -> None:
    add_texts(connection, [f"text number {n}" for n in range(1000)])
    build = pipeline(url, "space", "build", "fake", "--json", faults={"delay": 0.2})
    wait_until(lambda: jobs(connection, "state = 'running'"), "the claim")
    build.signal(signal.SIGTERM)
    assert build.wait() == 0
    assert sum("stopping" in line for line in build.lines()) == 1
    report = json.loads(build.output.read_text().splitlines()[-1])
    assert report["stopped"]
    assert jobs(connection, "state = 'pending' AND attempts = 0") == 1000 - report["embedded"] > 0


def test_a_signal_during_start_up_ends_it_with_nothing_claimed(
    url: str, connection: Connection, pipeline: Start
) -> None:
    add_texts(connection, ["one"])
    runs = [pipeline(url, "ingest", faults={"load": 3600}) for _ in range(2)]
    for run in runs:
        wait_until(lambda run=run: "loading" in run.output.read_text(), "the start")  # type: ignore[misc]
    runs[0].signal(signal.SIGTERM)
    runs[1].signal(signal.SIGINT)
    assert [run.wait() for run in runs] == [0, 0]
    assert jobs(connection, "state = 'pending' AND attempts = 0") == 1
    assert backends(connection) == []


def test_a_batch_that_outlives_the_grace_period_is_given_back_and_a_second_signal_ends_at_once(
    url: str, connection: Connection, pipeline: Start
) -> None:
    add_texts(connection, [f"text {n}" for n in range(4)])
    slow = {"faults": {"delay": 3600}, "lease_seconds": 60, "claim_size": 2}
    patient = pipeline(url, "ingest", "--limit", "2", grace_seconds=1, **slow)
    hurried = pipeline(url, "ingest", "--limit", "2", grace_seconds=3600, **slow)
    wait_until(lambda: jobs(connection, "state = 'running'") == 4, "the claims")
    time.sleep(0.3)
    patient.signal(signal.SIGTERM)
    assert patient.wait() == 0
    assert any("giving them back" in line for line in patient.lines())
    assert jobs(connection, "state = 'pending' AND attempts = 0") == 2
    hurried.signal(signal.SIGTERM)
    wait_until(lambda: any("stopping" in line for line in hurried.lines()), "the first signal")
    hurried.signal(signal.SIGTERM)
    assert hurried.wait() == 128 + signal.SIGTERM
    assert jobs(connection, "state = 'running'") == 2  # these come back with their leases
    wait_until(lambda: backends(connection) == [], "the server to notice")


@pytest.mark.parametrize(
    ("workers", "starts"),
    [(2, 2), pytest.param(10, 50, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])],
)
def test_workers_started_and_stopped_over_and_over_leave_nothing_behind(
    url: str, connection: Connection, pipeline: Start, workers: int, starts: int
) -> None:
    texts = [f"text number {n}" for n in range(40 * workers * starts)]
    add_texts(connection, texts)
    for _ in range(starts):
        running = [
            pipeline(url, "ingest", "--watch", faults={"delay": 0.05}, lease_seconds=3600)
            for _ in range(workers)
        ]
        wait_until(
            lambda running=running: all(  # type: ignore[misc]
                "loading" in run.output.read_text() for run in running
            ),
            "the start",
            300,
        )
        time.sleep(random.random())
        for run in running:
            run.signal(signal.SIGTERM)
        assert {run.wait() for run in running} == {0}
        assert jobs(connection, "state <> 'pending' OR attempts <> 0") == 0
        wait_until(lambda: backends(connection) == [], "the server to notice")
    assert pipeline(url, "ingest", "--once").wait() == 0
    assert_embedded_once(connection, texts)
