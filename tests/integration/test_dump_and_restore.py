"""pg_dump and pg_restore: of all there is, and of an application's own schema beside ours."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from pipeline.doctor.examination import examine
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.dumps import dump, restore
from tests.helpers.fakes import add_texts
from tests.helpers.tcp_server import tcp_server, tcp_url
from tests.helpers.workers import work
from tests.integration.test_serve import assert_is_vector_of, embedding, serving

APPLICATION = """
CREATE SCHEMA app;
CREATE TABLE app.products (id bigint PRIMARY KEY, title text);
INSERT INTO app.products VALUES (1, 'a bicycle');
CREATE FUNCTION app.follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.source_items (source, source_key, modality, content_ref)
    VALUES ('products', NEW.id::text, 'text', NEW.title);
    RETURN NULL;
END $$;
CREATE TRIGGER follow AFTER INSERT ON app.products FOR EACH ROW EXECUTE FUNCTION app.follow();
"""
EVERYTHING = ("source_items", "multimodal_items", "ingest_jobs", "query_embeddings", "space_probes")


@pytest.fixture
def filled(url: str, connection: Connection, settings: Settings, space: Space) -> Settings:
    """Items, a job, a cached query and an application that feeds them."""
    connection.execute(APPLICATION)
    add_texts(connection, ["one", "two", "three"])
    work(settings, space)
    with serving(url):
        embedding(connection, "one")
    add_texts(connection, ["waits"], source="later")
    return settings


def counts(connection: Connection) -> dict[str, int]:
    return {
        name: connection.execute(f"SELECT count(*) FROM {name}".encode()).fetchall()[0][0]
        for name in EVERYTHING
    }


def assert_works(url: str, filled: Settings, expected: dict[str, int]) -> None:
    settings = filled.model_copy(update={"database_url": type(filled.database_url)(url)})
    with connect(url) as copy:
        assert counts(copy) == expected
        assert_is_vector_of(embedding(copy, "one"), "one")  # cached
        found = copy.execute("SELECT content_ref FROM search_items('one', k => 1)").fetchall()
        assert found == [("one",)]
        copy.execute("INSERT INTO app.products VALUES (2, 'a boat')")
        assert counts(copy)["ingest_jobs"] == expected["ingest_jobs"] + 1
        copy.execute("DELETE FROM source_items WHERE source = 'products'")
        assert counts(copy) == expected
        copy.execute("VACUUM ANALYZE")
        ours = {"installed SQL", "schema", "functions", "dblink", "migrations"}
        assert {c.name for c in examine(settings) if c.ok} >= ours
        indexes = copy.execute(
            "SELECT count(*) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid "
            "JOIN pg_am AS a ON a.oid = c.relam WHERE amname = 'hnsw' AND indisvalid"
        ).fetchone()
        assert indexes is not None
        assert indexes[0] >= 2


def test_all_of_it_into_another_database(
    server: EmbeddedServer,
    url: str,
    connection: Connection,
    filled: Settings,
    empty_url: str,
    tmp_path: Path,
) -> None:
    dump(server, url, tmp_path / "all")
    restore(server, tmp_path / "all", empty_url)
    migrate.upgrade(empty_url)  # what no dump of a database holds: its settings, dblink
    assert not migrate.upgrade(empty_url).installed  # nothing is left to do
    assert_works(empty_url, filled, counts(connection))
    with connect(empty_url) as copy:
        copy.execute("SET ROLE pipeline_analyst")
        copy.execute("SELECT * FROM item_catalog")
        copy.execute("RESET ROLE")
        with serving(empty_url):
            assert_is_vector_of(embedding(copy, "new"), "new")


def test_all_of_it_into_another_cluster_that_lacks_the_roles(
    server: EmbeddedServer, url: str, connection: Connection, filled: Settings, tmp_path: Path
) -> None:
    dump(server, url, tmp_path / "all")
    with tcp_server(server) as port:
        other = tcp_url(port, "admin", "other")
        with connect(tcp_url(port, "admin", "postgres")) as admin:
            admin.execute("CREATE DATABASE other")
        restore(server, tmp_path / "all", other, "--no-owner", "--no-acl")
        migrate.upgrade(other)  # makes the roles, and gives them their rights
        assert_works(other, filled, counts(connection))
        with connect(other) as copy:
            copy.execute("SET ROLE pipeline_analyst")
            copy.execute("SELECT * FROM item_catalog")
            copy.execute("RESET ROLE")
            copy.execute("CALL configure_loopback()")
            with serving(other):
                assert_is_vector_of(embedding(copy, "new"), "new")


def test_rights_that_were_not_restored_are_given_where_the_roles_are_there(
    server: EmbeddedServer, url: str, filled: Settings, empty_url: str, tmp_path: Path
) -> None:
    dump(server, url, tmp_path / "all")
    restore(server, tmp_path / "all", empty_url, "--no-acl")
    with connect(empty_url) as copy:
        copy.execute("SET ROLE pipeline_analyst")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            copy.execute("SELECT * FROM item_catalog")
        migrate.upgrade(empty_url)
        copy.execute("SELECT * FROM item_catalog")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            copy.execute("SELECT source_items_truncated()")


@pytest.mark.usefixtures("filled")
def test_the_applications_own_schema_alone_is_restored_without_ours(
    server: EmbeddedServer, url: str, new_database: Callable[..., str], tmp_path: Path
) -> None:
    dump(server, url, tmp_path / "app", "--schema=app")
    target = new_database()
    restore(server, tmp_path / "app", target)
    with connect(target) as copy:
        assert copy.execute("SELECT title FROM app.products").fetchall() == [("a bicycle",)]
        found = copy.execute("SELECT to_regclass('public.source_items')").fetchone()
        assert found == (None,)
