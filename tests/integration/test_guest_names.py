"""What is somebody else's stays, whatever it is called; and nobody's tables lead us astray."""

from collections.abc import Callable

import pytest

from pipeline import spaces
from pipeline.errors import DatabaseError
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.postgres.place import schemas_of_ours
from tests.helpers.databases import as_login, login_url
from tests.helpers.fakes import FakeEmbedder
from tests.helpers.tcp_server import tcp_server, tcp_url

OURS = ("embedding_spaces", "ingest_jobs", "multimodal_items", "source_items")


def table_of(connection: Connection, index: str) -> str | None:
    row = connection.execute(
        "SELECT indrelid::regclass::text FROM pg_index WHERE indexrelid = to_regclass(%s)", (index,)
    ).fetchone()
    return row[0] if row else None


def test_an_index_of_the_applications_stops_migrate_and_stays(empty_url: str) -> None:
    with connect(empty_url) as connection:
        connection.execute("CREATE TABLE shop (id integer)")
        connection.execute("CREATE INDEX source_items_document ON shop (id)")
        with pytest.raises(DatabaseError, match=r"source_items_document was there.*Rename yours"):
            migrate.upgrade(empty_url, old_pgvector=True)
        assert table_of(connection, "source_items_document") == "shop"


def test_an_index_of_the_applications_stops_activate_and_stays(empty_url: str) -> None:
    migrate.upgrade(empty_url, old_pgvector=True)
    with connect(empty_url) as connection:
        connection.execute("CREATE TABLE shop (id integer)")
        connection.execute("CREATE INDEX multimodal_items_embedding ON shop (id)")
        space = spaces.create(connection, "fake", FakeEmbedder())
        with pytest.raises(DatabaseError, match="multimodal_items_embedding was there already"):
            spaces.activate(connection, space)
        assert table_of(connection, "multimodal_items_embedding") == "shop"


def test_uninstall_leaves_an_index_of_the_applications(url: str, connection: Connection) -> None:
    connection.execute("DROP INDEX source_items_document")
    connection.execute("CREATE TABLE shop (id integer)")
    connection.execute("CREATE INDEX source_items_document ON shop (id)")
    migrate.downgrade(url, "base")
    assert table_of(connection, "source_items_document") == "shop"


def test_tables_that_any_login_makes_do_not_stop_migrate(empty_url: str) -> None:
    with (
        connect(empty_url) as admin,
        as_login(admin, empty_url, "nobody_at_all") as nobody,
    ):
        admin.execute("CREATE SCHEMA theirs AUTHORIZATION nobody_at_all")
        for table in OURS:
            nobody.execute(f"CREATE TEMPORARY TABLE {table} (id integer)".encode())
            nobody.execute(f"CREATE TABLE theirs.{table} (id integer)".encode())
        assert schemas_of_ours(admin) == []
        migrate.upgrade(empty_url, old_pgvector=True)
        assert schemas_of_ours(admin) == ["public"]


def test_a_version_table_that_may_not_be_read_is_not_ours(empty_url: str) -> None:
    with connect(empty_url) as admin:
        admin.execute("CREATE EXTENSION vector")
        admin.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        admin.execute("INSERT INTO alembic_version VALUES ('0013')")
        with as_login(admin, empty_url, "database_owner"):
            name = admin.info.dbname
            admin.execute(f"ALTER DATABASE {name} OWNER TO database_owner".encode())
            own = login_url(empty_url, "database_owner")
            assert migrate.upgrade(own, roles=False, old_pgvector=True).revisions
            admin.execute(f"ALTER DATABASE {name} OWNER TO postgres".encode())
        assert admin.execute("SELECT version_num FROM alembic_version").fetchall() == [("0013",)]


def test_warnings_are_told_whatever_the_database_says_of_messages(
    empty_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(empty_url) as admin:
        admin.execute("CREATE EXTENSION vector")
        name = admin.info.dbname
        admin.execute(f"ALTER DATABASE {name} SET client_min_messages = error".encode())
        with as_login(admin, empty_url, "database_owner"):
            admin.execute("GRANT CREATE ON SCHEMA public TO database_owner")
            own = login_url(empty_url, "database_owner")
            migrate.upgrade(own, roles=False, old_pgvector=True)
    assert "does not own the database" in caplog.text


def left(connection: Connection) -> tuple[list[str], list[str]]:
    servers = connection.execute("SELECT srvname FROM pg_foreign_server").fetchall()
    given = connection.execute(
        "SELECT g.grantee::regrole::text FROM pg_database AS d, aclexplode(d.datacl) AS g "
        "WHERE d.datname = current_database() AND g.grantee NOT IN (0, d.datdba)"
    ).fetchall()
    return sorted(name for (name,) in servers), sorted(name for (name,) in given)


def test_uninstall_takes_the_loop_backs_password_where_dblink_stays(
    new_database: Callable[..., str], dblink: None
) -> None:
    url = new_database()
    with connect(url) as connection:
        connection.execute(
            f"REVOKE CONNECT ON DATABASE {connection.info.dbname} FROM PUBLIC".encode()
        )
        migrate.upgrade(url, old_pgvector=True)
        connection.execute("CALL configure_loopback()")
        connection.execute("CREATE SERVER theirs FOREIGN DATA WRAPPER dblink_fdw")
        assert left(connection)[0] == ["pipeline_loopback", "theirs"]
        migrate.downgrade(url, "base")
        assert left(connection) == (["theirs"], [])


def settings_of(connection: Connection) -> list[str]:
    rows = connection.execute(
        "SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setrole = 0 AND setdatabase = "
        "(SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1"
    ).fetchall()
    return [entry for (entry,) in rows if entry.startswith("hnsw")]


def test_what_the_database_had_before_stays(empty_url: str) -> None:
    with connect(empty_url) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("SELECT '[1]'::vector")
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET hnsw.ef_search = '100'".encode())
        migrate.upgrade(empty_url, old_pgvector=True)
        migrate.downgrade(empty_url, "base")
        assert settings_of(connection) == ["hnsw.ef_search=100"]


def test_our_own_settings_go(empty_url: str) -> None:
    with connect(empty_url) as connection:
        migrate.upgrade(empty_url, old_pgvector=True)
        assert len(settings_of(connection)) == 2
        connection.execute("UPDATE installed_sql SET sha256 = 'of an older release'")
        migrate.upgrade(empty_url, old_pgvector=True)
        migrate.downgrade(empty_url, "base")
        assert settings_of(connection) == []


def test_one_revision_back_and_forth_keeps_the_members_of_the_roles(
    server: EmbeddedServer,
) -> None:
    """On a server of its own: another database would keep the roles there."""
    with tcp_server(server) as port:
        own = tcp_url(port, "admin", "app")
        with connect(own, schema=None) as admin:
            admin.execute("ALTER DATABASE app OWNER TO admin")
            migrate.upgrade(own, old_pgvector=True)
            admin.execute("CREATE ROLE ana LOGIN IN ROLE pipeline_analyst")
            migrate.downgrade(own, "pipeline_0006_installed_sql")
            migrate.upgrade(own, old_pgvector=True)
            member = admin.execute("SELECT pg_has_role('ana', 'pipeline_analyst', 'MEMBER')")
            assert member.fetchone() == (True,)


def test_what_a_dump_comes_without_is_made_by_the_next_migrate(
    url: str, connection: Connection, dblink: None
) -> None:
    connection.execute("UPDATE installed_sql SET sha256 = 'of an older release'")
    migrate.upgrade(url, old_pgvector=True)
    connection.execute(f"ALTER DATABASE {connection.info.dbname} RESET ALL".encode())
    connection.execute("DROP EXTENSION dblink")
    assert migrate.upgrade(url, old_pgvector=True).installed
    assert len(settings_of(connection)) == 2
    assert connection.execute("SELECT FROM pg_extension WHERE extname = 'dblink'").rowcount == 1
    assert not migrate.upgrade(url, old_pgvector=True).installed


def test_a_schema_that_we_made_goes_when_it_is_empty(empty_url: str) -> None:
    with connect(empty_url) as connection:
        connection.execute("CREATE EXTENSION vector")
        for theirs, stays in ((False, False), (True, True)):
            migrate.upgrade(empty_url, schema="ours", old_pgvector=True)
            if theirs:
                connection.execute("CREATE TABLE ours.theirs (id integer)")
            migrate.downgrade(empty_url, "base", schema="ours")
            found = connection.execute("SELECT to_regnamespace('ours') IS NOT NULL").fetchone()
            assert found == (stays,)


def test_a_role_that_somebody_else_made_is_not_dropped(server: EmbeddedServer) -> None:
    """On a server of its own: roles are everybody's there."""
    with tcp_server(server) as port:
        own = tcp_url(port, "admin", "app")
        with connect(own, schema=None) as admin:
            admin.execute("ALTER DATABASE app OWNER TO admin")
            admin.execute("CREATE ROLE pipeline_analyst LOGIN PASSWORD 'theirs'")
        migrate.upgrade(own, old_pgvector=True)
        migrate.downgrade(own, "base")
        with connect(own, schema=None) as admin:
            rows = admin.execute("SELECT rolname FROM pg_roles WHERE rolname ~ '^pipeline_'")
            assert rows.fetchall() == [("pipeline_analyst",)]
