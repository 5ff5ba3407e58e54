"""The page of jobs: what the stages of workers in other processes do."""

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.databases import login_url, role
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.processes import wait_until
from tests.helpers.web import pages, words
from tests.helpers.workers import make_worker, running
from tests.integration.test_web_pages import HOSTILE

TIMING = {"lease_seconds": 5.0, "heartbeat_seconds": 0.1}


def seen(connection: Connection) -> bool:
    """Whether a worker has said which of its stages the others wait for."""
    return bool(
        connection.execute(
            "SELECT 1 FROM ingest_workers WHERE stages @? '$[*] ? (@.bottleneck > 0.5)'"
        ).fetchone()
    )


def until(connection: Connection) -> Any:
    """When the last lease ends; None: there is none."""
    (found,) = connection.execute("SELECT max(leased_until) FROM ingest_jobs").fetchone() or (None,)
    return found


def test_a_worker_tells_which_of_its_stages_holds_up_the_others(
    connection: Connection, settings_of: Callable[..., Settings], url: str, space: Space
) -> None:
    settings, goes_on = settings_of(url, **TIMING), threading.Event()
    add_texts(connection, ["one"])
    worker = make_worker(settings, space, FakeEmbedder(before=lambda _: goes_on.wait(60)))
    with pages(settings, allows_writes=True) as client, running(worker):
        wait_until(lambda: seen(connection), "the stages")
        page = client.get("/jobs").text
        (told,) = client.get("/api/jobs").json()["workers"]
        with pages(settings) as reader:
            assert worker.id not in reader.get("/jobs").text
            assert reader.get("/api/jobs").json()["workers"] is None
        goes_on.set()
        wait_until(lambda: worker.report.done == 1, "the row")
    assert "embed holds up the others" in words(page)
    stages = {stage.pop("stage"): stage for stage in told["lately"]["stages"]}
    assert list(stages) == ["claim", "load", "prepare", "embed", "write"]
    assert stages["embed"]["at_work"] > 0.5
    assert stages["write"]["at_work"] == 0.0
    assert 0.1 <= told["lately"]["seconds"] < 60


def test_one_of_the_release_before_and_one_that_may_not_tell_go_on(
    connection: Connection, settings_of: Callable[..., Settings], url: str, space: Space
) -> None:
    settings, goes_on = settings_of(url, **TIMING), threading.Event()
    add_texts(connection, ["one"])
    with role(connection, "plain", "LOGIN IN ROLE pipeline_ingest"):
        connection.execute("REVOKE ALL ON ingest_workers FROM pipeline_ingest")
        own = settings_of(login_url(url, "plain"), **TIMING)
        worker = make_worker(own, space, FakeEmbedder(before=lambda _: goes_on.wait(60)))
        with running(worker), pages(settings, allows_writes=True) as client:
            wait_until(lambda: until(connection) is not None, "the claim")
            first = until(connection)
            wait_until(lambda: until(connection) > first, "a heartbeat")
            (told,) = client.get("/api/jobs").json()["workers"]
            assert told["worker"] == worker.id
            assert told["lately"] is None
            assert "has not said yet" in words(client.get("/jobs").text)
            goes_on.set()
            wait_until(lambda: worker.report.done == 1, "the row")


def test_no_lock_on_what_is_told_keeps_a_heartbeat(
    connection: Connection, settings_of: Callable[..., Settings], url: str, space: Space
) -> None:
    settings, goes_on = settings_of(url, **TIMING), threading.Event()
    add_texts(connection, ["one"])
    worker = make_worker(settings, space, FakeEmbedder(before=lambda _: goes_on.wait(60)))
    with running(worker):
        wait_until(lambda: seen(connection), "the stages")
        with connection.transaction():
            connection.execute("LOCK TABLE ingest_workers")
            first = until(connection)
            for _ in range(2):
                wait_until(lambda first=first: until(connection) > first, "a heartbeat")
                first = until(connection)
        goes_on.set()
        wait_until(lambda: worker.report.done == 1, "the row")


def test_what_is_stored_of_stages_is_nobodys_markup_and_nobody_elses(
    connection: Connection, settings: Settings, space: Space
) -> None:
    add_texts(connection, ["one"])
    connection.execute(
        "UPDATE ingest_jobs SET state = 'running', worker = 'w', leased_until = now() + '1 min'"
    )
    good: dict[str, Any] = {"stage": HOSTILE, "at_work": 0.25, "bottleneck": 1}
    with pages(settings, allows_writes=True) as client:
        for stages, is_shown in (
            ([good], True),
            ([good | {"at_work": "much"}], False),
            ([good | {"at_work": 7}], False),
            ([good | {"stage": 7}], False),
            ([{"stage": "load"}, "load"], False),
            ([], False),
        ):
            connection.execute("DELETE FROM ingest_workers")
            connection.execute(
                "INSERT INTO ingest_workers (worker, space_id, seconds, stages) "
                "VALUES ('w', %s, 20, %s)",
                (space.id, Jsonb(stages)),
            )
            page = client.get("/jobs").text
            assert ("25 %" in words(page)) == is_shown, stages
            assert "<script>" not in page
    connection.execute("SET ROLE pipeline_analyst")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT FROM ingest_workers")
