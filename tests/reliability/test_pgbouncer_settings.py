"""What we need set, by way of PgBouncer in transaction mode: nothing reaches its next client."""

from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from pipeline import spaces
from pipeline.errors import DatabaseError
from pipeline.postgres import migrate
from pipeline.postgres.connections import connect
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.reliability.test_pgbouncer import bouncer, pytestmark

__all__ = ["bouncer", "pytestmark"]


@pytest.fixture
def guest(new_database: Callable[..., str], template: str) -> Callable[..., str]:
    """Makes a database with these settings; gives its URL, directly."""

    def make(of: str = template, **settings: str) -> str:
        url = new_database(of)
        with connect(url, schema=None) as admin:
            for name, value in settings.items():
                admin.execute(
                    sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                        sql.Identifier(admin.info.dbname), sql.Identifier(name), sql.Literal(value)
                    )
                )
        return url

    return make


def through(port: int, url: str) -> str:
    """The same database by way of the bouncer."""
    with psycopg.connect(url) as connection:
        return f"postgresql://postgres@127.0.0.1:{port}/{connection.info.dbname}"


def of_next_client(url: str) -> dict[str, str]:
    """What an application finds set that connects after us, on each of the pool's sessions."""
    names = [
        "DateStyle",
        "search_path",
        "statement_timeout",
        "lock_timeout",
        "idle_session_timeout",
        "maintenance_work_mem",
        "max_parallel_maintenance_workers",
    ]
    clients = [psycopg.connect(url, prepare_threshold=None) for _ in range(3)]
    found = []
    for client in clients:  # each in a transaction, so each on a session of its own
        row = client.execute("SELECT current_setting(unnest(%s::text[]))", (names,)).fetchall()
        found.append(dict(zip(names, (value for (value,) in row), strict=True)))
    for client in clients:
        client.close()
    assert found[0] == found[1] == found[2]
    return found[0]


def test_dates_are_read_in_any_style_and_nothing_is_set_for_others(
    guest: Callable[..., str], bouncer: int, caplog: pytest.LogCaptureFixture
) -> None:
    url = through(bouncer, guest(datestyle="German, DMY", statement_timeout="7s"))
    before = of_next_client(url)
    with connect(url) as connection:
        add_texts(connection, ["a text"])
        row = connection.execute("SELECT created_at <= now(), created_at FROM source_items")
        assert row.fetchall()[0][0]
        other = spaces.create(connection, "other", FakeEmbedder(12))
        with caplog.at_level("WARNING"):
            spaces.build_indexes(connection, other, maintenance_memory="32MB")
        assert "by way of a pooler an index is built with the server's own settings" in caplog.text
    assert of_next_client(url) == before
    assert (before["DateStyle"], before["statement_timeout"]) == ("German, DMY", "7s")


def test_a_role_that_does_not_find_our_tables_is_told_what_to_do(
    guest: Callable[..., str], bouncer: int
) -> None:
    direct = guest(search_path="app")
    url = through(bouncer, direct)
    before = of_next_client(url)
    with pytest.raises(DatabaseError, match=r"ALTER ROLE postgres SET search_path = public, pg_te"):
        connect(url)
    assert of_next_client(url) == before
    with connect(direct) as connection:  # directly it is ours to set
        assert spaces.active_space(connection).name == "fake"


def test_a_migration_by_way_of_it_finds_its_schema_and_leaves_nothing_set(
    guest: Callable[..., str], bouncer: int
) -> None:
    direct = guest("template1", search_path="app", statement_timeout="60s")
    url = through(bouncer, direct)
    before = of_next_client(url)
    assert migrate.upgrade(url, schema="shop").installed
    assert of_next_client(url) == before
    with connect(direct, schema="shop") as connection:
        space = spaces.create(connection, "fake", FakeEmbedder())
        assert spaces.activate(connection, space).state == "active"
    with pytest.raises(DatabaseError, match="SET search_path = shop, pg_temp"):
        connect(url, schema="shop")
