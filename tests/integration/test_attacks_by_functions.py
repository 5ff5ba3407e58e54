"""What a login of the same database tries with the functions that run with their owner's rights."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import psycopg
import pytest
from pydantic import SecretStr

from pipeline import spaces
from pipeline.doctor.examination import examine
from pipeline.errors import DatabaseError
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.databases import as_login, role
from tests.helpers.fakes import FakeEmbedder, add_texts, vector_of
from tests.helpers.two_cones import store

DEFINERS = """
SELECT p.oid::regprocedure::text, p.prosrc, p.proconfig, p.proacl,
    ARRAY(SELECT coalesce(r.rolname, 'PUBLIC')::text
          FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
          LEFT JOIN pg_roles AS r ON r.oid = a.grantee
          WHERE a.grantee <> p.proowner ORDER BY 1)
FROM pg_proc AS p WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef
ORDER BY 1
"""
THREE = ["pipeline_analyst", "pipeline_ingest", "pipeline_owner"]
# Who may call what runs with its owner's rights, the owner aside.
MAY_CALL = {
    "ask_for_file_embedding(bytea)": THREE,
    "ask_for_query_embeddings(text[])": THREE,
    "cached_query_embeddings(text[])": [],
    "empty_query_files()": THREE[1:],
    "enqueue_source_items(bigint[])": THREE[1:],
    "file_embedding(uuid)": THREE,
    "forget_file(uuid)": THREE,
    "loopback_answers(text[],text)": ["pipeline_loopback"],
    "loopback_ask(text[],text,text,text)": ["pipeline_loopback"],
    "loopback_connection()": [],
    "loopback_touch(text[],text)": ["pipeline_loopback"],
    "make_derived_items(integer,text)": THREE[1:],
    "multimodal_items_compact()": [],
    "multimodal_items_deleted()": [],
    "query_embeddings_missing(text[])": THREE,
    "reopen_source_items(bigint[])": THREE[1:],
    "source_items_deleted()": [],
    "source_items_inserted()": [],
    "source_items_truncated()": [],
    "source_items_updated()": [],
    "space_items()": THREE,
    "text_embedding(text,interval)": THREE,
    "text_embeddings(text[],interval)": THREE,
    "text_embeddings_by_loopback(text[],interval)": [],
    "touch_query_embeddings(text[])": [],
}
# What may stand alone after these words: PostgreSQL's own, and what a body itself makes.
RELATION = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE|TRUNCATE|TABLE)\s+(?:ONLY\s+)?([\w.%]+)")
OF_THE_BODY = {
    "new_rows", "old_rows", "unnest", "wanted", "enqueued", "strange", "changed", "gone", "moved",
    "many", "made",
    "answers", "answer", "waiting", "limits", "request", "space", "asker_limit", "lacking",
    "refused", "items", "of", "centre", "clock_timestamp", "SET", "LATERAL", "EXCLUSIVE", "%s",
    "SKIP", "free",
}  # fmt: skip


def test_who_may_call_what_runs_with_its_owners_rights(connection: Connection) -> None:
    found = connection.execute(DEFINERS).fetchall()
    assert {name: grantees for name, _, _, _, grantees in found} == MAY_CALL
    for name, _, settings, _, _ in found:
        assert "search_path=pg_catalog, pg_temp" in (settings or []), name


def test_each_name_inside_has_its_schema(connection: Connection) -> None:
    for name, body, *_ in connection.execute(DEFINERS).fetchall():
        code = re.sub(r"--.*|'(?:[^']|'')*'", "", body)
        bare = {
            word
            for word in RELATION.findall(code)
            if "." not in word and not word.startswith("pg_") and word not in OF_THE_BODY
        }
        assert bare == set(), name


@pytest.fixture
def mallory(url: str, connection: Connection) -> Iterator[Connection]:
    """A login without any right but those that every login has."""
    with as_login(connection, url, "mallory") as own:
        yield own


@pytest.fixture
def items(connection: Connection, space: Space) -> None:
    add_texts(connection, ["one", "two"])
    store(
        connection,
        space,
        "text",
        np.array([vector_of(b"one"), vector_of(b"two")]),
        first_source_id=1,
    )


def count(connection: Connection, table: str = "multimodal_items") -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert row is not None
    return int(row[0])


ATTACKS = {
    "truncate": """
        CREATE TEMP TABLE t (id bigint);
        CREATE TRIGGER x AFTER TRUNCATE ON t FOR EACH STATEMENT
            EXECUTE FUNCTION public.source_items_truncated();
        TRUNCATE t""",
    "delete": """
        CREATE TEMP TABLE t (id bigint);
        INSERT INTO t VALUES (1), (2);
        CREATE TRIGGER x AFTER DELETE ON t REFERENCING OLD TABLE AS old_rows
            FOR EACH STATEMENT EXECUTE FUNCTION public.source_items_deleted();
        DELETE FROM t""",
    "insert": """
        CREATE TEMP TABLE t (id bigint, modality text);
        CREATE TRIGGER x AFTER INSERT ON t REFERENCING NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION public.source_items_inserted();
        INSERT INTO t VALUES (77, 'text')""",
    "update": """
        CREATE TEMP TABLE t (id bigint, modality text, content_ref text, metadata jsonb);
        INSERT INTO t VALUES (1, 'text', 'a', '{}');
        CREATE TRIGGER x AFTER UPDATE ON t
            REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION public.source_items_updated();
        UPDATE t SET content_ref = 'b'""",
}  # fmt: skip
TRIGGERS = {
    "truncate": "source_items_truncated()",
    "delete": "source_items_deleted()",
    "insert": "source_items_inserted()",
    "update": "source_items_updated()",
}


@pytest.mark.usefixtures("items")
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_login_cannot_put_our_triggers_on_its_own_table(
    connection: Connection, mallory: Connection, attack: str
) -> None:
    before = count(connection), count(connection, "ingest_jobs")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
        mallory.execute(ATTACKS[attack].encode())
    assert (count(connection), count(connection, "ingest_jobs")) == before == (2, 2)


@pytest.mark.usefixtures("items")
@pytest.mark.parametrize("attack", ATTACKS)
def test_even_who_may_call_it_cannot_put_it_elsewhere(
    connection: Connection, mallory: Connection, attack: str
) -> None:
    connection.execute(f"GRANT EXECUTE ON FUNCTION {TRIGGERS[attack]} TO mallory".encode())
    before = count(connection), count(connection, "ingest_jobs")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="t is not source_items"):
        mallory.execute(ATTACKS[attack].encode())
    assert (count(connection), count(connection, "ingest_jobs")) == before


@pytest.mark.usefixtures("items")
def test_an_assignment_cast_of_somebody_elses_is_never_called(
    connection: Connection, mallory: Connection
) -> None:
    """``id`` of a type that its owner lets become ``bigint[]`` by a function of their own."""
    connection.execute("GRANT EXECUTE ON FUNCTION source_items_deleted() TO mallory")
    connection.execute("CREATE SCHEMA den AUTHORIZATION mallory")
    mallory.execute(
        """
        CREATE TABLE den.seen (who text);
        CREATE TYPE den.bait AS (n bigint);
        CREATE FUNCTION den.spring(den.bait[]) RETURNS bigint[] LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO den.seen VALUES (current_user);
            RETURN '{}';
        END $$;
        CREATE CAST (den.bait[] AS bigint[]) WITH FUNCTION den.spring(den.bait[]) AS ASSIGNMENT;
        CREATE TABLE den.t (id den.bait);
        INSERT INTO den.t VALUES (ROW(1)::den.bait);
        CREATE TRIGGER x AFTER DELETE ON den.t REFERENCING OLD TABLE AS old_rows
            FOR EACH STATEMENT EXECUTE FUNCTION public.source_items_deleted();
        """
    )
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"den.t is not source_items"):
        mallory.execute("DELETE FROM den.t")
    assert mallory.execute("SELECT who FROM den.seen").fetchall() == []


@contextmanager
def default_privileges(connection: Connection) -> Iterator[None]:
    """As hosted platforms set them: whatever is made may be used by ``anon``."""
    with role(connection, "anon"):
        for kind in ("FUNCTIONS", "TABLES", "SCHEMAS"):
            connection.execute(f"ALTER DEFAULT PRIVILEGES GRANT ALL ON {kind} TO anon".encode())
        yield


def grantees(connection: Connection) -> dict[str, list[str]]:
    return {name: found for name, _, _, _, found in connection.execute(DEFINERS).fetchall()}


def test_default_privileges_give_nobody_anything(empty_url: str) -> None:
    with connect(empty_url) as connection, default_privileges(connection):
        migrate.upgrade(empty_url)
        assert grantees(connection) == MAY_CALL
        for called in (
            "SELECT pipeline_dblink.dblink_connect_u('x', 'host=/nowhere')",
            "SELECT pipeline_dblink.dblink('host=/nowhere', 'SELECT 1')",
            "SELECT loopback_connection()",
            "SELECT source_items_truncated()",
            "SELECT text_embedding('x')",
        ):
            connection.execute("SET ROLE anon")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(called.encode())
        connection.execute("RESET ROLE")


def test_what_was_given_before_is_taken_at_the_next_install(url: str) -> None:
    with connect(url) as connection, default_privileges(connection):
        for name in MAY_CALL:
            connection.execute(f"GRANT EXECUTE ON FUNCTION {name} TO anon, PUBLIC".encode())
        connection.execute("UPDATE installed_sql SET sha256 = 'of an older release'")
        migrate.upgrade(url)
        assert grantees(connection) == MAY_CALL


def test_what_an_administrator_gave_by_name_stays(url: str, connection: Connection) -> None:
    with role(connection, "report"):
        connection.execute("GRANT EXECUTE ON FUNCTION text_embedding TO report")
        connection.execute("GRANT EXECUTE ON FUNCTION loopback_connection TO report")
        connection.execute("UPDATE installed_sql SET sha256 = 'of an older release'")
        migrate.upgrade(url)
        now = grantees(connection)
    assert "report" in now["text_embedding(text,interval)"]
    assert now["loopback_connection()"] == []


def test_where_anybody_may_create_a_function_none_is_taken_for_postgresqls(
    connection: Connection, mallory: Connection
) -> None:
    """As in the schema public of a database from before PostgreSQL 15."""
    connection.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    for name, result in (
        ("convert_to(text, text)", "bytea"),
        ("octet_length(text)", "integer"),
        ("unnest(text[])", "SETOF text"),
        ("array_position(public.halfvec[], public.halfvec)", "integer"),
        ("now()", "timestamptz"),
        ("items_table(integer, varchar)", "regclass"),
        ("query_key(varchar)", "bytea"),
    ):
        mallory.execute(
            f"""
            CREATE FUNCTION public.{name} RETURNS {result} LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'sprung by %', current_user; END $$
            """.encode()
        )
    connection.execute("SET search_path = public, pg_catalog")
    with pytest.raises(psycopg.Error, match="nobody serves"):
        connection.execute("SELECT text_embedding('x')")
    connection.execute("RESET search_path")
    connection.execute("DROP FUNCTION public.unnest(text[])")  # which the next line calls itself
    add_texts(connection, ["one"])
    connection.execute("UPDATE source_items SET content_ref = 'two'")
    connection.execute("SELECT * FROM ingest_status")
    connection.execute("DELETE FROM source_items")


def test_migrate_refuses_a_schema_in_which_anybody_may_create(empty_url: str) -> None:
    with connect(empty_url) as connection:
        connection.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
        with pytest.raises(DatabaseError, match="every login may create") as caught:
            migrate.upgrade(empty_url)
        cure = re.search(r"REVOKE [^;]*", str(caught.value))
        assert cure
        connection.execute(cure[0].encode())
        migrate.upgrade(empty_url)


def test_doctor_sees_what_migrate_would_refuse(connection: Connection, settings: Settings) -> None:
    assert [c.ok for c in examine(settings) if c.name == "schema"] == [True]
    connection.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    (check,) = [c for c in examine(settings) if c.name == "schema"]
    assert not check.ok
    connection.execute(check.fix.encode())
    assert [c.ok for c in examine(settings) if c.name == "schema"] == [True]


def test_doctor_sees_who_may_call_what_runs_with_its_owners_rights(
    connection: Connection, settings: Settings
) -> None:
    assert [c.ok for c in examine(settings) if c.name == "functions"] == [True]
    with role(connection, "anon"):
        connection.execute("GRANT EXECUTE ON FUNCTION source_items_truncated() TO anon")
        (check,) = [c for c in examine(settings) if c.name == "functions"]
        assert (check.ok, check.found) == (False, "anon may call source_items_truncated()")
        connection.execute(check.fix.encode())
        assert [c.ok for c in examine(settings) if c.name == "functions"] == [True]


def test_doctor_says_whose_dblink_it_is(empty_url: str, settings: Settings) -> None:
    with connect(empty_url) as connection:
        connection.execute("CREATE EXTENSION dblink")  # the application's, before ours
        migrate.upgrade(empty_url)
        space = spaces.create(connection, "fake", FakeEmbedder())
        spaces.activate(connection, space)
        theirs = settings.model_copy(update={"database_url": SecretStr(empty_url)})
        (check,) = [c for c in examine(theirs) if c.name == "dblink"]
        assert (check.ok, "was there before" in check.found) == (True, True)
        with role(connection, "anon"):
            connection.execute("GRANT EXECUTE ON FUNCTION dblink_connect_u(text) TO anon")
            (check,) = [c for c in examine(theirs) if c.name == "dblink"]
            assert (check.ok, "anon" in check.found) == (False, True)
            connection.execute(check.fix.encode())
            assert [c.ok for c in examine(theirs) if c.name == "dblink"] == [True]
