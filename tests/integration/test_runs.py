"""Reports of runs: left however a run ends, kept for a time, shown to whoever may read them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
import pytest

from pipeline.errors import ModelError, ModelUnavailable
from pipeline.ingest.run import ingest
from pipeline.postgres.connections import Connection
from pipeline.queue import runs
from pipeline.queue.runs import Run
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.fakes import FAKE_FAMILY, FakeEmbedder, add_texts
from tests.helpers.web import pages, words
from tests.integration.test_web_pages import HOSTILE


def last(connection: Connection) -> Run:
    return runs.last(connection)[0]


def test_a_run_leaves_what_it_did_and_one_with_nothing_to_do_leaves_nothing(
    connection: Connection, settings: Settings, space: Space
) -> None:
    ingest(settings)
    assert runs.last(connection) == []
    add_texts(connection, ["one", "two", "two", "\u200b"])
    report = ingest(settings)
    (run,) = runs.last(connection)
    assert run.worker
    assert (run.space, run.done, run.failed, run.retrying) == ("fake", 3, 1, 0)
    assert (run.items, run.reused, run.seconds) == (3, report.reused, report.seconds)
    assert (run.exit_code, run.stopped, run.error) == (1, False, None)
    assert run.rows_per_second == report.rows_per_second > 0
    assert run.duration.total_seconds() >= report.seconds
    ingest(settings)  # what failed for good is not due
    assert len(runs.last(connection)) == 1


def test_a_run_that_ends_early_says_by_what_and_whether_to_try_again(
    connection: Connection, settings: Settings, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(BaseException):
        """As a signal raises it where there is nothing to be stopped yet."""

    def raises(error: BaseException, _: Any) -> None:
        raise error

    def breaks_down(_: object) -> None:
        row = connection.execute("SELECT count(*) FROM ingest_jobs WHERE state = 'running'")
        if row.fetchone() == (1,):  # not when its probes are embedded
            raise ModelUnavailable("the server is busy")

    add_texts(connection, ["one"])
    for make, error, said in (
        (partial(raises, ModelError("at a path")), ModelError, (False, 1, False, "ModelError")),
        (partial(raises, Interrupted()), Interrupted, (False, 0, True, None)),
        (
            partial(FakeEmbedder, before=breaks_down),
            ModelUnavailable,
            (True, 75, False, "ModelUnavailable"),
        ),
    ):
        monkeypatch.setattr(FAKE_FAMILY, "make", make)
        with pytest.raises(error):
            ingest(settings)
        run = last(connection)
        assert (run.worker is not None, run.exit_code, run.stopped, run.error) == said
        assert run.done == 0
    assert len(runs.last(connection)) == 3


def test_reports_are_kept_for_so_many_days(
    connection: Connection, settings_of: Callable[..., Settings], url: str, space: Space
) -> None:
    for days, left in ((30.0, 1), (0.0, 2), (30.0, 2), (1.0, 1)):
        add_texts(connection, ["one"], f"{days} {left}")
        ingest(settings_of(url, run_days=days))
        assert len(runs.last(connection)) == left
        connection.execute(
            "UPDATE ingest_runs SET began_at = began_at - interval '20 days', "
            "ended_at = ended_at - interval '20 days'"
        )


def test_a_report_that_cannot_be_kept_fails_nothing(
    connection: Connection, settings: Settings, space: Space, caplog: pytest.LogCaptureFixture
) -> None:
    connection.execute("ALTER TABLE ingest_runs RENAME COLUMN reused TO used_again")
    add_texts(connection, ["one"])
    assert ingest(settings).done == 1
    assert "the report of this run is not kept" in caplog.text
    assert connection.execute("SELECT count(*) FROM ingest_runs").fetchone() == (0,)


def test_runs_are_for_who_may_read_them(
    connection: Connection, settings: Settings, space: Space
) -> None:
    with pages(settings) as client:
        assert "No run that had something to do" in words(client.get("/jobs").text)
        add_texts(connection, ["one"])
        ingest(settings)
        connection.execute("UPDATE ingest_runs SET worker = %s, done = 4321", (HOSTILE,))
        page = client.get("/jobs").text
        assert "4,321" in words(page)
        assert "alert" not in page
        (run,) = client.get("/api/jobs").json()["runs"]
        assert (run["space"], run["done"], run["exit_code"]) == ("fake", 4321, 0)
        assert run["worker"] is None
        assert run["rows_per_second"] == pytest.approx(4321 / run["seconds"])
    with pages(settings, allows_writes=True) as client:
        page = client.get("/jobs").text
        assert HOSTILE in words(page)
        assert "<script>" not in page
        assert client.get("/api/jobs").json()["runs"][0]["worker"] == HOSTILE
    connection.execute("SET ROLE pipeline_analyst")
    assert len(runs.last(connection)) == 1
    for statement in ("DELETE FROM ingest_runs", "UPDATE ingest_runs SET done = 0"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())
    connection.execute("RESET ROLE; REVOKE SELECT ON ingest_runs FROM pipeline_analyst")
    with pages(settings) as client:
        assert client.get("/api/jobs").json()["runs"] is None
        assert "4,321" not in words(client.get("/jobs").text)
