"""What there is of the whole server, roles made beforehand and other databases of ours; a schema's
owner, and names that spaces will have."""

import logging
from collections.abc import Iterator

import psycopg
import pytest

from pipeline import spaces
from pipeline.doctor.examination import examine
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.spaces import Space
from tests.helpers.databases import as_login, database_url, has_dblink, login_url, role
from tests.helpers.fakes import FakeEmbedder
from tests.helpers.other_server import own_server
from tests.integration.test_serve import assert_is_vector_of, embedding, serving

ROLES = ("pipeline_analyst", "pipeline_ingest", "pipeline_owner", "pipeline_loopback")


@pytest.fixture(scope="module")
def bare_server() -> Iterator[EmbeddedServer]:
    with own_server() as server:
        yield server


@pytest.fixture
def bare(bare_server: EmbeddedServer) -> Iterator[str]:
    """A new database of that server, where what is said is of a superuser; gives its URL."""
    with connect(bare_server.url()) as admin:
        admin.execute("CREATE DATABASE bare")
        yield database_url(bare_server.url(), "bare")
        admin.execute("DROP DATABASE IF EXISTS bare WITH (FORCE)")
        for name in (*ROLES, "mallory"):
            admin.execute(f"DROP ROLE IF EXISTS {name}".encode())


def test_who_made_our_roles_beforehand_is_named(
    bare: str, settings_of: object, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever may create roles may grant what they made, and so reads what a superuser migrates."""
    if not has_dblink(bare):
        pytest.skip("this server has no dblink")

    def of_doctor() -> tuple[bool, str, str]:
        ours = settings_of(bare)  # type: ignore[operator]
        ((ok, found, fix),) = [(c.ok, c.found, c.fix) for c in examine(ours) if c.name == "roles"]
        return ok, found, fix

    with connect(bare) as admin:
        with as_login(admin, bare, "mallory", "LOGIN CREATEROLE") as mallory:
            for name in ROLES:
                mallory.execute(f"CREATE ROLE {name} LOGIN".encode())
            with caplog.at_level(logging.WARNING):
                migrate.upgrade(bare)
            said = "\n".join(record.getMessage() for record in caplog.records)
            for name in ROLES[:3]:
                assert f"mallory may grant {name}" in said
                assert f"{name} can log in" in said
            assert "mallory may act as pipeline_loopback, so it is not used" in said
            assert admin.execute("SELECT has_loopback()").fetchone() == (False,)
            mallory.execute("GRANT pipeline_owner TO mallory")
            ok, found, fix = of_doctor()
            assert (ok, "mallory may grant pipeline_owner" in found) == (False, True)
            admin.execute(fix.encode())
            assert of_doctor()[0]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                mallory.execute("SELECT FROM public.source_items")
        caplog.clear()
        admin.execute("UPDATE installed_sql SET sha256 = 'of an older release'")
        assert migrate.upgrade(bare).installed
        assert not caplog.records
        assert admin.execute("SELECT has_loopback()").fetchone() == (True,)
        with role(admin, "mallory"):
            admin.execute("GRANT pipeline_loopback TO mallory")
            assert admin.execute("SELECT has_loopback()").fetchone() == (False,)


@pytest.mark.usefixtures("dblink")
def test_a_role_of_another_database_is_no_loop_back_of_this_one(
    empty_url: str, connection: Connection
) -> None:
    """That of ``connection`` made the role; this one has PIPELINE_ROLES=off."""
    migrate.upgrade(empty_url, roles=False)
    assert connection.execute("SELECT has_loopback()").fetchone() == (True,)
    with connect(empty_url) as other:
        spaces.activate(other, spaces.create(other, "fake", FakeEmbedder()))
        assert other.execute("SELECT has_loopback()").fetchone() == (False,)
        with pytest.raises(psycopg.Error, match="not set up") as caught:
            other.execute("SELECT text_embedding('new')")
        assert caught.value.sqlstate == "MM005"
        with serving(empty_url):
            other.execute("CALL embed_query('new')")
            assert_is_vector_of(embedding(other, "new"), "new")


def test_a_name_of_a_space_to_come_stops_no_writer(
    connection: Connection, url: str, space: Space
) -> None:
    """A number is lost with each space that could not be made."""
    with as_login(connection, url, "mallory") as mallory:
        connection.execute("SELECT nextval(pg_get_serial_sequence('embedding_spaces', 'id'))")
        connection.execute("GRANT CREATE ON SCHEMA public TO mallory")
        for made in ("VIEW", "TABLE"):
            name = f"multimodal_items_text_s{space.id + 1}"
            mallory.execute(f"CREATE {made} {name} AS SELECT 1 AS x".encode())
            for isolation in ("REPEATABLE READ", "SERIALIZABLE"):
                with psycopg.connect(url) as application:
                    application.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}".encode())
                    application.execute(
                        "INSERT INTO source_items (source, source_key, modality, content_ref) "
                        "VALUES (%s, %s, 'text', 'x')",
                        (made, isolation),
                    )
            mallory.execute(f"DROP {made} {name}".encode())
    assert connection.execute("SELECT count(*) FROM ingest_jobs").fetchone() == (4,)


def test_a_queue_that_one_login_has_filled_has_room_for_others(
    url: str, connection: Connection, space: Space
) -> None:
    """From as many addresses as there are."""
    ask = (
        "SELECT request_query_embeddings(array_agg(%s || n), %s, %s) FROM generate_series(1, %s) n"
    )
    with connect(url) as server, server.transaction():
        server.execute("SELECT pg_advisory_xact_lock(1886483065, 7)")
        connection.execute(
            "INSERT INTO query_servers (space_id, pid, lock_key, asker_limit, queue_limit) "
            "VALUES (%s, %s, 7, 50, 100)",
            (space.id, server.info.backend_pid),
        )
        for number in range(2):
            connection.execute(ask, (f"a{number}-", "ana", f"2001:db8::{number}", 50))
        for asked_by, count in (("ana", 1), ("bob", 6)):
            with pytest.raises(psycopg.Error, match="too many texts wait"):
                connection.execute(ask, ("more", asked_by, "2001:db8::9", count))
        connection.execute(ask, ("b", "bob", "2001:db8::9", 5))
        connection.execute("DELETE FROM query_servers")


def test_who_owns_the_schema_is_named_to_whoever_migrates(
    new_database: object, caplog: pytest.LogCaptureFixture
) -> None:
    """And what an administrator gives, where this login may not."""
    url = new_database()  # type: ignore[operator]
    with (
        connect(url) as admin,
        role(admin, "appowner"),
        role(admin, "dba", "LOGIN"),
    ):
        admin.execute(
            "CREATE EXTENSION vector; CREATE SCHEMA app AUTHORIZATION appowner; "
            "GRANT CREATE, USAGE ON SCHEMA app TO dba"
        )
        with caplog.at_level(logging.WARNING):
            migrate.upgrade(login_url(url, "dba"), schema="app")
        said = [record.getMessage() for record in caplog.records]
        (owner,) = [line for line in said if "appowner" in line]
        assert "the schema app belongs to appowner, who could act as dba" in owner
        assert "migrate as appowner" in owner
        (grant,) = [line for line in said if "no privileges were granted" in line]
        admin.execute(grant.rpartition("an administrator runs: ")[2].encode())
        assert admin.execute(
            "SELECT has_schema_privilege('pipeline_analyst', 'app', 'USAGE')"
        ).fetchone() == (True,)
