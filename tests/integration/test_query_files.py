"""Files as queries: who may ask, what may wait, and that nothing of them stays."""

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator

import psycopg
import pytest

from pipeline.modalities import ReadOptions
from pipeline.postgres.connections import Connection, connect
from pipeline.search import query_files
from pipeline.search.serve import QueryServer, ServeOptions
from pipeline.spaces import Space
from tests.helpers.databases import as_login
from tests.helpers.fakes import FakeEmbedder
from tests.helpers.images import encode, sample
from tests.helpers.processes import wait_until as until
from tests.integration.test_serve import WITHIN, serving, wait_until

PNG = encode(sample(), "PNG")
MIB = 2**20
ASK = "SELECT ask_for_file_embedding(%b)"
SIZE = "SELECT pg_total_relation_size('query_files')"


@pytest.fixture
def analyst(url: str, connection: Connection) -> Iterator[Connection]:
    with as_login(connection, url, "ana", "LOGIN IN ROLE pipeline_analyst") as own:
        yield own


@contextlib.contextmanager
def announced(url: str, *, file_bytes: int = 64 * MIB, queue_bytes: int = 512 * MIB) -> Iterator[
    Callable[[], int]
]:  # fmt: skip
    """A server that has said what it takes and answers when it is told to: as often as it takes."""
    options = ServeOptions(read=ReadOptions(max_bytes=file_bytes), file_queue_bytes=queue_bytes)
    server = QueryServer(url, lambda _: FakeEmbedder(), options)
    server.answer_once()
    try:
        yield server.answer_once
    finally:
        server.stop()
        server.run()


def ask(connection: Connection, data: bytes = PNG) -> uuid.UUID:
    row = connection.execute(ASK, (data,)).fetchone()
    assert row is not None
    assert isinstance(row[0], uuid.UUID)
    return row[0]


def value(connection: Connection, query: str, *values: object) -> object:
    row = connection.execute(query.encode(), values).fetchone()
    assert row is not None
    return row[0]


def answered(connection: Connection, request: uuid.UUID) -> object:
    wait_until(connection, f"SELECT content IS NULL FROM query_files WHERE id = '{request}'")
    return value(connection, "SELECT file_embedding(%s)::text", request)


def test_an_analyst_asks_and_fetches_once(
    url: str, connection: Connection, analyst: Connection
) -> None:
    with serving(url):
        request = ask(analyst)
        wait_until(connection, "SELECT bool_and(content IS NULL) FROM query_files")
        assert str(value(analyst, "SELECT file_embedding(%s)::text", request)).startswith("[")
        with pytest.raises(psycopg.Error, match="no such file waits") as caught:
            value(analyst, "SELECT file_embedding(%s)", request)
        assert caught.value.sqlstate == "MM003"
    assert value(connection, "SELECT count(*) FROM query_files") == 0


def test_nobody_else_fetches_reads_or_removes_it(
    url: str, connection: Connection, analyst: Connection
) -> None:
    with announced(url), as_login(connection, url, "bob", "LOGIN IN ROLE pipeline_analyst") as bob:
        request = ask(analyst)
        with pytest.raises(psycopg.Error, match="no such file waits"):
            value(bob, "SELECT file_embedding(%s)", request)
        bob.execute("SELECT forget_file(%s)", (request,))
        for statement in ("SELECT content FROM query_files", "SELECT empty_query_files()",
                          "DELETE FROM query_files"):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                bob.execute(statement.encode())
        assert value(analyst, "SELECT file_embedding(%s) IS NULL", request) is True
        analyst.execute("SELECT forget_file(%s)", (request,))
        assert value(connection, "SELECT count(*) FROM query_files") == 0
    with as_login(connection, url, "mallory") as mallory:
        for statement in ("ask_for_file_embedding('x')", "file_embedding(gen_random_uuid())",
                          "forget_file(gen_random_uuid())"):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                mallory.execute(f"SELECT {statement}".encode())


def test_the_bytes_go_with_the_answer_and_the_disk_is_given_back(
    url: str, connection: Connection, analyst: Connection
) -> None:
    photo = encode(sample(700, 700), "BMP")
    before = value(connection, SIZE)
    with announced(url) as answer_once:
        request = ask(analyst, photo)
        assert int(str(value(connection, SIZE))) > len(photo)
        while not answer_once():
            pass
        assert value(connection, "SELECT count(*) FROM query_files WHERE content IS NULL") == 1
        answered(analyst_reads(connection, analyst), request)
        query_files.forget(connection)
        assert value(connection, SIZE) == before


def analyst_reads(connection: Connection, analyst: Connection) -> Connection:
    """The analyst, let read the table so that a test can wait."""
    connection.execute("GRANT SELECT ON query_files TO ana")
    return analyst


def test_they_reach_neither_wal_nor_standbys(connection: Connection) -> None:
    kinds = connection.execute(
        "SELECT DISTINCT relpersistence FROM pg_class WHERE oid = 'query_files'::regclass "
        "OR oid = (SELECT reltoastrelid FROM pg_class WHERE oid = 'query_files'::regclass)"
    ).fetchall()
    assert kinds == [(b"u",)] or kinds == [("u",)]


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [(b"", "MM004", "empty"), (None, "MM004", "empty"), (b"x" * 300, "MM004", "at most 200")],
)
def test_what_is_refused_before_it_waits(
    url: str, connection: Connection, analyst: Connection, data: bytes, code: str, says: str
) -> None:
    with announced(url, file_bytes=200), pytest.raises(psycopg.Error, match=says) as caught:
        ask(analyst, data)
    assert caught.value.sqlstate == code
    assert caught.value.diag.message_hint
    assert value(connection, "SELECT count(*) FROM query_files") == 0


def test_nobody_serves(url: str, analyst: Connection) -> None:
    with pytest.raises(psycopg.Error, match="nobody serves") as caught:
        ask(analyst)
    assert caught.value.sqlstate == "MM002"


def test_a_server_of_the_release_before_takes_none(
    url: str, connection: Connection, analyst: Connection
) -> None:
    with announced(url):
        connection.execute("UPDATE query_servers SET file_limit = NULL, file_queue_limit = NULL")
        with pytest.raises(psycopg.Error, match="nobody serves"):
            ask(analyst)


def test_one_asker_has_a_quarter_and_all_together_the_whole(
    url: str, connection: Connection, analyst: Connection
) -> None:
    data = b"x" * (MIB // 4)
    with announced(url, file_bytes=MIB, queue_bytes=4 * MIB):
        for _ in range(4):
            ask(analyst, data)
        with pytest.raises(psycopg.Error, match="too many files wait") as caught:
            ask(analyst, data)
        assert caught.value.sqlstate == "MM006"
        assert "PIPELINE_QUERY_QUEUE_BYTES" in (caught.value.diag.message_hint or "")
        # Others still have their share, until all is taken.
        for n in range(3):
            role = "LOGIN IN ROLE pipeline_analyst"
            with as_login(connection, url, f"user{n}", role) as other:
                for _ in range(4):
                    ask(other, data)
        with (
            as_login(connection, url, "late", "LOGIN IN ROLE pipeline_analyst") as late,
            pytest.raises(psycopg.Error, match="too many files wait"),
        ):
            ask(late, data)


def test_what_is_rolled_back_cannot_fill_the_disk_either(
    url: str, connection: Connection, analyst: Connection
) -> None:
    connection.execute("ALTER TABLE query_files SET (autovacuum_enabled = off, "
                       "toast.autovacuum_enabled = off)")  # fmt: skip
    data, limit = b"x" * MIB, 4 * MIB
    with announced(url, file_bytes=MIB, queue_bytes=limit) as answer_once:
        for _ in range(12):  # more than there is room for
            with contextlib.suppress(psycopg.Error), analyst.transaction() as abandoned:
                ask(analyst, data)
                raise psycopg.Rollback(abandoned)
        with pytest.raises(psycopg.Error, match="too many files wait") as caught:
            ask(analyst, data)
        assert caught.value.sqlstate == "MM006"
        assert int(str(value(connection, SIZE))) < 2 * limit + 2 * MIB
        # Then the server gives the disk back, and it is taken again.
        query_files.forget(connection)
        assert int(str(value(connection, SIZE))) < MIB
        ask(analyst)
        assert answer_once() >= 0


def test_an_open_transaction_of_an_asker_holds_up_neither_server_nor_others(
    url: str, connection: Connection, analyst: Connection
) -> None:
    with serving(url) as server, connect(url) as other:
        with analyst.transaction():
            ask(analyst)  # never committed meanwhile, so that nobody sees it
            done = server.report.files
            request = ask(other)
            assert str(answered(other, request)).startswith("[")
            until(lambda: server.report.files > done, "the count of what is answered")
            assert server.report.files == done + 1
        request = ask(analyst)
        wait_until(connection, f"SELECT content IS NULL FROM query_files WHERE id = '{request}'")
        with analyst.transaction():
            analyst.execute("SELECT forget_file(%s)", (request,))
            query_files.forget(connection)  # neither waits for the row nor for the table
            request = ask(other)
            assert str(answered(other, request)).startswith("[")


def test_one_asker_after_the_other_is_served(
    url: str, connection: Connection, analyst: Connection, space: Space
) -> None:
    with announced(url), as_login(connection, url, "bob", "LOGIN IN ROLE pipeline_analyst") as bob:
        of_ana = [ask(analyst) for _ in range(5)]
        of_bob = ask(bob)
        first = {key for key, _ in query_files.claim(connection, space.id, 2)}
        assert first == {str(of_ana[0]), str(of_bob)}
        assert len(query_files.claim(connection, space.id, 10)) == 4
        assert query_files.claim(connection, space.id, 10) == []


def test_what_nobody_comes_for_is_removed(
    url: str, connection: Connection, analyst: Connection, space: Space
) -> None:
    with announced(url):
        ask(analyst)
        connection.execute("UPDATE query_files SET requested_at = now() - interval '2 min'")
        assert query_files.claim(connection, space.id, 10) == []
        query_files.forget(connection)
    assert value(connection, "SELECT count(*) FROM query_files") == 0


def test_many_askers_at_once_each_get_their_own(url: str, connection: Connection) -> None:
    pictures = [encode(sample(20 + n, 20), "PNG") for n in range(8)]
    found: dict[int, object] = {}

    def one(n: int) -> None:
        with connect(url) as own:
            found[n] = answered(own, ask(own, pictures[n]))

    with serving(url) as server:
        threads = [threading.Thread(target=one, args=(n,)) for n in range(len(pictures))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WITHIN)
    assert server.report.files == len(pictures)
    assert len(found) == len(set(found.values())) == len(pictures)
