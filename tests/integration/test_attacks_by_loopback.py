"""What a login tries with the server's connection to itself, and with what waits for `serve`."""

import contextlib
import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest

from pipeline import spaces
from pipeline.errors import DatabaseError
from pipeline.postgres import locks, migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.migrate import MIGRATION_LOCK
from pipeline.search import query_vectors
from pipeline.search.announcement import LOCK_CLASS
from pipeline.spaces import Space
from tests.helpers.databases import as_login
from tests.helpers.fakes import FakeEmbedder
from tests.integration.test_serve import (
    WITHIN,
    assert_is_vector_of,
    embedding,
    serving,
    wait_until,
)

LOOPBACKS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND usename = 'pipeline_loopback'
"""


@pytest.fixture
def analyst(url: str, connection: Connection) -> Iterator[Connection]:
    with as_login(connection, url, "ana", "LOGIN IN ROLE pipeline_analyst") as own:
        yield own


class HeldUp(FakeEmbedder):
    def __init__(self) -> None:
        self.gate = threading.Event()
        super().__init__(before=lambda _: bool(self.gate.wait(WITHIN)) and None)


@contextlib.contextmanager
def held_up(url: str, **options: int) -> Iterator[HeldUp]:
    """Served by a model that embeds nothing before its gate is set, at the end at the latest."""
    model = HeldUp()
    with serving(url, model, **options):
        try:
            yield model
        finally:
            model.gate.set()


def test_a_cancelled_call_leaves_no_connection_behind(
    url: str, connection: Connection, analyst: Connection
) -> None:
    connection.execute("GRANT USAGE ON SCHEMA pipeline_dblink TO PUBLIC")  # as where it was before
    connection.execute("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pipeline_dblink TO PUBLIC")
    with held_up(url):
        analyst.execute("SET statement_timeout = '500ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            analyst.execute("SELECT text_embedding('slow')")
        analyst.execute("RESET statement_timeout")
        assert analyst.execute("SELECT pipeline_dblink.dblink_get_connections()").fetchone() == (
            None,
        )
        for name in ("pipeline_loopback", "unnamed"):
            with pytest.raises(psycopg.Error):
                analyst.execute(
                    "SELECT pipeline_dblink.dblink_exec(%s, 'ALTER ROLE ana SUPERUSER')", (name,)
                )
        wait_until(connection, f"SELECT ({LOOPBACKS}) = 0")


def test_whoever_waits_a_thousand_years_leaves_nothing_behind_when_it_ends(
    url: str, connection: Connection, analyst: Connection
) -> None:
    with held_up(url):
        thread = threading.Thread(
            target=lambda: _ignoring(analyst, "SELECT text_embedding('slow', '1000 years')")
        )
        thread.start()
        waits = "SELECT count(*) = 1 FROM query_embeddings WHERE embedding IS NULL"
        wait_until(connection, waits)
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ana'"
        )
        thread.join(WITHIN)
        wait_until(connection, f"SELECT ({LOOPBACKS}) = 0")
        wait_until(connection, "SELECT count(*) = 0 FROM pg_stat_activity WHERE query ~ 'slow' "
                               "AND pid <> pg_backend_pid()")  # fmt: skip


def _ignoring(connection: Connection, statement: str) -> None:
    with contextlib.suppress(psycopg.Error):
        connection.execute(statement.encode())


def test_the_loopbacks_login_may_do_nothing_but_ask(url: str, connection: Connection) -> None:
    with connect(url.replace("user=postgres", "user=pipeline_loopback")) as own:
        tables = connection.execute(
            "SELECT oid::regclass::text FROM pg_class "
            "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'p', 'S')"
        ).fetchall()
        assert len(tables) > 15
        for (table,) in tables:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                own.execute(f"SELECT * FROM {table}".encode())
        for forbidden in ("CREATE TABLE t (i int)", "SELECT text_embedding('x')",
                          "SELECT cached_query_embeddings('{x}')"):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                own.execute(forbidden.encode())
        row = own.execute(
            "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls "
            "FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert row == (False,)


def test_what_an_earlier_user_of_a_pooled_session_left_is_not_used(
    url: str, connection: Connection
) -> None:
    """A connection under the name that the loop-back has, to where the answers are made up."""
    connection.execute("GRANT USAGE ON SCHEMA pipeline_dblink TO PUBLIC")
    connection.execute(
        "CALL configure_loopback(host => %s)", (connection.info.host,)
    )  # a foreign server: its name is known
    connection.execute("SELECT pipeline_dblink.dblink_connect('pipeline_loopback', %s)",
                       (f"dbname=postgres user=postgres host={connection.info.host}",))  # fmt: skip
    with serving(url):
        assert_is_vector_of(embedding(connection, "new"), "new")
    assert connection.execute("SELECT pipeline_dblink.dblink_get_connections()").fetchone() == (
        None,
    )


def test_a_copy_does_not_ask_the_original(
    url: str, connection: Connection, new_database: Callable[..., str]
) -> None:
    """The stored address still leads there: refused, until the copy has one of its own."""
    connection.execute("CALL configure_loopback(host => %s)", (connection.info.host,))
    name = connection.info.dbname
    connection.close()
    copy_url = new_database(name)
    with connect(url) as original, connect(copy_url) as copy:
        with serving(url), serving(copy_url):
            with pytest.raises(psycopg.Error, match="leads to another database") as caught:
                embedding(copy, "new")
            assert caught.value.sqlstate == "MM005"
            assert "CALL configure_loopback()" in (caught.value.diag.message_hint or "")
            row = original.execute("SELECT count(*) FROM query_embeddings").fetchone()
            assert row == (0,)  # it was not even asked
            # Nor by a transaction that could not see the answer itself.
            copy.execute("SET default_transaction_isolation = 'repeatable read'")
            with pytest.raises(psycopg.Error, match="leads to another database"):
                embedding(copy, "new")
            copy.execute("CALL configure_loopback(host => %s)", (copy.info.host,))
            assert_is_vector_of(embedding(copy, "new"), "new")
        row = original.execute("SELECT count(*) FROM query_embeddings").fetchone()
        assert row == (0,)
        for one in (original, copy):
            one.execute("DROP SERVER pipeline_loopback CASCADE")


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_in_any_isolation_a_new_text_is_found(
    url: str, connection: Connection, isolation: str
) -> None:
    with serving(url), connection.transaction():
        connection.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation} READ ONLY".encode())
        for text in ("one", "two"):
            assert_is_vector_of(embedding(connection, text), text)


def test_who_asks_for_thousands_holds_nobody_up(connection: Connection, space: Space) -> None:
    for asker, address, count in (("ana", "", 300), ("bob", "", 3), ("ana", "10.0.0.1", 2)):
        connection.execute(
            """
            INSERT INTO query_embeddings (space_id, query_sha256, query, asked_by, asked_from)
            SELECT %s, query_key(t), t, %s, %s FROM (
                SELECT %s || n FROM generate_series(1, %s) AS n) AS q (t)
            """,
            (space.id, asker, address, f"{asker}@{address} ", count),
        )
    first = [query_vectors.claim(connection, space.id, 4) for _ in range(2)]
    whose = [sorted(text.partition(" ")[0] for text in claimed.values()) for claimed in first]
    # A turn is a login's, of whatever address.
    assert whose == [
        ["ana@", "ana@10.0.0.1", "bob@", "bob@"],
        ["ana@", "ana@", "ana@10.0.0.1", "bob@"],
    ]
    assert len(query_vectors.claim(connection, space.id, 1000)) == 297


def test_too_many_waiting_texts_are_refused_by_login_and_in_all(
    url: str, connection: Connection, analyst: Connection
) -> None:
    with held_up(url, asker_limit=5, queue_limit=8):
        ask = "SELECT text_embeddings(array_agg(%s || n), '0 s') FROM generate_series(1, %s) AS n"
        with pytest.raises(psycopg.Error, match="no vector for the query within"):
            analyst.execute(ask, ("a", 5))
        with pytest.raises(psycopg.Error, match="too many texts wait") as caught:
            analyst.execute(ask, ("b", 1))
        assert caught.value.sqlstate == "MM006"
        assert "PIPELINE_QUERY_QUEUE_PER_LOGIN" in (caught.value.diag.message_hint or "")
        # What waits may be asked for again; others may ask, as long as there is room for all.
        with pytest.raises(psycopg.Error, match="no vector for the query within"):
            analyst.execute(ask, ("a", 5))
        with pytest.raises(psycopg.Error, match="no vector for the query within"):
            connection.execute(ask, ("c", 3))
        with pytest.raises(psycopg.Error, match="too many texts wait"):
            connection.execute(ask, ("d", 1))
        with pytest.raises(psycopg.Error, match="too many texts wait"):
            connection.execute("CALL embed_query('e')")
        waiting = connection.execute(
            "SELECT asked_by, count(*) FROM query_embeddings GROUP BY 1 ORDER BY 1"
        ).fetchall()
        assert waiting == [("ana", 5), ("postgres", 3)]


def test_who_asked_is_forgotten_with_the_answer(
    url: str, connection: Connection, analyst: Connection
) -> None:
    with serving(url):
        embedding(analyst, "new")
    assert connection.execute("SELECT asked_by, asked_from FROM query_embeddings").fetchall() == [
        ("", "")
    ]


def test_many_callers_take_few_connections(url: str, connection: Connection) -> None:
    """Of a role with ten of them, and only while they ask: not while they wait."""
    found: list[str] = []

    def ask(text: str) -> None:
        with connect(url) as own:
            assert_is_vector_of(embedding(own, text), text)
            found.append(text)

    with held_up(url) as model:
        threads = [threading.Thread(target=ask, args=(f"text {n}",)) for n in range(40)]
        for thread in threads:
            thread.start()
        wait_until(connection, "SELECT count(*) = 40 FROM query_embeddings WHERE embedding IS NULL")
        wait_until(connection, f"SELECT ({LOOPBACKS}) = 0")  # and all 40 wait
        assert not found
        model.gate.set()
        for thread in threads:
            thread.join(WITHIN)
    assert len(found) == 40


def test_a_text_without_end_is_refused_before_anything_is_made_of_it(
    connection: Connection,
) -> None:
    connection.execute("SET track_functions = 'all'")
    for call in (
        "text_embedding(repeat('x', 100000000))",
        "text_embeddings(ARRAY[repeat('x', 100000000)])",
        "search_items(repeat('x', 100000000))",
        "hybrid_search(repeat('x', 100000000))",
    ):
        with connection.transaction(force_rollback=True):
            with pytest.raises(psycopg.Error, match="longer than 10000"), connection.transaction():
                connection.execute(f"SELECT {call}".encode())
            calls = connection.execute(
                "SELECT funcname FROM pg_stat_xact_user_functions WHERE calls > 0"
            ).fetchall()
            assert {"cached_query_embeddings", "query_key"}.isdisjoint(name for (name,) in calls), (
                call
            )


def test_no_lock_that_anybody_may_take_stops_a_server(
    url: str, connection: Connection, analyst: Connection, space: Space
) -> None:
    analyst.execute("SELECT pg_advisory_lock(%s, %s)", (LOCK_CLASS, space.id))
    analyst.execute("SELECT pg_advisory_lock(%s, n) FROM generate_series(1, 1000) AS n",
                    (LOCK_CLASS,))  # fmt: skip
    assert connection.execute("SELECT is_served(%s)", (space.id,)).fetchone() == (False,)
    with serving(url):
        assert_is_vector_of(embedding(analyst, "new"), "new")
    wait_until(connection, f"SELECT NOT is_served({space.id})")


def test_who_cannot_serve_cannot_pretend_to(
    url: str, connection: Connection, analyst: Connection, space: Space
) -> None:
    with serving(url):
        (key,) = connection.execute("SELECT lock_key FROM query_servers").fetchone() or (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            analyst.execute("INSERT INTO query_servers VALUES (1, pg_backend_pid(), 1, 1, 1)")
    # The row of one that was killed stays, and its lock is free for anybody.
    connection.execute(
        "INSERT INTO query_servers (space_id, pid, lock_key, asker_limit, queue_limit) "
        "VALUES (%s, 1, %s, 1, 1) ON CONFLICT DO NOTHING", (space.id, key))  # fmt: skip
    analyst.execute("SELECT pg_advisory_lock(%s, %s)", (LOCK_CLASS, key))
    assert connection.execute("SELECT is_served(%s)", (space.id,)).fetchone() == (False,)


def test_a_lock_that_somebody_keeps_is_not_waited_for_without_an_end(
    url: str, connection: Connection, analyst: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyst.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
    with connection.transaction(), pytest.raises(DatabaseError, match=r"of ana .* has held"):
        locks.take(connection, MIGRATION_LOCK, seconds=0.5)
    with (
        pytest.raises(DatabaseError, match=r"of ana .* pg_terminate_backend"),
        locks.exclusively(connection, MIGRATION_LOCK, seconds=0.5),
    ):
        pass
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.5)
    with pytest.raises(DatabaseError, match="of ana"):
        migrate.upgrade(url)
    analyst.close()
    migrate.upgrade(url)


def test_the_exclusive_ingest_is_stopped_by_no_other_role(
    connection: Connection, analyst: Connection, url: str
) -> None:
    analyst.execute("SELECT pg_advisory_lock(%s)", (7,))
    with locks.reserved(connection, 7, "ingest_jobs") as is_free:
        assert is_free
    analyst.execute("SELECT pg_advisory_unlock_all()")
    with connect(url) as other, locks.reserved(other, 7, "ingest_jobs") as first:
        assert first
        with locks.reserved(connection, 7, "ingest_jobs") as second:
            assert not second


def test_what_is_kept_of_queries_has_an_end(connection: Connection, space: Space) -> None:
    """Also in a space that nobody serves any more."""
    wider = spaces.create(connection, "wider", FakeEmbedder(16))
    connection.execute("UPDATE embedding_spaces SET state = 'retired' WHERE id = %s", (wider.id,))
    for of, query, days in ((space, "new", 1), (space, "old", 40), (wider, "old", 40)):
        connection.execute(
            """
            INSERT INTO query_embeddings (space_id, query_sha256, query, embedding, last_used_at)
            VALUES (%s, query_key(%s), %s, '[1,0,0,0,0,0,0,0]', now() - make_interval(days => %s))
            """,
            (of.id, query, query, days),
        )
    assert query_vectors.forget(connection, space.id, keep=10, days=30) == 2
    assert connection.execute("SELECT query FROM query_embeddings").fetchall() == [("new",)]


def test_who_holds_a_lock_holds_no_snapshot(url: str, connection: Connection) -> None:
    """CREATE INDEX CONCURRENTLY would wait for it for ever, and VACUUM leave all dead rows."""
    # Whatever a role or a database has set.
    connection.execute(
        f"ALTER DATABASE {connection.info.dbname} "
        "SET default_transaction_isolation = 'repeatable read'".encode()
    )
    held = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' {}"
    with (
        connect(url) as other,
        locks.exclusively(other, 8),
        locks.reserved(other, 9, "ingest_jobs"),
    ):
        both, with_snapshot = (
            connection.execute(held.format(more).encode()).fetchone()
            for more in ("", "AND backend_xmin IS NOT NULL")
        )
        assert (both, with_snapshot) == ((2,), (0,))
