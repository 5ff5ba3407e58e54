"""What the database says of a statement: only what is said of a row costs that row an attempt.

The faults are the server's own errors, raised by a trigger on the items: their SQLSTATE is what
counts, and a full disk is not to be had in a test.
"""

import logging
import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from pipeline.errors import DatabaseError
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.faults import is_of_the_database
from pipeline.postgres.reconnect import is_temporary
from pipeline.queue.sweep import sweep
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.fakes import add_texts
from tests.helpers.processes import wait_until
from tests.helpers.workers import assert_embedded_once, make_worker, running, work

TEXTS = [f"text {n}" for n in range(20)]
Raise = Callable[..., None]

# What cannot be helped by waiting, and needs a person.
FOR_A_PERSON = {
    "insufficient_privilege": "42501",
    "undefined_table": "42P01",
    "index_corrupted": "XX002",
}
TEMPORARY = {
    "disk_full": "53100",
    "out_of_memory": "53200",
    "too_many_connections": "53300",
    "io_error": "58030",
    "query_canceled": "57014",
    "admin_shutdown": "57P01",
    "read_only_sql_transaction": "25006",
    "lock_not_available": "55P03",
    "serialization_failure": "40001",
}


@pytest.fixture
def write_raises(connection: Connection, space: Space) -> Iterator[Raise]:
    """Has every write of items that meets a condition raise this SQLSTATE; None: not any more."""
    table = space.table("text")

    def write_raises(sqlstate: str | None, condition: str = "true") -> None:
        connection.execute(sql.SQL("DROP TRIGGER IF EXISTS trouble ON {}").format(table))
        if sqlstate is None:
            return
        connection.execute(
            sql.SQL(
                """
                CREATE OR REPLACE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                    IF {condition} THEN
                        RAISE 'trouble' USING ERRCODE = {sqlstate};
                    END IF;
                    RETURN NEW;
                END $$
                """
            ).format(condition=sql.SQL(condition), sqlstate=sql.Literal(sqlstate))  # type: ignore[arg-type]
        )
        connection.execute(
            sql.SQL(
                "CREATE TRIGGER trouble BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION trouble()"
            ).format(table)
        )

    yield write_raises
    write_raises(None)


@pytest.mark.parametrize("sqlstate", [*TEMPORARY.values(), *FOR_A_PERSON.values()])
def test_the_databases_trouble_costs_no_row_an_attempt(
    settings: Settings, space: Space, connection: Connection, write_raises: Raise, sqlstate: str
) -> None:
    """However often the worker is started again, as a scheduler would."""
    add_texts(connection, TEXTS)
    settings = settings.model_copy(update={"outage_seconds": 0.1, "max_attempts": 2})
    write_raises(sqlstate)
    for _ in range(3):
        with pytest.raises(DatabaseError, match="trouble") as caught:
            work(settings, space)
        assert is_temporary(caught.value) == (sqlstate in TEMPORARY.values())
        assert is_of_the_database(caught.value)
        jobs = connection.execute(
            "SELECT DISTINCT state, attempts, error_code FROM ingest_jobs"
        ).fetchall()
        assert jobs == [("pending", 0, None)]
        # Had they been left to their leases:
        connection.execute("UPDATE ingest_jobs SET leased_until = now() WHERE state = 'running'")
        sweep(connection, settings.max_attempts)
    write_raises(None)
    work(settings, space)
    assert_embedded_once(connection, TEXTS)


@pytest.mark.parametrize("sqlstate", ["22003", "23514", "44000", "54000", "P0001"])
def test_what_is_said_of_a_row_fails_it_alone(
    settings: Settings, space: Space, connection: Connection, write_raises: Raise, sqlstate: str
) -> None:
    """A value, a constraint, a view's check, a limit, a RAISE in somebody's trigger."""
    add_texts(connection, [*TEXTS, "odd"])
    write_raises(sqlstate, "NEW.content_ref = 'odd'")
    report = work(settings, space, limit=21)
    assert (report.done, report.failed, report.retrying) == (20, 0, 1)
    assert connection.execute(
        "SELECT state, attempts, error_code, error FROM ingest_jobs"
    ).fetchall() == [("pending", 1, "internal", fetch_error(connection))]
    assert "the database refuses this row: trouble" in fetch_error(connection)


def fetch_error(connection: Connection) -> str:
    return str(fetch_one(connection.execute("SELECT error FROM ingest_jobs"))[0])


@pytest.mark.parametrize("sqlstate", ["53100", "25006"])
def test_a_disk_that_was_full_and_a_standby_that_is_promoted_are_waited_for(
    settings: Settings,
    space: Space,
    connection: Connection,
    write_raises: Raise,
    caplog: pytest.LogCaptureFixture,
    sqlstate: str,
) -> None:
    add_texts(connection, TEXTS)
    write_raises(sqlstate)
    with running(make_worker(settings, space, once=False)) as worker:
        wait_until(lambda: "lost the database (trouble" in caplog.text, "the worker to notice")
        write_raises(None)
        wait_until(lambda: worker.report.done == len(TEXTS), "the rows")
    assert_embedded_once(connection, TEXTS)
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1


def test_a_write_that_somebody_cancels_is_repeated(
    settings: Settings, space: Space, connection: Connection
) -> None:
    """As an administrator does, or a statement_timeout that is near the mark."""
    add_texts(connection, TEXTS)
    worker = make_worker(settings, space, once=False)
    original, asleep = worker._writer.finish, threading.Event()

    def finish(own: Connection, *arguments: object) -> object:
        if not asleep.is_set():
            asleep.set()
            own.execute("SELECT pg_sleep(3600)")
        return original(own, *arguments)  # type: ignore[arg-type]

    worker._writer.finish = finish  # type: ignore[method-assign, assignment]
    with running(worker):
        assert asleep.wait(60)
        wait_until(
            lambda: connection.execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'pipeline write' AND query LIKE '%pg_sleep%' "
                "AND datname = current_database() AND state = 'active'"
            ).fetchone(),
            "the write",
        )
        wait_until(lambda: worker.report.done == len(TEXTS), "the rows")
    assert_embedded_once(connection, TEXTS)


def test_rows_that_are_too_much_at_once_for_the_servers_memory_go_in_smaller_writes(
    settings: Settings, space: Space, connection: Connection
) -> None:
    add_texts(connection, TEXTS)
    table = space.table("text")
    connection.execute(
        """
        CREATE OR REPLACE FUNCTION small() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF (SELECT count(*) FROM new_rows) > 4 THEN
                RAISE 'out of memory' USING ERRCODE = '53200';
            END IF;
            RETURN NULL;
        END $$
        """
    )
    connection.execute(
        sql.SQL(
            "CREATE TRIGGER small AFTER INSERT ON {} REFERENCING NEW TABLE AS new_rows "
            "FOR EACH STATEMENT EXECUTE FUNCTION small()"
        ).format(table)
    )
    try:
        report = work(settings, space)
    finally:
        connection.execute(sql.SQL("DROP TRIGGER small ON {}").format(table))
    assert (report.done, report.failed, report.retrying) == (20, 0, 0)
    assert_embedded_once(connection, TEXTS)


def test_an_error_of_the_servers_that_may_be_a_rows_is_left_to_the_leases(
    settings: Settings, space: Space, connection: Connection, write_raises: Raise
) -> None:
    """Else one row that breaks the server (XX000) would stop every worker for ever: so its attempts
    count, it becomes a suspect, is claimed alone and fails alone."""
    add_texts(connection, ["breaks the server"])
    write_raises("XX000")
    with pytest.raises(DatabaseError, match="trouble"):
        work(settings, space)
    rows = connection.execute("SELECT state, attempts FROM ingest_jobs").fetchall()
    assert rows == [("running", 1)]


def test_a_mistake_of_ours_is_not_the_databases() -> None:
    assert not is_of_the_database(psycopg.ProgrammingError("the query has 2 placeholders"))
    assert not is_of_the_database(None)
