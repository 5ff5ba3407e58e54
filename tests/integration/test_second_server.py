"""Nothing depends on the embedded server: an ordinary role on a server over TCP, by password."""

from collections.abc import Iterator

import pytest

from pipeline import spaces
from pipeline.errors import DatabaseError
from pipeline.postgres import migrate
from pipeline.postgres.connections import connect
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.postgres.urls import shown_url
from pipeline.queue import status
from pipeline.settings import Settings
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.tcp_server import PASSWORD, tcp_server, tcp_url
from tests.helpers.workers import work


@pytest.fixture(scope="module")
def port(server: EmbeddedServer) -> Iterator[int]:
    with tcp_server(server) as port:
        yield port


def test_an_ordinary_role_migrates_ingests_and_searches(port: int) -> None:
    url = tcp_url(port, "app", "app")
    assert migrate.upgrade(url).revisions
    settings = Settings.load(database_url=url)
    with connect(url) as connection:
        space = spaces.create(connection, "fake", FakeEmbedder())
        space = spaces.activate(connection, space)
        add_texts(connection, ["one", "two", "three"])
        report = work(settings, space)
        assert (report.done, report.failed) == (3, 0)
        assert status.counts(connection, space.id).pending == 0
        nearest = connection.execute(
            """
            SELECT content_ref FROM multimodal_items ORDER BY embedding <=>
                (SELECT embedding FROM multimodal_items WHERE content_ref = 'two') LIMIT 1
            """
        ).fetchone()
        assert nearest == ("two",)
    with connect(url) as fresh:  # the database's defaults reach a new session
        assert fresh.execute("SHOW hnsw.iterative_scan").fetchone() == ("relaxed_order",)
    assert migrate.downgrade(url, "base").revisions


def test_wrong_credentials_are_one_line_that_says_so(port: int) -> None:
    url = tcp_url(port, "app", "app").replace("password", "guess")
    with pytest.raises(DatabaseError, match="refuses these credentials; check user and password"):
        connect(url)


def test_no_message_shows_the_password(port: int) -> None:
    url = tcp_url(port, "app", "no_such_database")
    with pytest.raises(DatabaseError) as caught:
        connect(url)
    for shown in (str(caught.value), shown_url(url)):
        assert PASSWORD not in shown
        assert "a%20password" not in shown
