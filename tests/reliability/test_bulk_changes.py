"""What changes many rows at once waits for nobody's row, so that no application loses to it."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline import spaces
from pipeline.postgres.connections import Connection, connect
from pipeline.sources.removal import Brake
from pipeline.sources.rescan import rescan
from pipeline.sources.sync import sync
from pipeline.spaces import Space
from pipeline.spaces.items import Writer
from tests.helpers.processes import wait_until
from tests.reliability.test_changes import finished
from tests.reliability.test_transactions import deadlocks

ROWS = 120
HELD = range(10, ROWS, 10)  # each in a transaction of its own
TOUCH = "UPDATE source_items SET metadata = metadata || '{\"n\": 1}' WHERE id = %s"
WAITS = "SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted AND locktype <> 'relation'"


def by_sync(connection: Connection, _: Space) -> None:
    sync(connection)


def by_rescan(connection: Connection, space: Space) -> None:
    rescan(connection, lambda _: {"etag": "new"}, Brake(0.1))


def by_filling(connection: Connection, space: Space) -> None:
    spaces.enqueue_missing(connection, space)


BULK = pytest.mark.parametrize("bulk", [by_sync, by_rescan, by_filling])


@pytest.fixture
def rows(connection: Connection, space: Space) -> None:
    """Images that have neither a job nor, but for a rescan, an item."""
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "SELECT 't', n::text, 'image', '/' || n FROM generate_series(1, %s) AS n",
        (ROWS,),
    )


def without_jobs(connection: Connection, space: Space, bulk: Any) -> None:
    from pipeline.queue import claims

    if bulk is by_rescan:
        jobs = claims.claim(connection, space.id, "me", ROWS, 60)
        Writer(space).finish(connection, "me", [finished(job) for job in jobs])
    connection.execute("DELETE FROM ingest_jobs")


@contextlib.contextmanager
def in_the_background(
    url: str, work: Callable[[Connection], Any]
) -> Iterator[tuple[int, threading.Thread, list[BaseException]]]:
    """Runs ``work``; gives its backend, its thread and what it raised."""
    errors: list[BaseException] = []
    with connect(url) as own:

        def run() -> None:
            try:
                work(own)
            except BaseException as exc:
                errors.append(exc)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield own.info.backend_pid, thread, errors
        finally:
            thread.join(60)


@BULK
def test_rows_of_many_transactions_are_passed_by_and_done_when_those_end(
    url: str, connection: Connection, space: Space, rows: None, bulk: Any
) -> None:
    without_jobs(connection, space, bulk)
    before = deadlocks(connection)
    with contextlib.ExitStack() as stack:
        others = [
            stack.enter_context(contextlib.closing(connect(url, autocommit=False))) for _ in HELD
        ]
        for other, row in zip(others, HELD, strict=True):
            other.execute(TOUCH, (row,))
        with in_the_background(url, lambda own: bulk(own, space)) as (pid, thread, errors):
            waits = 0

            def others_are_done() -> bool:
                nonlocal waits
                row = connection.execute(WAITS, (pid,)).fetchone()
                waits += row[0] if row else 0
                row = connection.execute("SELECT count(*) FROM ingest_jobs").fetchone()
                return row == (ROWS - len(HELD),)

            wait_until(others_are_done, "the rows that nobody holds")
            assert waits == 0
            for other in others:
                other.execute(TOUCH, (1,))  # of those that are done
                other.commit()
            thread.join(60)
            assert errors == []
    count = connection.execute("SELECT count(*) FROM ingest_jobs").fetchone()
    assert count == (ROWS,)
    assert deadlocks(connection) == before


def test_a_truncate_of_the_applications_does_not_lose_to_sync(
    url: str, connection: Connection, space: Space, rows: None
) -> None:
    connection.execute("SET session_replication_role = replica")
    connection.execute("DELETE FROM source_items WHERE id = 1")  # its job stays
    connection.execute("RESET session_replication_role")
    before = deadlocks(connection)
    with (
        contextlib.closing(connect(url, autocommit=False)) as operator,
        connect(url) as application,
    ):
        operator.execute("UPDATE ingest_jobs SET run_after = now() WHERE source_id = 1")
        with in_the_background(url, sync) as (_, thread, errors):
            failed: list[BaseException] = []

            def truncate() -> None:
                try:
                    application.execute("TRUNCATE source_items")
                except BaseException as exc:
                    failed.append(exc)

            truncating = threading.Thread(target=truncate)
            truncating.start()
            waits = (
                "SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted "
                "AND relation = 'ingest_jobs'::regclass"
            )
            wait_until(
                lambda: connection.execute(waits, (application.info.backend_pid,)).fetchone(),
                "the wait of the application",
            )
            operator.rollback()
            truncating.join(60)
            thread.join(60)
            assert (failed, errors) == ([], [])
    assert connection.execute("SELECT count(*) FROM ingest_jobs").fetchone() == (0,)
    assert deadlocks(connection) == before


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_transactions_that_write_different_rows_do_not_depend_on_each_other(
    url: str, connection: Connection, rows: None, level: str
) -> None:
    insert = (
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "VALUES ('new', %s, 'text', 'x')"
    )
    with connect(url) as one, connect(url) as other:
        for own in (one, other):
            own.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
        for own, key in ((one, "a"), (other, "b"), (one, "c")):
            own.execute(insert, (key,))
        # Not metadata, which is written into the items themselves: see docs/guest.md.
        change = "UPDATE source_items SET content_ref = content_ref || '!' WHERE id = %s"
        one.execute(change, (1,))
        other.execute(change, (ROWS,))
        one.execute("COMMIT")
        other.execute("COMMIT")
