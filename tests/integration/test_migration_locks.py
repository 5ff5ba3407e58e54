"""A migration never aborts an application's transaction, and gets its locks in the end."""

import contextlib
import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest

from pipeline.errors import DatabaseError
from pipeline.postgres import migrate, table_locks
from pipeline.postgres.connections import Connection, connect
from tests.helpers.fakes import add_texts
from tests.helpers.processes import wait_until
from tests.reliability.test_transactions import deadlocks

WAITS = """
SELECT l.relation::regclass::text FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation
WHERE NOT l.granted AND l.pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted)
"""


def renew(url: str) -> None:
    migrate.upgrade(url, old_pgvector=True)


def uninstall(url: str) -> None:
    migrate.downgrade(url, "base")


@contextlib.contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[list[BaseException]]:
    """Runs ``work`` in a thread, to its end; gives what it raised."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as exc:
            errors.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield errors
    finally:
        thread.join(120)


@pytest.fixture
def older(connection: Connection) -> None:
    """As if an older release had installed its functions and views."""
    connection.execute("UPDATE installed_sql SET sha256 = 'of an older release'")


@pytest.mark.parametrize(
    ("change", "statement"),
    [
        (renew, "SELECT count(*) FROM ingest_failures"),
        (
            uninstall,
            "INSERT INTO source_items (source, source_key, modality, content_ref) "
            "VALUES ('s', '1', 'text', 'x')",
        ),
    ],
)
def test_an_application_that_has_a_view_goes_on(
    url: str,
    connection: Connection,
    older: None,
    change: Callable[[str], None],
    statement: str,
) -> None:
    """It waits for what the migration holds or asked for, while a report ends that the migration
    waits for, which then comes to what the application has."""
    before = deadlocks(connection)
    with (
        contextlib.closing(connect(url, autocommit=False)) as report,
        contextlib.closing(connect(url, autocommit=False)) as application,
    ):
        application.execute("SELECT count(*) FROM space_status")
        report.execute("SELECT count(*) FROM item_catalog LIMIT 0")
        report.execute("LOCK TABLE ingest_status IN ACCESS SHARE MODE")
        with meanwhile(lambda: change(url)) as errors:
            wait_until(lambda: connection.execute(WAITS).fetchone(), "the migration's wait")
            with meanwhile(lambda: application.execute(statement.encode())) as failed:
                wait_until(
                    lambda: (
                        application.info.transaction_status == psycopg.pq.TransactionStatus.ACTIVE
                        or not connection.execute(WAITS).fetchone()
                    ),
                    "the application's statement",
                )
                report.rollback()
            assert failed == []
            application.commit()
        assert errors == []
    assert deadlocks(connection) == before


def test_a_migration_ends_while_readers_come_and_go(
    url: str, connection: Connection, older: None
) -> None:
    """At every moment somebody reads each of the views."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def read() -> None:
        try:
            with connect(url) as own:
                while not stop.is_set():
                    for view in ("item_catalog", "ingest_status", "space_status"):
                        own.execute(f"SELECT count(*), pg_sleep(0.02) FROM {view}".encode())
        except BaseException as exc:
            errors.append(exc)

    readers = [threading.Thread(target=read) for _ in range(6)]
    for reader in readers:
        reader.start()
    try:
        assert migrate.upgrade(url, old_pgvector=True).installed
    finally:
        stop.set()
        for reader in readers:
            reader.join(60)
    assert errors == []


def test_an_up_to_date_database_is_not_locked(url: str, connection: Connection) -> None:
    with contextlib.closing(connect(url, autocommit=False)) as report:
        report.execute("SELECT count(*) FROM item_catalog")
        assert not migrate.upgrade(url, old_pgvector=True).installed


def test_renewing_functions_waits_for_nobody_who_changes_source_items(
    url: str, connection: Connection, older: None
) -> None:
    with contextlib.closing(connect(url, autocommit=False)) as application:
        add_texts(application, ["one"])
        assert migrate.upgrade(url, old_pgvector=True).installed
        application.commit()


def test_who_is_in_the_way_is_named_with_what_ends_it(
    url: str, connection: Connection, older: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_locks, "PATIENCE_SECONDS", 0.5)
    with contextlib.closing(connect(url, autocommit=False)) as report:
        report.execute("SELECT count(*) FROM item_catalog")
        pid = report.info.backend_pid
        with pytest.raises(DatabaseError, match=rf"SELECT pg_terminate_backend\({pid}\)"):
            migrate.upgrade(url, old_pgvector=True)


def test_an_outdated_index_of_full_text_is_built_beside_readers_and_writers(
    url: str, connection: Connection, older: None
) -> None:
    add_texts(connection, ["a red bicycle"])
    connection.execute("COMMENT ON INDEX source_items_document IS 'made by an older function'")
    reader = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'REINDEX INDEX CONCURRENTLY%'"
    with (
        contextlib.closing(connect(url, autocommit=False)) as application,
        meanwhile(lambda: migrate.upgrade(url, old_pgvector=True)) as errors,
    ):
        add_texts(application, ["two"], source="open")  # which the build waits for
        wait_until(lambda: connection.execute(reader).fetchone(), "the build")
        connection.execute("SET lock_timeout = '20s'")
        assert connection.execute("SELECT count(*) FROM source_items").fetchone() == (1,)
        add_texts(connection, ["three"], source="other")
        application.commit()
    assert errors == []
    said = "SELECT obj_description('source_items_document'::regclass, 'pg_class')"
    row = connection.execute(said).fetchone()
    assert row is not None
    assert "MD5" in row[0]
