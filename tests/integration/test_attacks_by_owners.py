"""What default privileges, the schema's owner and names made beforehand would give others."""

import threading
from collections.abc import Callable

import psycopg
import pytest
from pydantic import SecretStr

from pipeline import spaces
from pipeline.doctor import rights
from pipeline.doctor.examination import examine
from pipeline.errors import DatabaseError
from pipeline.models import Base
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.search import query_vectors
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.databases import as_login, login_url, role
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.integration.test_serve import WITHIN, assert_is_vector_of, embedding, serving

TRAP = """
CREATE FUNCTION {schema}.trap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
        EXECUTE 'ALTER ROLE {who} SUPERUSER';
    END IF;
    RETURN NEW;
END $$
"""
ALL_OF_OURS = """
SELECT c.oid::regclass::text FROM pg_class AS c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
"""


def is_superuser(connection: Connection, who: str) -> bool:
    query = "SELECT rolsuper FROM pg_roles WHERE rolname = %s"
    return connection.execute(query, (who,)).fetchall() == [(True,)]


def test_default_privileges_on_tables_give_nobody_anything(
    empty_url: str, settings: Settings
) -> None:
    """Neither on what migrate makes, nor on the tables of spaces that are made later."""
    with connect(empty_url) as connection, role(connection, "anon"):
        for kind in ("TABLES", "SEQUENCES"):
            connection.execute(f"ALTER DEFAULT PRIVILEGES GRANT ALL ON {kind} TO anon".encode())
        migrate.upgrade(empty_url)
        spaces.activate(connection, spaces.create(connection, "fake", FakeEmbedder()))
        relations = [name for (name,) in connection.execute(ALL_OF_OURS).fetchall()]
        assert len(relations) > 22
        for relation in relations:
            query = "SELECT FROM pg_class, aclexplode(relacl) AS a WHERE oid = %s::regclass AND "
            query += "a.grantee = 'anon'::regrole"
            assert connection.execute(query.encode(), (relation,)).rowcount == 0, relation
        with connect(login_url(empty_url, "anon")) as anon:
            anon.execute(TRAP.format(schema="pg_temp", who="anon").encode())
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                anon.execute(
                    "CREATE TRIGGER zz BEFORE INSERT ON public.ingest_jobs FOR EACH ROW "
                    "EXECUTE FUNCTION pg_temp.trap()"
                )
        ours = settings.model_copy(update={"database_url": SecretStr(empty_url)})
        assert [c.ok for c in examine(ours) if c.name == "tables"] == [True]
        connection.execute("GRANT TRIGGER ON ingest_jobs TO anon")
        (check,) = [c for c in examine(ours) if c.name == "tables"]
        assert (check.ok, "anon" in check.found) == (False, True)
        connection.execute(check.fix.encode())
        assert [c.ok for c in examine(ours) if c.name == "tables"] == [True]


def test_a_superuser_installs_nothing_into_a_schema_of_somebody_elses(
    empty_url: str, tmp_path: object
) -> None:
    """Its owner may drop what is there, and put in its place what our functions call."""
    with connect(empty_url) as admin, role(admin, "host"):
        name = admin.info.dbname
        admin.execute(f"ALTER DATABASE {name} OWNER TO host".encode())
        try:
            with pytest.raises(DatabaseError, match="belongs to host, who could act as postgres"):
                migrate.upgrade(empty_url)
            migrate.upgrade(empty_url, schema="pipeline")  # one of its own, as the error says
            with connect(login_url(empty_url, "host")) as host:
                for attempt in (
                    "DROP FUNCTION pipeline.check_is_source_items(regclass)",
                    "CREATE FUNCTION pipeline.x() RETURNS int LANGUAGE sql RETURN 1",
                ):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        host.execute(attempt.encode())
        finally:
            admin.execute(f"ALTER DATABASE {name} OWNER TO postgres".encode())


@pytest.mark.parametrize("table", ["pipeline_alembic_version", "alembic_version"])
@pytest.mark.parametrize("kind", ["table", "view"])
def test_a_version_table_made_beforehand_is_not_used(empty_url: str, table: str, kind: str) -> None:
    with (
        connect(empty_url) as admin,
        as_login(admin, empty_url, "mallory") as mallory,
    ):
        admin.execute("GRANT CREATE ON SCHEMA public TO mallory")
        mallory.execute(TRAP.format(schema="public", who="mallory").encode())
        if kind == "table":
            mallory.execute(
                f"""
                CREATE TABLE {table} (version_num varchar(32) PRIMARY KEY);
                INSERT INTO {table} VALUES ('pipeline_0003_multimodal_items');
                CREATE TRIGGER t BEFORE INSERT OR DELETE ON {table}
                    FOR EACH ROW EXECUTE FUNCTION trap();
                """.encode()
            )
        else:
            mallory.execute(
                f"""
                CREATE FUNCTION spring() RETURNS text LANGUAGE plpgsql AS $$
                BEGIN
                    EXECUTE 'ALTER ROLE mallory SUPERUSER';
                    RETURN 'pipeline_0003_multimodal_items';
                END $$;
                CREATE VIEW {table} AS SELECT spring() AS version_num;
                """.encode()
            )
        admin.execute("REVOKE CREATE ON SCHEMA public FROM mallory")  # made while she could
        migrate.current(empty_url)
        if table == "pipeline_alembic_version":
            with pytest.raises(DatabaseError, match="was there already and is not the pipeline's"):
                migrate.upgrade(empty_url)
        else:
            migrate.upgrade(empty_url)
        assert not is_superuser(admin, "mallory")


def test_a_table_of_a_space_that_somebody_else_made_is_none(
    connection: Connection, url: str, space: Space
) -> None:
    with as_login(connection, url, "mallory", "LOGIN IN ROLE pipeline_owner") as mallory:
        connection.execute("GRANT CREATE ON SCHEMA public TO mallory")
        name = f"multimodal_items_audio_s{space.id}"
        mallory.execute(
            f"""
            CREATE FUNCTION spring() RETURNS bigint LANGUAGE plpgsql AS $$
            BEGIN EXECUTE 'ALTER ROLE mallory SUPERUSER'; RETURN 1; END $$;
            CREATE VIEW {name} AS
                SELECT 1::bigint AS id, spring() AS source_id, now() AS embedded_at;
            INSERT INTO space_modalities (space_id, modality) VALUES ({space.id}, 'audio');
            SELECT * FROM space_items();
            """.encode()
        )
        add_texts(connection, ["one"])
        connection.execute("DELETE FROM source_items")
        mallory.execute(f"DROP VIEW {name}; CREATE TABLE {name} (source_id bigint)".encode())
        row = connection.execute("SELECT items_table(%s, 'audio')", (space.id,)).fetchone()
        assert row == (None,)
        assert not is_superuser(connection, "mallory")
        connection.execute("DELETE FROM space_modalities WHERE modality = 'audio'")


def test_a_foreign_server_of_somebody_elses_is_not_believed(
    connection: Connection, url: str, new_database: Callable[[], str]
) -> None:
    theirs = new_database()
    with as_login(connection, url, "mallory") as mallory:
        connection.execute("GRANT USAGE ON FOREIGN DATA WRAPPER dblink_fdw TO mallory")
        with connect(theirs) as trap:
            trap.execute(
                "CREATE FUNCTION loopback_ask(text[], text, text, text) RETURNS text "
                "LANGUAGE plpgsql AS $$ BEGIN "
                "EXECUTE 'ALTER ROLE mallory SUPERUSER'; RETURN NULL; END $$"
            )
            database = trap.info.dbname
        mallory.execute(
            f"""
            CREATE SERVER pipeline_loopback FOREIGN DATA WRAPPER dblink_fdw
                OPTIONS (host '{connection.info.host}', port '5432', dbname '{database}');
            CREATE USER MAPPING FOR PUBLIC SERVER pipeline_loopback OPTIONS (user 'postgres');
            GRANT USAGE ON FOREIGN SERVER pipeline_loopback TO PUBLIC;
            """.encode()
        )
        with serving(url):
            assert_is_vector_of(embedding(connection, "my secret"), "my secret")
        assert not is_superuser(connection, "mallory")
        # Configuring puts one of our own in its place.
        connection.execute("CALL configure_loopback(host => %s)", (connection.info.host,))
        connection.execute("DROP SERVER pipeline_loopback CASCADE")


def test_a_login_made_beforehand_is_not_used(connection: Connection, url: str) -> None:
    (oid,) = connection.execute(
        "SELECT oid FROM pg_database WHERE datname = current_database()"
    ).fetchone() or (0,)
    name = f"pipeline_loopback_{oid}"
    with as_login(connection, url, "mallory", "LOGIN CREATEROLE") as mallory:
        mallory.execute(f"CREATE ROLE {name} LOGIN".encode())
        try:
            with pytest.raises(psycopg.Error, match="others may act as") as caught:
                connection.execute("CALL configure_loopback()")
            assert f"DROP ROLE {name}" in (caught.value.diag.message_hint or "")
        finally:
            mallory.execute(f"DROP ROLE {name}".encode())


def test_a_text_that_somebody_asks_for_and_sits_on_is_had_by_others(
    url: str, connection: Connection
) -> None:
    with (
        as_login(connection, url, "ana", "LOGIN IN ROLE pipeline_analyst") as ana,
        serving(url),
        ana.transaction(),
    ):
        ana.execute("SELECT ask_for_query_embeddings(ARRAY['a red bicycle'])")
        assert_is_vector_of(embedding(connection, "a red bicycle"), "a red bicycle")


def test_requests_of_open_transactions_count(url: str, connection: Connection) -> None:
    gate = threading.Event()
    model = FakeEmbedder(before=lambda _: bool(gate.wait(WITHIN)) and None)
    try:
        with (
            as_login(connection, url, "ana", "LOGIN IN ROLE pipeline_analyst") as ana,
            connect(login_url(url, "ana")) as again,
            serving(url, model, asker_limit=5, queue_limit=8),
            ana.transaction(),
        ):
            ask = "SELECT ask_for_query_embeddings(ARRAY['{0}1','{0}2','{0}3'])"
            ana.execute(ask.format("a").encode())
            with pytest.raises(psycopg.Error, match="too many texts wait"):
                again.execute(ask.format("b").encode())
            gate.set()
    finally:
        gate.set()


def test_the_server_waits_for_nobodys_lock(url: str, connection: Connection, space: Space) -> None:
    """Neither to answer, nor to forget."""
    connection.execute(
        """
        INSERT INTO query_embeddings (space_id, query_sha256, query, requested_at)
        SELECT %s, query_key(t), t, now() - a FROM (VALUES
            ('locked', interval '0'), ('old', interval '2 hours')) AS v (t, a)
        """,
        (space.id,),
    )
    with connect(url) as other, other.transaction():
        other.execute("SELECT FROM query_embeddings FOR UPDATE")
        with serving(url):
            assert_is_vector_of(embedding(connection, "new"), "new")
            connection.execute("SET lock_timeout = '5s'")
            query_vectors.forget(connection, space.id, keep=0, days=30)
            key = connection.execute("SELECT query_key('locked')").fetchall()[0][0]
            query_vectors.answer(connection, space.id, {}, {bytes(key): "no"})


def test_a_table_of_who_may_act_as_the_owner_is_one(
    connection: Connection, url: str, space: Space
) -> None:
    name = f"multimodal_items_text_s{space.id}"
    with role(connection, "deploy", "LOGIN IN ROLE postgres"):
        connection.execute(f"ALTER TABLE {name} OWNER TO deploy".encode())
        row = connection.execute("SELECT items_table(%s, 'text')::text", (space.id,)).fetchone()
        assert row == (name,)
        connection.execute(f"ALTER TABLE {name} OWNER TO postgres".encode())


def test_what_others_give_by_default_is_no_reason_to_take_ours(
    url: str, connection: Connection
) -> None:
    """Default privileges are of whoever makes a thing: those of another role gave nothing here."""
    with role(connection, "bi"), role(connection, "app"):
        connection.execute("ALTER DEFAULT PRIVILEGES FOR ROLE app GRANT ALL ON TABLES TO bi")
        connection.execute("ALTER DEFAULT PRIVILEGES FOR ROLE app GRANT ALL ON FUNCTIONS TO bi")
        connection.execute("GRANT SELECT ON item_catalog TO bi")
        connection.execute("GRANT EXECUTE ON FUNCTION text_embedding TO bi")
        connection.execute("UPDATE installed_sql SET sha256 = 'of an older release'")
        migrate.upgrade(url)
        kept = connection.execute(
            "SELECT has_table_privilege('bi', 'item_catalog', 'SELECT'), "
            "has_function_privilege('bi', 'text_embedding(text, interval)', 'EXECUTE')"
        ).fetchone()
    assert kept == (True, True)


def test_who_removes_us_removes_nothing_of_others(empty_url: str) -> None:
    with connect(empty_url) as connection, role(connection, "host"):
        migrate.upgrade(empty_url)
        connection.execute("CREATE SERVER pipeline_loopback FOREIGN DATA WRAPPER dblink_fdw")
        connection.execute("ALTER SERVER pipeline_loopback OWNER TO host")
        migrate.downgrade(empty_url, "base")
        servers = connection.execute("SELECT srvname FROM pg_foreign_server").fetchall()
        assert servers == [("pipeline_loopback",)]


def test_doctor_tries_the_loop_back(connection: Connection, settings: Settings) -> None:
    def found() -> list[bool]:
        return [c.ok for c in examine(settings) if c.name == "loop-back"]

    assert found() == [True]
    with role(connection, "somebody", "LOGIN"):
        host = connection.info.host
        connection.execute(
            "CALL configure_loopback(username => 'somebody', password => 'x', host => %s, "
            "port => 1)", (host,))  # fmt: skip
        assert found() == [False]
        connection.execute("CALL configure_loopback(host => %s)", (host,))
        assert found() == [True]
        connection.execute("DROP SERVER pipeline_loopback CASCADE")


def test_doctor_knows_every_table() -> None:
    assert set(rights.TABLES) == {table.name for table in Base.metadata.sorted_tables}
