"""Nobody of the application's waits for us without an end, and nothing of theirs fails by it."""

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from pipeline import spaces
from pipeline.errors import DatabaseError
from pipeline.postgres import migrate, schema, table_locks
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.queue import failures
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.tcp_server import tcp_server, tcp_url
from tests.integration.test_serve import serving

# How long an application of these tests waits for a lock before it says that it got none.
PATIENT = "20s"


@contextmanager
def migrating(url: str) -> Iterator[list[Any]]:
    """Migrates meanwhile; what came of it stands in the list once this is over."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(str(migrate.upgrade(url)))
        except DatabaseError as exc:
            results.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield results
    finally:
        thread.join(120)


@contextmanager
def open_transaction(url: str, statement: str) -> Iterator[Connection]:
    """Somebody else's, open until its connection is closed."""
    with psycopg.connect(url, application_name="the report") as other:
        other.execute(statement.encode())
        yield other
        other.close()


def make_outdated(connection: Connection) -> None:
    connection.execute("UPDATE installed_sql SET sha256 = 'of an older release'")


def wait_for_a_try(connection: Connection, caplog: pytest.LogCaptureFixture) -> None:
    """Until the migration waits for a lock, or has said that it did."""
    stop = threading.Event()
    for _ in range(600):
        (waits,) = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
        ).fetchone() or (0,)
        if waits or "waits for" in caplog.text:
            return
        stop.wait(0.1)
    raise AssertionError("nobody waits")


def locks_on_source_items(connection: Connection) -> set[str]:
    rows = connection.execute(
        "SELECT mode FROM pg_locks WHERE relation = 'source_items'::regclass "
        "AND pid = pg_backend_pid()"
    )
    return {mode for (mode,) in rows}


def test_renewing_what_is_installed_locks_source_items_against_no_writer(
    connection: Connection,
) -> None:
    make_outdated(connection)
    with connection.transaction():
        assert schema.install(connection, roles=True)
        assert locks_on_source_items(connection) <= {"AccessShareLock"}
    assert schema.is_current(connection)
    add_texts(connection, ["one"])
    assert connection.execute("SELECT count(*) FROM ingest_jobs").fetchone() == (1,)


def triggers(connection: Connection) -> list[Any]:
    return connection.execute(
        "SELECT tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger "
        "WHERE NOT tgisinternal ORDER BY 1"
    ).fetchall()


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TRIGGER source_items_deleted ON source_items",
        "ALTER TABLE source_items DISABLE TRIGGER source_items_deleted",
        "CREATE OR REPLACE TRIGGER source_items_deleted AFTER DELETE ON source_items "
        "FOR EACH STATEMENT EXECUTE FUNCTION source_items_deleted()",
    ],
)
def test_a_trigger_that_is_not_as_it_should_be_is_made_anew(
    connection: Connection, damage: str
) -> None:
    before = triggers(connection)
    connection.execute(damage.encode())
    make_outdated(connection)
    with connection.transaction():
        schema.install(connection, roles=True)
    assert triggers(connection) == before
    make_outdated(connection)
    with connection.transaction():
        schema.install(connection, roles=True)  # which those that stood belong to as well
    assert triggers(connection) == before


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count(*) FROM ingest_status",
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "VALUES ('shop', 'open', 'text', 'open')",
    ],
    ids=["reader", "writer"],
)
def test_an_application_writes_while_a_migration_waits(
    connection: Connection, url: str, caplog: pytest.LogCaptureFixture, statement: str
) -> None:
    make_outdated(connection)
    connection.execute("DROP TRIGGER source_items_touch ON source_items")
    with (
        open_transaction(url, statement) as report,
        migrating(url) as results,
        connect(url) as application,
    ):
        wait_for_a_try(connection, caplog)
        application.execute(f"SET lock_timeout = '{PATIENT}'".encode())
        try:
            add_texts(application, ["written meanwhile"])
        finally:
            before = list(results)
            report.close()
    assert (before, results) == ([], ["functions and views renewed"])
    assert "source_items_touch" in {name for name, *_ in triggers(connection)}


def test_a_migration_that_never_gets_its_locks_says_who_has_them(
    connection: Connection, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_locks, "PATIENCE_SECONDS", 0.5)
    make_outdated(connection)
    with (
        open_transaction(url, "SELECT count(*) FROM ingest_status"),
        pytest.raises(DatabaseError, match=r"the report.*try again") as caught,
    ):
        migrate.upgrade(url)
    assert len(str(caught.value).splitlines()) == 1
    assert migrate.upgrade(url).installed


@contextmanager
def database_of(server: EmbeddedServer, **settings: object) -> Iterator[str]:
    """A migrated one, on a server of its own with these settings."""
    with tcp_server(server, **settings) as port:
        url = tcp_url(port, "app", "app")
        migrate.upgrade(url, roles=False, old_pgvector=True)  # TEST_POSTGRES may have one
        with connect(url) as connection:
            spaces.activate(connection, spaces.create(connection, "fake", FakeEmbedder()))
        yield url


def pending(connection: Connection) -> list[str]:
    rows = connection.execute(
        "SELECT content_ref FROM ingest_jobs JOIN source_items ON id = source_id ORDER BY id"
    )
    return [content for (content,) in rows]


def is_woken(url: str) -> bool:
    """Whether a worker that listens hears of a new source item."""
    with connect(url) as worker, connect(url) as application:
        worker.execute("LISTEN ingest_jobs")
        add_texts(application, ["heard of"], source="woken")
        application.execute("DELETE FROM source_items WHERE source = 'woken'")
        return bool(list(worker.notifies(timeout=0)))


def test_workers_are_woken_where_nothing_is_in_the_way(url: str) -> None:
    assert is_woken(url)


def test_a_transaction_that_is_prepared_writes_source_items(server: EmbeddedServer) -> None:
    with database_of(server, max_prepared_transactions=5) as url, connect(url) as application:
        add_texts(application, ["old", "gone"])
        application.execute("BEGIN")
        add_texts(application, ["new"], source="other")
        application.execute("UPDATE source_items SET content_ref = 'changed' WHERE id = 1")
        application.execute("DELETE FROM source_items WHERE content_ref = 'gone'")
        application.execute("PREPARE TRANSACTION 'of two phases'")
        assert pending(application) == ["old", "gone"]
        application.execute("COMMIT PREPARED 'of two phases'")
        assert pending(application) == ["changed", "new"]


@contextmanager
def full_notify_queue(url: str) -> Iterator[None]:
    """What any login can do: listen, and then look at nothing that comes."""
    with psycopg.connect(url, autocommit=True) as idle, connect(url) as busy:
        idle.execute("LISTEN noise")
        idle.execute("BEGIN")
        idle.execute("SELECT 1")
        statement = (
            "SELECT pg_notify('noise', n || repeat('x', 7000)) FROM generate_series(1, 50) AS n"
        )
        with contextlib.suppress(psycopg.errors.ProgramLimitExceeded):
            for _ in range(50):
                busy.execute(statement)
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            busy.execute(statement)
        yield


def test_a_full_queue_of_notifications_fails_no_write(server: EmbeddedServer) -> None:
    with connect(server.url()) as admin:
        if admin.info.server_version < 170000:
            pytest.skip("the queue has 8 GB and cannot be made smaller before PostgreSQL 17")
    with (
        database_of(server, max_notify_queue_pages=64) as url,
        connect(url) as application,
        serving(url),
        full_notify_queue(url),
    ):
        add_texts(application, ["one"])
        application.execute("UPDATE source_items SET content_ref = 'changed'")
        assert pending(application) == ["changed"]
        application.execute("UPDATE ingest_jobs SET state = 'failed', error_code = 'broken'")
        assert failures.retry(application) == 1
        application.execute("SELECT ask_for_query_embeddings(ARRAY['a red bicycle'])")


WRITES = {
    "insert": "INSERT INTO source_items (source, source_key, modality, content_ref) "
    "VALUES ('shop', 'new', 'text', 'new')",
    "update": "UPDATE source_items SET content_ref = 'changed'",
    "delete": "DELETE FROM source_items",
    "truncate": "TRUNCATE source_items",
}


def begin_repeatable_read(connection: Connection) -> None:
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    connection.execute("SELECT 1")


def jobs_per_space(connection: Connection) -> list[tuple[int]]:
    return connection.execute(
        "SELECT count(j.source_id) FROM embedding_spaces AS e "
        "LEFT JOIN ingest_jobs AS j ON j.space_id = e.id GROUP BY e.id"
    ).fetchall()


@pytest.mark.parametrize("write", WRITES)
def test_a_transaction_older_than_a_space_is_run_again(
    connection: Connection, url: str, write: str
) -> None:
    """Its snapshot has no such space, so that its changes would be missed there."""
    add_texts(connection, ["old"])
    with connect(url) as application:
        begin_repeatable_read(application)
        spaces.create(connection, "wider", FakeEmbedder(16))
        with pytest.raises(psycopg.errors.SerializationFailure, match="a space was created"):
            application.execute(WRITES[write].encode())
        application.execute("ROLLBACK")
        begin_repeatable_read(application)
        application.execute(WRITES[write].encode())
        application.execute("COMMIT")
    expected = {"insert": 2, "update": 1}.get(write, 0)
    assert jobs_per_space(connection) == [(expected,), (expected,)]


@pytest.mark.parametrize("write", WRITES)
def test_a_space_that_is_gone_keeps_no_transaction_from_writing(
    connection: Connection, url: str, write: str
) -> None:
    add_texts(connection, ["old"])
    spaces.drop(connection, spaces.create(connection, "wider", FakeEmbedder(16)))
    with connect(url) as application:
        begin_repeatable_read(application)
        application.execute(WRITES[write].encode())
        application.execute("COMMIT")
