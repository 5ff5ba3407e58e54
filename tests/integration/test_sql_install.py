"""The files of sql/ as every migrate installs them: all, when their text changed, and only ours."""

import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect, fetch_one
from pipeline.postgres.migrate import Migrated
from pipeline.postgres.schema import is_current
from tests.helpers.catalog import everything

ROOT = Path(__file__).parents[2]
AGAIN = Migrated(installed=True)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of sql/ that is installed instead of it, for a test to change."""
    copy = tmp_path / "sql"
    shutil.copytree(ROOT / "sql", copy)
    monkeypatch.setattr("pipeline.postgres.sql_files.carried", lambda _: copy)
    return copy


def add(files: Path, text: str) -> Path:
    """One more file of functions, as a release brings it."""
    file = files / "functions" / "more.sql"
    file.write_text(text)
    return file


MORE = "CREATE OR REPLACE FUNCTION @schema@.more({}) RETURNS integer LANGUAGE sql RETURN {};"


def functions(connection: Connection, name: str = "more") -> list[str]:
    rows = connection.execute(
        "SELECT pg_get_function_arguments(oid) FROM pg_proc "
        "WHERE proname = %s AND pronamespace = current_schema()::regnamespace ORDER BY 1",
        (name,),
    ).fetchall()
    return [arguments for (arguments,) in rows]


# what is there after an installation


def test_what_runs_with_its_owners_rights_is_not_for_everybody(connection: Connection) -> None:
    """Trigger functions neither: who may make a trigger of one could feed it his own rows."""
    found = connection.execute(
        """
        SELECT oid::regprocedure::text, proconfig @> '{"search_path=pg_catalog, pg_temp"}',
               has_function_privilege('public', oid, 'EXECUTE')
        FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND prosecdef
          AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
        """
    ).fetchall()
    assert len(found) >= 12
    assert [row for row in found if row[1:] != (True, False)] == []


def test_every_routine_is_bound_to_its_names_but_procedures_that_commit(
    connection: Connection,
) -> None:
    """By a fixed search path, or by a body that was read when it was installed."""
    found = connection.execute(
        """
        SELECT proname FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND prosqlbody IS NULL
          AND NOT coalesce(proconfig @> '{"search_path=pg_catalog, pg_temp"}', false)
          AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
        ORDER BY proname
        """
    ).fetchall()
    # The expressions of attach_source() are read with its caller's path.
    assert [name for (name,) in found] == [
        "attach_source",
        "backfill_source",
        *["content_text"] * 3,
        *["elements_of"] * 5,
        "embed_queries",
        "embed_query",
    ]


def test_another_schema_than_public_works_and_so_does_an_odd_name(
    empty_url: str,
) -> None:
    with connect(empty_url) as connection:
        connection.execute('CREATE SCHEMA "My Shop"; CREATE SCHEMA ext')
        connection.execute("CREATE EXTENSION vector SCHEMA ext")
    migrate.upgrade(empty_url, schema="My Shop")
    with connect(empty_url, schema="My Shop") as connection:
        (path,) = fetch_one(connection.execute("SHOW search_path"))
        connection.execute("SET search_path = nowhere")
        for view in ("ingest_status", "space_status", "unsupported_source_items", "item_catalog"):
            row = connection.execute(f'SELECT count(*) FROM "My Shop".{view}').fetchone()
            assert row == (0,)
        with pytest.raises(Exception, match="no embedding space is active"):
            connection.execute("""SELECT "My Shop".search_items('x')""")
        connection.execute("SELECT set_config('search_path', %s, false)", (path,))
        insert = "INSERT INTO source_items (source, source_key, modality, content_ref) VALUES "
        connection.execute(insert + "('a', 'b', 'text', 'c')")
        connection.execute("DELETE FROM source_items")
    migrate.downgrade(empty_url, "base", schema="My Shop")
    with connect(empty_url, schema="My Shop") as connection:
        assert everything(connection) == []


@pytest.mark.parametrize("name", ["a'b", 'a"b', "a$b", "a%b", "a\\b"])
def test_a_schema_whose_name_would_end_a_quote_is_refused(empty_url: str, name: str) -> None:
    with connect(empty_url) as connection:
        connection.execute("CREATE EXTENSION vector")
    with pytest.raises(ConfigurationError, match="use another schema"):
        migrate.upgrade(empty_url, schema=name)


def test_a_schema_that_was_renamed_is_named_anew(url: str, connection: Connection) -> None:
    with connect(url) as other:
        other.execute("ALTER SCHEMA public RENAME TO shop")
    with pytest.raises(
        ConfigurationError, match="are in the schema shop; set PIPELINE_SCHEMA=shop"
    ):
        migrate.upgrade(url)
    assert migrate.upgrade(url, schema="shop") == AGAIN
    with connect(url, schema="shop") as other:
        other.execute("SELECT * FROM ingest_status")
        other.execute(
            "INSERT INTO source_items (source, source_key, modality, content_ref) "
            "VALUES ('a', 'b', 'text', 'c')"
        )


# a text that changed


def test_a_changed_function_comes_without_a_migration(
    url: str, connection: Connection, files: Path
) -> None:
    add(files, MORE.format("", "1"))
    assert migrate.upgrade(url) == AGAIN
    assert connection.execute("SELECT more()").fetchone() == (1,)
    assert not is_current_of_release(connection, files)
    add(files, MORE.format("", "2"))
    assert migrate.upgrade(url) == AGAIN
    assert connection.execute("SELECT more()").fetchone() == (2,)
    assert migrate.upgrade(url) == Migrated()


def is_current_of_release(connection: Connection, files: Path) -> bool:
    """What a release without the additional file says of the database."""
    hidden = (files / "functions" / "more.sql").rename(files / "more.sql")
    found = is_current(connection)
    hidden.rename(files / "functions" / "more.sql")
    return found


def test_nothing_is_executed_where_nothing_changed(url: str, connection: Connection) -> None:
    state = (
        "SELECT (SELECT array_agg((oid, xmin) ORDER BY oid) FROM pg_proc), "
        "(SELECT array_agg((oid, xmin) ORDER BY oid) FROM pg_class), "
        "(SELECT (xmin, sha256) FROM installed_sql)"
    )
    before = connection.execute(state).fetchone()
    assert migrate.upgrade(url) == Migrated()
    assert connection.execute(state).fetchone() == before


def test_what_was_installed_is_recorded(connection: Connection) -> None:
    row = connection.execute(
        "SELECT version, roles, objects, installed_at > now() - interval '1 h' FROM installed_sql"
    ).fetchone()
    assert row is not None
    version, roles, objects, is_recent = row
    assert (version, roles, is_recent) == ("0.1.0", True, True)
    assert {
        "function @schema@.query_key(pg_catalog.text)",
        "procedure @schema@.embed_query(pg_catalog.text,interval)",
        "trigger source_items_inserted on @schema@.source_items",
        "view @schema@.item_catalog",
    } <= set(objects)


def test_a_function_that_went_or_takes_other_arguments_is_dropped_and_a_users_stays(
    url: str, connection: Connection, files: Path
) -> None:
    connection.execute("CREATE FUNCTION more(text) RETURNS integer LANGUAGE sql RETURN 0")
    add(files, MORE.format("a integer", "1"))
    migrate.upgrade(url)
    assert functions(connection) == ["a integer", "text"]
    file = add(files, MORE.format("a integer, b integer DEFAULT 0", "2"))
    migrate.upgrade(url)
    assert functions(connection) == ["a integer, b integer DEFAULT 0", "text"]
    file.unlink()
    migrate.upgrade(url)
    assert functions(connection) == ["text"]


def test_one_that_a_users_view_needs_goes_once_the_view_is_gone(
    url: str, connection: Connection, files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = add(files, MORE.format("", "1"))
    migrate.upgrade(url)
    connection.execute("CREATE VIEW mine AS SELECT more() AS n")
    file.unlink()
    with caplog.at_level(logging.WARNING):
        assert migrate.upgrade(url) == AGAIN
    assert "public.mine depends on function public.more()" in caplog.text
    assert connection.execute("SELECT n FROM mine").fetchone() == (1,)
    connection.execute("DROP VIEW mine")
    add(files, "-- Another text.")
    migrate.upgrade(url)
    assert functions(connection) == []


def test_a_users_view_on_ours_survives(url: str, connection: Connection, files: Path) -> None:
    connection.execute("CREATE VIEW far AS SELECT space, pending FROM ingest_status")
    view = files / "schema" / "views" / "ingest_status.sql"
    view.write_text(view.read_text().replace("AS per_minute\n", "AS per_minute, 1 AS one\n"))
    assert migrate.upgrade(url) == AGAIN
    row = connection.execute("SELECT one FROM ingest_status LIMIT 1").fetchone()
    assert row == (1,)
    assert connection.execute("SELECT count(*) FROM far").fetchone() == (2,)


def test_a_users_function_of_our_name_and_arguments_is_not_replaced(empty_url: str) -> None:
    with connect(empty_url) as connection:
        connection.execute("CREATE FUNCTION query_key(query text) RETURNS bytea LANGUAGE sql "
                           "RETURN 'mine'::bytea")  # fmt: skip
        before = everything(connection)
        with pytest.raises(DatabaseError, match=r"query_key.* was there already and is not the"):
            migrate.upgrade(empty_url)
        assert everything(connection) == before
        connection.execute("DROP FUNCTION query_key(text)")
    migrate.upgrade(empty_url)


def test_where_the_record_is_lost_all_is_installed_again(url: str, connection: Connection) -> None:
    before = everything(connection)
    connection.execute("DELETE FROM installed_sql")
    assert migrate.upgrade(url) == AGAIN
    assert everything(connection) == before
    assert migrate.upgrade(url) == Migrated()


def test_a_statement_that_is_refused_leaves_all_as_it_was_and_names_its_file(
    url: str, connection: Connection, files: Path
) -> None:
    before = everything(connection)
    (files / "functions" / "aaa.sql").write_text(MORE.format("", "1"))
    add(files, "CREATE VIEW @schema@.none AS SELECT * FROM @schema@.no_such_table;")
    with pytest.raises(DatabaseError, match=r"refuses sql/functions/more\.sql: .*no_such"):
        migrate.upgrade(url)
    assert everything(connection) == before


def test_words_are_indexed_anew_where_what_they_are_made_of_changed(
    url: str, connection: Connection, files: Path
) -> None:
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref, metadata) VALUES "
        """('a', 'b', 'text', 'a bicycle', '{"colour": "red"}')"""
    )
    connection.execute("SET enable_seqscan = off")

    def found(word: str) -> bool:
        row = connection.execute(
            "SELECT count(*) FROM source_items "
            "WHERE item_document(modality, content_ref, metadata) @@ to_tsquery('english', %s)",
            (word,),
        ).fetchone()
        return row == (1,)

    assert (found("bicycle"), found("red")) == (True, False)
    index = "SELECT 'source_items_document'::regclass::oid"
    before = connection.execute(index).fetchone()
    add(files, MORE.format("", "1"))
    migrate.upgrade(url)
    assert connection.execute(index).fetchone() == before
    words = files / "functions" / "full_text.sql"
    words.write_text(words.read_text().replace("metadata ->> 'tags'", "metadata ->> 'colour'", 1))
    migrate.upgrade(url)
    assert connection.execute(index).fetchone() != before
    assert (found("bicycle"), found("red")) == (True, True)


# the database's settings, and the roles


def hnsw_settings(connection: Connection) -> list[str]:
    return [line for line in everything(connection) if line.startswith("setting")]


def test_what_somebody_has_set_for_the_database_stands(empty_url: str) -> None:
    with connect(empty_url) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("SELECT '[1]'::vector")
        database = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("ALTER DATABASE {} SET hnsw.ef_search = 40").format(database))
        migrate.upgrade(empty_url)
        expected = ["setting hnsw.ef_search=40", "setting hnsw.iterative_scan=relaxed_order"]
        assert hnsw_settings(connection) == expected
        migrate.downgrade(empty_url, "base")
        assert hnsw_settings(connection) == expected[:1]


@pytest.fixture
def guest_url(empty_url: str) -> Iterator[str]:
    """As a login that may create in the schema and nothing else."""
    with connect(empty_url) as admin:
        admin.execute("CREATE EXTENSION vector")
        admin.execute("CREATE ROLE guest LOGIN")
        admin.execute("GRANT CREATE ON SCHEMA public TO guest")
        yield empty_url.replace("user=postgres", "user=guest")
        admin.execute("DROP OWNED BY guest")
        admin.execute("DROP ROLE guest")


def test_a_login_that_may_create_in_the_schema_alone_migrates_with_a_warning(
    guest_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.postgres.schema.ROLES", ("nobody_has_this_one",))
    with caplog.at_level(logging.WARNING):
        assert migrate.upgrade(guest_url).installed
        assert "administrator runs: CREATE ROLE nobody_has_this_one" in caplog.text
        caplog.clear()
        assert migrate.upgrade(guest_url) == Migrated()
        assert caplog.text == ""
    with connect(guest_url) as connection:
        assert connection.execute("SELECT roles FROM installed_sql").fetchone() == (False,)
        assert is_current(connection)
        assert hnsw_settings(connection) == []  # those are the database's owner's to set
        migrate.downgrade(guest_url, "base")
        assert everything(connection) == []


def test_roles_that_are_there_are_used_by_who_may_make_none(guest_url: str, template: str) -> None:
    """``template`` is another database of the server, which has made them."""
    assert migrate.upgrade(guest_url).installed
    with connect(guest_url) as connection:
        assert connection.execute("SELECT roles FROM installed_sql").fetchone() == (True,)


def test_roles_can_be_switched_off_and_on(empty_url: str) -> None:
    def granted() -> bool:
        with connect(empty_url) as connection:
            return any("pipeline_" in line.split(":")[0] for line in everything(connection)
                       if line.startswith("rights"))  # fmt: skip

    migrate.upgrade(empty_url, roles=False)
    assert not granted()
    assert migrate.upgrade(empty_url, roles=True) == AGAIN
    assert granted()
    migrate.upgrade(empty_url, roles=False)
    with connect(empty_url) as connection:
        assert functions(connection, "grant_items_table") == []
        assert re.search("pipeline_analyst", "".join(everything(connection)))  # given is given


def test_a_right_that_was_taken_from_a_role_is_not_given_back(
    url: str, connection: Connection, files: Path
) -> None:
    """Neither by a changed function nor by a further right; a paragraph that changed gives anew."""

    def may(relation: str) -> bool:
        row = connection.execute(
            "SELECT has_table_privilege('pipeline_analyst', %s, 'SELECT')", (relation,)
        ).fetchone()
        assert row is not None
        return bool(row[0])

    connection.execute("REVOKE SELECT ON ingest_failures, ingest_status FROM pipeline_analyst")
    add(files, MORE.format("", "1"))
    grants = files / "schema" / "grants.sql"
    text = grants.read_text()
    grants.write_text(text + "\n\nGRANT SELECT ON @schema@.media_roots TO pipeline_analyst;\n")
    assert migrate.upgrade(url) == AGAIN
    assert (may("ingest_failures"), may("item_catalog"), may("media_roots")) == (False, True, True)
    grants.write_text(
        text.replace("    @schema@.ingest_failures,", "    @schema@.ingest_failures ,")
    )
    assert migrate.upgrade(url) == AGAIN
    assert may("ingest_failures")


def test_roles_that_a_restored_database_lacks_are_made_and_given_their_rights(
    url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute("REVOKE SELECT ON item_catalog FROM pipeline_analyst")
    assert migrate.upgrade(url) == Migrated()
    monkeypatch.setattr("pipeline.postgres.schema.ROLES", ("not_restored",))
    assert migrate.upgrade(url) == AGAIN
    assert connection.execute(
        "SELECT has_table_privilege('pipeline_analyst', 'item_catalog', 'SELECT')"
    ).fetchone() == (True,)


@pytest.mark.parametrize(
    "command",
    [["alembic", "upgrade", "head"], ["pipeline.cli", "migrate", "--no-space"]],
    ids=lambda command: command[0],
)
def test_the_settings_file_says_whether_there_are_roles(
    empty_url: str, tmp_path: Path, command: list[str]
) -> None:
    file = tmp_path / "pipeline.toml"
    file.write_text("roles = false")
    subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={"DATABASE_URL": empty_url, "PIPELINE_CONFIG": str(file), "PATH": "/usr/bin:/bin"},
        check=True,
    )
    with connect(empty_url) as connection:
        assert connection.execute("SELECT roles FROM installed_sql").fetchone() == (False,)
        assert functions(connection, "grant_items_table") == []
