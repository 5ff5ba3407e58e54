"""What a scheduler can act on: exit codes, logs a line an object, and --exclusive."""

import json
from collections.abc import Callable

from pipeline.cli.ingest import EXCLUSIVE_LOCK
from pipeline.postgres.connections import Connection
from tests.helpers.fakes import add_texts
from tests.helpers.processes import Pipeline

Start = Callable[..., Pipeline]
LOCK = f"SELECT pg_advisory_lock({EXCLUSIVE_LOCK})"


def test_the_exit_code_says_what_to_do(url: str, connection: Connection, pipeline: Start) -> None:
    add_texts(connection, ["good"])
    connection.execute(LOCK)
    excluded = pipeline(url, "ingest", "--exclusive")
    wrong = pipeline(url, "ingest", "--limit", "0")
    assert (excluded.wait(), wrong.wait()) == (0, 2)
    assert excluded.lines() == ["another exclusive ingest is running; nothing to do"]
    row = connection.execute("SELECT state, attempts FROM ingest_jobs").fetchall()
    assert row == [("pending", 0)]
    connection.execute("SELECT pg_advisory_unlock_all()")

    faults = {"fail_on": "unlucky"}
    add_texts(connection, ["unlucky"], source="later")
    waiting = pipeline(
        url, "ingest", "--exclusive", faults=faults, backoff_seconds=3600, backoff_max_seconds=3600
    )
    assert waiting.wait() == 75

    connection.execute("UPDATE ingest_jobs SET run_after = now()")
    failed = pipeline(
        url,
        "--log-format",
        "json",
        "--log-level",
        "info",
        "ingest",
        "--once",
        "--json",
        faults=faults,
        max_attempts=2,
    )
    assert failed.wait() == 1
    lines = [json.loads(line) for line in failed.lines()]
    (failure,) = [line for line in lines if line.get("code")]
    assert (failure["level"], failure["code"], failure["attempts"]) == (
        "warning",
        "embed_failed",
        2,
    )
    (end,) = [line for line in lines if line["message"] == "ingest has ended"]
    assert (end["done"], end["failed"]) == (0, 1)
    report = json.loads(failed.output.read_text().splitlines()[-1])
    assert (report["done"], report["failed"], report["retrying"]) == (0, 1, 0)

    done = pipeline(url, "ingest", "--once")
    assert done.wait() == 0  # what failed in an earlier run is no news
    runs = connection.execute("SELECT exit_code FROM ingest_runs ORDER BY id").fetchall()
    assert runs == [(75,), (1,)]  # those that had something to do
