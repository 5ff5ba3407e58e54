"""The queue's statements, one by one; in any order: tests/reliability/test_state_machine.py."""

import psycopg
import pytest

from pipeline import spaces
from pipeline.errors import PermanentRowError
from pipeline.postgres.connections import Connection
from pipeline.queue import claims, failures, status
from pipeline.queue.backoff import Backoff
from pipeline.queue.due import is_due
from pipeline.queue.status import QueueCounts
from pipeline.queue.sweep import sweep
from pipeline.spaces import Space
from tests.helpers.fakes import FakeEmbedder, add_texts


def test_a_claim_gives_the_content_and_counts_the_attempt(
    connection: Connection, space: Space
) -> None:
    add_texts(connection, ["one", "two", "three"])
    jobs = claims.claim(connection, space.id, "w", 2, 60)
    assert [(job.content_ref, job.modality, job.attempts) for job in jobs] == [
        ("one", "text", 1),
        ("two", "text", 1),
    ]
    assert status.counts(connection, space.id) == QueueCounts(1, 1, 2, 0)
    row = connection.execute(
        "SELECT DISTINCT worker, leased_until - now() BETWEEN '55 s' AND '60 s' FROM ingest_jobs "
        "WHERE state = 'running'"
    ).fetchall()
    assert row == [("w", True)]


def test_jobs_are_claimed_in_the_order_in_which_they_became_due(
    connection: Connection, space: Space
) -> None:
    add_texts(connection, ["late", "soon", "not yet"])
    connection.execute(
        """
        UPDATE ingest_jobs AS j SET run_after = now() + d.delay::interval FROM source_items AS s
        JOIN (VALUES ('late', '-1 s'), ('soon', '-1 h'), ('not yet', '1 h')) AS d (text, delay)
            ON d.text = s.content_ref WHERE j.source_id = s.id
        """
    )
    order = []
    while jobs := claims.claim(connection, space.id, "w", 1, 60):
        order.append(jobs[0].content_ref)
    assert order == ["soon", "late"]
    assert not is_due(connection, space.id)


def test_a_release_gives_the_attempt_back(connection: Connection, space: Space) -> None:
    add_texts(connection, ["one", "two"])
    jobs = claims.claim(connection, space.id, "w", 2, 60)
    assert claims.release(connection, space.id, "w", [jobs[0].source_id]) == 1
    assert claims.release(connection, space.id, "w") == 1
    rows = connection.execute("SELECT state, attempts, worker FROM ingest_jobs").fetchall()
    assert rows == [("pending", 0, None)] * 2


def test_lapsed_leases_keep_their_place_in_the_queue(connection: Connection, space: Space) -> None:
    add_texts(connection, ["one", "two"])
    connection.execute("UPDATE ingest_jobs SET run_after = now() - interval '1 h'")
    query = "SELECT source_id, run_after FROM ingest_jobs ORDER BY 1"
    before = connection.execute(query).fetchall()
    claims.claim(connection, space.id, "w", 2, 60)
    connection.execute("UPDATE ingest_jobs SET leased_until = now() - interval '1 s'")
    assert sweep(connection, 5) == 2
    assert connection.execute(query).fetchall() == before


def test_an_error_is_stored_bounded_and_without_what_postgresql_refuses(
    connection: Connection, space: Space
) -> None:
    add_texts(connection, ["one"])
    (job,) = claims.claim(connection, space.id, "w", 1, 60)
    error = PermanentRowError("corrupt", "a NUL \x00, a surrogate \ud800, and " + "x" * 10_000)
    claims.fail(connection, space.id, "w", [(job, error)], max_attempts=5, backoff=Backoff(1, 2))
    (failure,) = failures.failed_rows(connection, space.id, 10)
    assert len(failure.error) == 500
    begin = "a NUL \N{REPLACEMENT CHARACTER}, a surrogate \N{REPLACEMENT CHARACTER}, and xx"
    assert failure.error.startswith(begin)


def test_jobs_of_one_space_are_not_those_of_another(connection: Connection, space: Space) -> None:
    other = spaces.create(connection, "other", FakeEmbedder(16))
    add_texts(connection, ["one"])
    assert len(claims.claim(connection, space.id, "w", 10, 60)) == 1
    assert status.counts(connection, other.id) == QueueCounts(1, 1, 0, 0)
    assert claims.release(connection, other.id, "w") == 0


def test_worker_ids_are_unique_per_start() -> None:
    assert len({claims.new_worker_id() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "change",
    [
        "state = 'running'",
        "state = 'failed'",
        "state = 'done'",
    ],
)
def test_the_table_refuses_a_state_that_cannot_be(
    connection: Connection, space: Space, change: str
) -> None:
    add_texts(connection, ["one"])
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(f"UPDATE ingest_jobs SET {change}")  # type: ignore[arg-type]


def test_a_row_that_changes_more_often_than_the_queue_turns_has_its_turn(
    connection: Connection, space: Space
) -> None:
    add_texts(connection, ["changing"])
    add_texts(connection, [f"old {n}" for n in range(3)], source="old")
    for round_ in range(30):
        connection.execute(
            "UPDATE source_items SET metadata = %s WHERE content_ref = 'changing'",
            (f'{{"round": {round_}}}',),
        )
        add_texts(connection, ["new"], source=f"new {round_}")
        (job,) = claims.claim(connection, space.id, "w", 1, 60)
        if job.content_ref == "changing":
            return
    pytest.fail("30 rounds passed it by")


def test_rows_that_change_while_they_are_worked_on_let_others_have_their_turn(
    connection: Connection, space: Space
) -> None:
    add_texts(connection, ["changing"])
    add_texts(connection, ["patient"], source="other")
    (job,) = claims.claim(connection, space.id, "w", 1, 60)
    assert job.content_ref == "changing"
    connection.execute("UPDATE source_items SET metadata = '{\"a\": 1}' WHERE source = 'test'")
    (job,) = claims.claim(connection, space.id, "w", 1, 60)
    assert job.content_ref == "patient"


@pytest.mark.parametrize(
    ("state", "run_after", "place"),
    [
        ("pending", "now() - interval '1 h'", "kept"),
        ("pending", "now() + interval '1 h'", "now"),  # backs off: it may be cured
        ("pending", "'epoch'", "now"),  # a suspect
        ("running", "now() - interval '1 h'", "now"),  # it has had its turn
        ("failed", "now() - interval '1 h'", "now"),
    ],
)
def test_where_in_the_queue_a_changed_row_stands(
    connection: Connection, space: Space, state: str, run_after: str, place: str
) -> None:
    add_texts(connection, ["one"])
    leased = "now(), worker = 'w'" if state == "running" else "NULL, worker = NULL"
    connection.execute(
        f"UPDATE ingest_jobs SET state = %s, error_code = 'timeout', attempts = 3, "  # type: ignore[arg-type]
        f"run_after = {run_after}, leased_until = {leased}",
        (state,),
    )
    query = "SELECT run_after FROM ingest_jobs"
    before = connection.execute(query).fetchone()
    with connection.transaction():
        now = connection.execute("SELECT now()").fetchone()
        connection.execute("UPDATE source_items SET content_ref = 'another'")
        assert connection.execute(query).fetchone() == (before if place == "kept" else now)
    assert connection.execute(
        "SELECT state, attempts, error_code, worker FROM ingest_jobs"
    ).fetchall() == [("pending", 0, None, None)]
