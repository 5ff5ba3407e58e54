"""An index that stays: its connections come back, and it may be shared, forked and closed."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool, QueuePool

from pipeline import spaces
from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.postgres import migrate, pool
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.database import Database
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.postgres.engines import create_engine as engine_of_ours
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.unified_index import UnifiedIndex
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.folders import server_folder
from tests.helpers.tcp_server import standby_of, tcp_server, tcp_url
from tests.helpers.workers import work

TEXTS = ["a red bicycle", "a boat", "a tree"]


@pytest.fixture
def filled(settings: Settings, connection: Connection, space: Space) -> Settings:
    add_texts(connection, TEXTS)
    assert work(settings, space).done == len(TEXTS)
    return settings


def first(index: UnifiedIndex, query: str = "a boat") -> str:
    return index.retrieve_cross_modal(query, 1)[0].document.content_ref


def terminate(connection: Connection, name: str = "pipeline search") -> int:
    """Ends every session of that name in this database; how many there were."""
    return connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE application_name = %s AND datname = current_database()", (name,)
    ).rowcount  # fmt: skip


def in_threads(count: int, work: Callable[[], Any]) -> list[Any]:
    """What each of so many threads came to; all begin at once."""
    found: list[Any] = []
    barrier = threading.Barrier(count)

    def one() -> None:
        barrier.wait(30)
        try:
            found.append(work())
        except Exception as exc:
            found.append(exc)

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return found


def test_terminated_backends_cost_no_call(filled: Settings, connection: Connection) -> None:
    with UnifiedIndex(filled, FakeEmbedder()) as index:
        for _ in range(3):
            assert first(index) == "a boat"
            assert terminate(connection) > 0
            assert len(index) == 3


def test_many_that_were_cut_at_once_cost_no_call(filled: Settings, connection: Connection) -> None:
    with UnifiedIndex(filled, FakeEmbedder()) as index:
        assert set(in_threads(12, lambda: first(index))) == {"a boat"}
        assert terminate(connection) > 1
        assert set(in_threads(12, lambda: first(index))) == {"a boat"}


def test_a_call_in_the_middle_of_which_it_was_cut_is_made_again(
    filled: Settings, connection: Connection
) -> None:
    from_outside = pool.DatabasePool(Database.of(filled), "cut")
    tries: list[int] = []

    def work(own: Connection) -> int:
        tries.append(own.info.backend_pid)
        if len(tries) == 1:
            terminate(connection, "cut")
        row = own.execute("SELECT count(*) FROM multimodal_items").fetchone()
        assert row is not None
        return int(row[0])

    assert pool.run(from_outside, work) == 3
    assert len(set(tries)) == 2
    with pytest.raises(psycopg.errors.DivisionByZero):  # but not what fails by itself
        pool.run(from_outside, lambda own: tries.append(0) or own.execute("SELECT 1 / 0"))
    assert tries.count(0) == 1
    from_outside.close()


def prepared(url: str) -> None:
    migrate.upgrade(url)
    with connect(url) as connection:
        space = spaces.create(connection, "fake", FakeEmbedder())
        spaces.activate(connection, space)
        add_texts(connection, TEXTS)
        assert work(Settings.load(database_url=url), space).done == len(TEXTS)


def test_a_server_that_restarts_is_waited_for() -> None:
    home = server_folder("pool")
    home.chmod(0o755)
    server = EmbeddedServer(home / "home")
    url = server.start()
    try:
        prepared(url)
        with UnifiedIndex(Settings.load(database_url=url), FakeEmbedder()) as index:
            assert first(index) == "a boat"
            server.stop()
            found: list[Any] = []
            waiting = threading.Thread(target=lambda: found.append(first(index)))
            waiting.start()
            server.start()
            waiting.join(120)
            assert found == ["a boat"]
            assert first(index) == "a boat"
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


def test_a_server_that_stays_away_is_said_and_so_is_a_password(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(pool, "LOOK_SECONDS", 0.5)
    with tcp_server(server) as port:
        url = tcp_url(port, "admin", "postgres")
        prepared(url)
        index = UnifiedIndex(Settings.load(database_url=url), FakeEmbedder())
        assert len(index) == 3
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("ALTER ROLE admin PASSWORD 'another'")
            terminate(admin)
        with pytest.raises(DatabaseError, match="refuses these credentials"):
            len(index)
    with pytest.raises(DatabaseError, match="no PostgreSQL answers at"):
        len(index)
    index.close()


def test_a_failover_is_followed(server: EmbeddedServer) -> None:
    with tcp_server(server) as primary:
        one = tcp_url(primary, "admin", "postgres")
        prepared(one)
        with standby_of(server, primary) as standby:
            both = one.replace(f":{primary}/", f":{primary},127.0.0.1:{standby}/")
            url = f"{both}?target_session_attrs=primary"
            index = UnifiedIndex(Settings.load(database_url=url), FakeEmbedder())
            assert first(index) == "a boat"
            with psycopg.connect(tcp_url(standby, "admin", "postgres"), autocommit=True) as admin:
                admin.execute("SELECT pg_promote()")
            with psycopg.connect(one, autocommit=True) as admin:
                admin.execute("ALTER SYSTEM SET listen_addresses = ''")
                admin.execute("ALTER DATABASE postgres CONNECTION LIMIT 0")
                admin.execute("ALTER ROLE admin NOLOGIN")  # it takes no more sessions
                terminate(admin)
            assert first(index) == "a boat"
            with psycopg.connect(tcp_url(standby, "admin", "postgres")) as admin:
                row = admin.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = "
                    "'pipeline search'"
                ).fetchone()
            assert row is not None
            assert row[0] > 0
            index.close()


def test_all_in_use_is_said(filled: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(pool, "LOOK_SECONDS", 0.2)
    own = pool.DatabasePool(Database.of(filled), "small", size=1)
    with own.connection(), pytest.raises(DatabaseError, match="all 1 connections have been in use"):
        pool.run(own, lambda connection: connection.execute("SELECT 1"))
    assert pool.run(own, lambda connection: connection.execute("SELECT 1").fetchone()) == (1,)
    own.close()


def test_a_closed_index_says_so_and_can_be_closed_again(filled: Settings) -> None:
    engine = create_engine(_sqlalchemy(filled))
    for index in (UnifiedIndex(filled), UnifiedIndex(filled, engine=engine)):
        index.close()
        index.close()
        with pytest.raises(DatabaseError, match="closed"):
            len(index)
    engine.dispose()


def test_a_process_that_is_forked_off_has_connections_of_its_own(
    filled: Settings, connection: Connection
) -> None:
    with UnifiedIndex(filled, FakeEmbedder()) as index:
        assert first(index) == "a boat"
        read, write = os.pipe()
        child = os.fork()
        if child == 0:  # no assertion may leave this branch
            try:
                os.write(write, first(index).encode())
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as answers:
            assert answers.read() == b"a boat"
        os.waitpid(child, 0)
        # The parent's connection was neither used nor closed by the child.
        assert first(index) == "a boat"


def _sqlalchemy(settings: Settings) -> str:
    assert settings.database_url is not None
    return settings.database_url.get_secret_value().replace("postgresql:", "postgresql+psycopg:")


@contextmanager
def engine_of(settings: Settings, **options: Any) -> Iterator[Any]:
    engine = create_engine(_sqlalchemy(settings), **options)
    try:
        yield engine
    finally:
        engine.dispose()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"poolclass": NullPool},
        {"isolation_level": "AUTOCOMMIT"},
        {"isolation_level": "REPEATABLE READ"},
        {"poolclass": QueuePool, "pool_size": 2, "max_overflow": 0},
    ],
    ids=str,
)
def test_an_index_over_the_applications_engine(
    filled: Settings, connection: Connection, options: dict[str, Any]
) -> None:
    application = {"options": "-c search_path=pg_catalog -c statement_timeout=77s"}
    with engine_of(filled, connect_args=application, **options) as engine:
        index = UnifiedIndex(filled, FakeEmbedder(), engine=engine)
        assert set(in_threads(4, lambda: first(index))) == {"a boat"}
        # A new text, so that something is written.
        assert index.embed_query("a new text") is not None
        kept = connection.execute("SELECT query FROM query_embeddings ORDER BY 1").fetchall()
        assert kept == [("a boat",), ("a new text",)]
        index.close()
        with engine.connect() as own:  # it is the application's as it was
            row = own.exec_driver_sql(
                "SELECT current_setting('search_path'), current_setting('statement_timeout')"
            ).one()
            assert tuple(row) == ("pg_catalog", "77s")


def test_terminated_backends_of_the_applications_engine_cost_no_call(
    filled: Settings, connection: Connection
) -> None:
    """One without ``pool_pre_ping``, whose own users would meet each of them."""
    with engine_of(filled, connect_args={"application_name": "web"}) as engine:
        index = UnifiedIndex(filled, FakeEmbedder(), engine=engine)
        assert set(in_threads(5, lambda: first(index))) == {"a boat"}
        assert terminate(connection, "web") > 1
        assert set(in_threads(5, lambda: first(index))) == {"a boat"}


def test_an_engine_whose_database_is_away_is_an_error_without_its_password(
    filled: Settings,
) -> None:
    engine = create_engine("postgresql+psycopg://me:SECRET@127.0.0.1:1/x")
    with pytest.raises(DatabaseError, match="no PostgreSQL answers at") as caught:
        len(UnifiedIndex(filled, engine=engine))
    assert "SECRET" not in str(caught.value)


def test_an_engine_of_another_driver_is_refused_with_what_to_do(filled: Settings) -> None:
    no_engine: Any = "postgresql+psycopg://127.0.0.1/x"
    for engine in (create_engine("sqlite://"), no_engine):
        with pytest.raises(ConfigurationError, match=r"create_engine\('postgresql\+psycopg://"):
            UnifiedIndex(filled, engine=engine)
    ours = engine_of_ours(_sqlalchemy(filled))
    assert first(UnifiedIndex(filled, FakeEmbedder(), engine=ours)) == "a boat"
    ours.dispose()
