"""text_embedding() and the server behind it: any session, cached, bounded, with clear errors."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import httpx
import numpy as np
import psycopg
import pytest

from pipeline import spaces
from pipeline.embedders.openclip.embedder import MultimodalEmbedder
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.postgres.vector_arrays import unpack_vector
from pipeline.search.serve import QueryServer, ServeOptions
from pipeline.search.serve_report import Answered
from tests.helpers.fakes import FakeEmbedder, vector_of
from tests.helpers.metrics import Series
from tests.helpers.tcp_server import PASSWORD, tcp_server, tcp_url

pytestmark = pytest.mark.usefixtures("dblink")  # by which text_embedding() asks

WITHIN = 30  # seconds, for a busy machine; nothing waits that long on a quiet one


@contextmanager
def serving(
    url: str,
    embedder: FakeEmbedder | None = None,
    told: Callable[[Answered], None] = lambda answered: None,
    **options: int,
) -> Iterator[QueryServer]:
    """A server in a thread, ready."""
    model = embedder or FakeEmbedder()
    chosen = ServeOptions(**options)  # type: ignore[arg-type]
    server = QueryServer(url, lambda _: model, chosen, told=told)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            server.run()
        except BaseException as exc:
            failures.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert server.ready.wait(WITHIN), failures
        yield server
    finally:
        server.stop()
        thread.join(WITHIN)
    assert not failures


def embedding(connection: Connection, query: str, timeout: str = "30 s") -> np.ndarray:
    row = connection.execute(
        "SELECT text_embedding(%s, timeout => %s::interval)", (query, timeout), binary=True
    ).fetchone()
    assert row is not None
    return unpack_vector(bytes(row[0]), "halfvec")


def assert_is_vector_of(found: np.ndarray, text: str) -> None:
    np.testing.assert_allclose(found, vector_of(text.encode()), atol=1e-3)


def test_a_new_text_is_embedded_by_the_server_and_then_cached(
    url: str, connection: Connection
) -> None:
    model = FakeEmbedder()
    with serving(url, model):
        assert_is_vector_of(embedding(connection, "a red bicycle"), "a red bicycle")
    assert_is_vector_of(embedding(connection, "a red bicycle"), "a red bicycle")  # nobody serves
    assert model.embedded == 1


def test_one_statement_asks_once_however_often_it_uses_the_text(
    url: str, connection: Connection
) -> None:
    with serving(url) as server, connection.transaction():
        # Also in a transaction whose snapshot can never see what was cached since it began.
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT")
        rows = connection.execute(
            "SELECT text_embedding('new') = text_embedding('new') FROM generate_series(1, 5)"
        ).fetchall()
    assert rows == [(True,)] * 5
    assert server.report.answered == 1


def test_a_read_only_transaction_can_search_for_a_new_text(
    url: str, connection: Connection
) -> None:
    connection.execute("SET default_transaction_read_only = on")
    with serving(url):
        assert_is_vector_of(embedding(connection, "new"), "new")


def test_many_sessions_that_miss_the_same_text_have_it_embedded_once(
    url: str, connection: Connection
) -> None:
    gate = threading.Event()

    def slow(_: Sequence[bytes]) -> None:
        gate.wait(WITHIN)

    model = FakeEmbedder(before=slow)
    texts = ["same"] * 5 + ["other one", "other two"]
    found: list[tuple[str, np.ndarray]] = []

    def ask(text: str) -> None:
        with connect(url) as own:
            found.append((text, embedding(own, text)))

    with serving(url, model) as server:
        threads = [threading.Thread(target=ask, args=(text,)) for text in texts]
        for thread in threads:
            thread.start()
        wait_until(connection, "SELECT count(*) = 3 FROM query_embeddings WHERE embedding IS NULL")
        gate.set()
        for thread in threads:
            thread.join(WITHIN)
    assert sorted(text for text, _ in found) == sorted(texts)
    for text, vector in found:
        assert_is_vector_of(vector, text)
    assert model.embedded == 3
    assert server.report.batches <= 2  # what came while the first was embedded went together


def test_two_servers_share_the_requests(url: str, connection: Connection) -> None:
    never = threading.Event()  # long enough for the other server to look as well

    def slow(_: Sequence[bytes]) -> None:
        never.wait(1.5)

    one, two = FakeEmbedder(before=slow), FakeEmbedder(before=slow)
    with serving(url, one), serving(url, two):
        connection.execute(
            "SELECT text_embeddings(array_agg('text ' || n)) FROM generate_series(1, 30) AS n"
        )
    assert one.embedded + two.embedded == 30


@pytest.mark.parametrize(
    ("query", "code", "says", "hint"),
    [
        ("'new'", "MM002", "nobody serves", "Start `pipeline serve`"),
        ("''", "MM004", "the query is empty", "at least one character"),
        ("repeat('x', 20000)", "MM004", "longer than 10000 bytes", "sentence"),
    ],
)
def test_errors_say_what_to_do(
    connection: Connection, query: str, code: str, says: str, hint: str
) -> None:
    with pytest.raises(psycopg.Error, match=says) as caught:
        connection.execute(f"SELECT text_embedding({query})")
    assert caught.value.sqlstate == code
    assert hint in (caught.value.diag.message_hint or "")


def test_no_active_space_is_said(empty_url: str) -> None:
    migrate.upgrade(empty_url)
    with connect(empty_url) as connection:
        for call in ("text_embedding('x')", "search_items('x')"):
            with pytest.raises(psycopg.Error, match="no embedding space is active") as caught:
                connection.execute(f"SELECT {call}")
            assert caught.value.sqlstate == "MM001"


def test_a_wait_ends_at_its_timeout(url: str, connection: Connection) -> None:
    gate = threading.Event()
    try:
        with serving(url, FakeEmbedder(before=lambda _: bool(gate.wait(WITHIN)) and None)):
            with pytest.raises(psycopg.Error, match="no vector for the query within") as caught:
                embedding(connection, "slow", timeout="0.3 s")
            gate.set()
    finally:
        gate.set()
    assert caught.value.sqlstate == "MM003"
    # The text comes late, but it is there for the next who asks.
    assert_is_vector_of(embedding(connection, "slow"), "slow")


def test_a_text_the_model_refuses_fails_alone_and_can_be_tried_again(
    url: str, connection: Connection
) -> None:
    def refuse(contents: Sequence[bytes]) -> None:
        if b"poison" in contents and refusing:
            raise RuntimeError("the kernel says no")

    refusing = [True]
    with serving(url, FakeEmbedder(before=refuse)):
        with pytest.raises(psycopg.Error, match="the kernel says no") as caught:
            connection.execute("SELECT text_embeddings(ARRAY['good', 'poison'])")
        assert caught.value.sqlstate == "MM004"
        assert_is_vector_of(embedding(connection, "good"), "good")
        refusing.clear()
        assert_is_vector_of(embedding(connection, "poison"), "poison")


def test_without_dblink_the_error_names_the_procedure_and_that_works(
    url: str, connection: Connection
) -> None:
    connection.execute("DROP EXTENSION dblink CASCADE")
    with serving(url):
        with pytest.raises(psycopg.Error, match="dblink, which could ask for one") as caught:
            embedding(connection, "it's new")
        hint = caught.value.diag.message_hint or ""
        assert caught.value.sqlstate == "MM005"
        assert "CALL embed_query('it''s new')" in hint
        connection.execute("CALL embed_query('it''s new')")
    assert_is_vector_of(embedding(connection, "it's new"), "it's new")


def test_the_least_recently_used_texts_are_forgotten(url: str, connection: Connection) -> None:
    with serving(url, cache_size=3, poll_seconds=1) as server:
        for text in ("one", "two", "three"):
            embedding(connection, text)
        # Used again an hour later: it is noted, though a SELECT writes nothing.
        connection.execute(
            "UPDATE query_embeddings SET last_used_at = embedded_at - interval '2 hours'"
        )
        connection.execute("SET default_transaction_read_only = on")
        embedding(connection, "one")
        for text in ("four", "five"):
            embedding(connection, text)
        wait_until(connection, "SELECT count(*) <= 3 FROM query_embeddings")
    assert server.report.forgotten == 2
    kept = connection.execute("SELECT query FROM query_embeddings ORDER BY query").fetchall()
    assert kept == [("five",), ("four",), ("one",)]


def test_the_server_comes_back_after_its_connection_is_cut(
    url: str, connection: Connection
) -> None:
    with serving(url):
        connection.execute(
            """
            SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
            WHERE application_name = 'pipeline serve' AND datname = current_database()
            """
        )
        wait_until(connection, "SELECT is_served(id) FROM embedding_spaces")
        assert_is_vector_of(embedding(connection, "after"), "after")
    wait_until(connection, "SELECT NOT is_served(id) FROM embedding_spaces")


def test_the_server_follows_the_active_space(url: str, connection: Connection) -> None:
    models = {8: FakeEmbedder(8), 16: FakeEmbedder(16)}
    server = QueryServer(url, lambda space: models[space.dimensions])
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert server.ready.wait(WITHIN)
        assert len(embedding(connection, "before")) == 8
        wider = spaces.create(connection, "wider", models[16])
        spaces.build_indexes(connection, wider)
        spaces.activate(connection, wider, min_coverage=0)
        wait_until(connection, f"SELECT is_served({wider.id})")
        assert len(embedding(connection, "before")) == 16
    finally:
        server.stop()
        thread.join(WITHIN)


def test_the_command_serves_the_real_model_until_sigterm(empty_url: str) -> None:
    migrate.upgrade(empty_url)
    model = MultimodalEmbedder("demo", precision="float32")
    with connect(empty_url) as connection:
        space = spaces.create(connection, "demo", model)
        spaces.build_indexes(connection, space)
        spaces.activate(connection, space)
        program = "import typer; from pipeline.cli.serve import serve; typer.run(serve)"
        process = subprocess.Popen(
            [sys.executable, "-c", program, "--metrics-port", "0"],
            env={"DATABASE_URL": empty_url, "PATH": os.environ["PATH"]},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stderr is not None
            metrics = process.stderr.readline().removeprefix("metrics at ").strip()
            assert process.stderr.readline() == "loading the model demo\n"
            assert process.stderr.readline() == "serving the space demo; stop with Ctrl-C\n"
            # It says so when it is so: nobody has to wait.
            row = connection.execute("SELECT is_served(id) FROM embedding_spaces").fetchone()
            assert row == (True,)
            found = embedding(connection, "a red bicycle")
            assert httpx.get(metrics.replace("metrics", "readyz")).status_code == 200
            said = Series(httpx.get(metrics).text)
            assert said("pipeline_serve_queries_total", outcome="answered") == 1
            assert said("pipeline_space_served", space="demo") == 1
        finally:
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=WITHIN)
    np.testing.assert_allclose(found, model.embed_text(["a red bicycle"])[0], atol=1e-3)
    assert process.returncode == 0
    assert "stopped after 1 texts in 1 batches" in said


@pytest.fixture(scope="module")
def foreign(server: EmbeddedServer) -> Iterator[int]:
    """A server over TCP with passwords: a database owned by an ordinary role, and an analyst."""
    with tcp_server(server) as port:
        with psycopg.connect(tcp_url(port, "admin", "app"), autocommit=True) as admin:
            admin.execute("CREATE EXTENSION dblink")
            admin.execute("ALTER ROLE app CREATEROLE")
        url = tcp_url(port, "app", "app")
        migrate.upgrade(url)
        with connect(url) as owner:
            space = spaces.create(owner, "fake", FakeEmbedder())
            spaces.build_indexes(owner, space)
            spaces.activate(owner, space)
        with psycopg.connect(tcp_url(port, "admin", "app"), autocommit=True) as admin:
            admin.execute(f"CREATE ROLE ana LOGIN PASSWORD '{PASSWORD}' IN ROLE pipeline_analyst")
            admin.execute("ALTER ROLE ana SET default_transaction_read_only = on")
        yield port


@pytest.fixture
def analyst(foreign: int) -> Iterator[Connection]:
    with connect(tcp_url(foreign, "ana", "app")) as connection:
        yield connection


def test_over_tcp_the_owner_configures_the_loop_back_and_an_analyst_searches(
    foreign: int, analyst: Connection
) -> None:
    url = tcp_url(foreign, "app", "app")
    with serving(url), connect(url) as owner:
        with pytest.raises(psycopg.Error, match="loop-back connection, which") as caught:
            embedding(analyst, "a new text")
        assert "configure_loopback" in (caught.value.diag.message_hint or "")
        with pytest.raises(psycopg.Error, match="app may not use dblink_fdw") as caught:
            owner.execute("CALL configure_loopback()")
        grant = (caught.value.diag.message_hint or "").partition("runs: ")[2]
        with psycopg.connect(tcp_url(foreign, "admin", "app"), autocommit=True) as admin:
            admin.execute(grant.encode())
        owner.execute("CREATE ROLE somebody LOGIN PASSWORD 'right'")
        owner.execute("CALL configure_loopback(username => 'somebody', password => 'wrong')")
        with pytest.raises(psycopg.Error, match="the server cannot connect to itself"):
            embedding(analyst, "a new text")
        owner.execute("CALL configure_loopback()")
        assert_is_vector_of(embedding(analyst, "a new text"), "a new text")
        assert analyst.execute("SELECT * FROM search_items('a new text')").fetchall() == []


def test_an_analyst_cannot_use_or_see_the_loop_back(foreign: int, analyst: Connection) -> None:
    with connect(tcp_url(foreign, "app", "app")) as owner:
        assert owner.execute(
            "SELECT umoptions IS NOT NULL FROM pg_user_mappings WHERE srvname = 'pipeline_loopback'"
        ).fetchall() == [(True,)]
    assert analyst.execute(
        "SELECT umoptions FROM pg_user_mappings WHERE srvname = 'pipeline_loopback'"
    ).fetchall() == [(None,)]
    for forbidden in (
        "SELECT dblink_connect('pipeline_loopback')",
        "SELECT loopback_connection()",
        "SELECT text_embeddings_by_loopback(ARRAY['x'], '1 s')",
        "CALL configure_loopback(password => 'x')",
        "SELECT query FROM query_embeddings",
    ):
        with pytest.raises(psycopg.Error) as caught:
            analyst.execute(forbidden.encode())
        # 42704: there is no user mapping for this role
        assert caught.value.sqlstate in {"42501", "42704"}, forbidden


def wait_until(connection: Connection, condition: str, seconds: float = WITHIN) -> None:
    deadline = time.monotonic() + seconds
    while not _value(connection, condition):
        assert time.monotonic() < deadline, condition
        time.sleep(0.01)


def _value(connection: Connection, query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    return row and row[0]
