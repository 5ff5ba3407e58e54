"""``pipeline db dump`` and ``pipeline db restore``: whole or not at all, and what no dump holds."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.doctor.examination import examine
from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.database import Database
from pipeline.postgres.dumps import programs
from pipeline.postgres.dumps.archive import Archive
from pipeline.postgres.dumps.dumping import dump
from pipeline.postgres.dumps.programs import client_programs
from pipeline.postgres.dumps.restoring import restore
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.settings import Settings
from tests.helpers.command import pipeline
from tests.helpers.databases import role
from tests.helpers.processes import wait_until
from tests.helpers.tcp_server import PASSWORD, tcp_server, tcp_url
from tests.integration.test_dump_and_restore import assert_works, counts, filled
from tests.integration.test_serve import assert_is_vector_of, embedding, serving

__all__ = ["filled"]  # a fixture


@contextmanager
def running(folder: Path, url: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """The command, to be interrupted."""
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        cwd=folder,
        env={**os.environ, "DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def no_progress(name: str, done: int, total: int) -> None:
    assert 0 <= done <= total, name


def waits_for_us(connection: Connection) -> bool:
    found = connection.execute(
        "SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    )
    return found.rowcount > 0


def has_nothing(connection: Connection) -> bool:
    query = "SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    extensions = "SELECT FROM pg_extension WHERE extname <> 'plpgsql'"
    return connection.execute(query).rowcount == connection.execute(extensions).rowcount == 0


def test_a_restored_database_is_what_it_was_and_its_settings_too(
    connection: Connection, url: str, filled: Settings, empty_url: str, tmp_path: Path
) -> None:
    name = connection.info.dbname
    connection.execute(f"ALTER DATABASE {name} SET hnsw.ef_search = 150".encode())
    connection.execute(f"ALTER DATABASE {name} SET search_path = app, public".encode())
    connection.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC".encode())
    dumped = pipeline(tmp_path, "db", "dump", "all.dump", "--json", DATABASE_URL=url)
    assert dumped.returncode == 0, dumped.stderr
    said = json.loads(dumped.stdout)
    assert (said["file"], said["database"]) == ("all.dump", name)
    assert said["size"] == (tmp_path / "all.dump").stat().st_size
    assert set(said["extensions"]) >= {"vector"}
    assert [path.name for path in tmp_path.iterdir()] == ["all.dump"]
    assert (tmp_path / "all.dump").stat().st_mode & 0o777 == 0o600

    done = pipeline(tmp_path, "db", "restore", "all.dump", DATABASE_URL=empty_url)
    assert done.returncode == 0, done.stderr
    with connect(empty_url, schema=None) as copy:
        restored = copy.info.dbname
        settings = copy.execute(
            "SELECT unnest(setconfig) FROM pg_db_role_setting JOIN pg_database AS d "
            "ON d.oid = setdatabase WHERE datname = %s ORDER BY 1",
            (restored,),
        ).fetchall()
    assert [setting for (setting,) in settings] == [
        "hnsw.ef_search=150",
        "hnsw.iterative_scan=relaxed_order",
        "search_path=app, public",
    ]
    assert f"is meant here: REVOKE CONNECT,TEMPORARY ON DATABASE {restored} FROM" in done.stdout
    assert done.stderr.splitlines()[-2:] == [
        "restoring: functions, roles and rights",
        "restoring: statistics",
    ]
    expected = counts(connection)
    settings_there = filled.model_copy(
        update={"database_url": type(filled.database_url)(empty_url)}  # type: ignore[misc]
    )
    connection.execute(f"GRANT CONNECT ON DATABASE {name} TO PUBLIC".encode())
    wrong = [{c.name for c in examine(there) if not c.ok} for there in (settings_there, filled)]
    assert wrong[0] == wrong[1]
    assert_works(empty_url, filled, expected)
    with connect(empty_url) as copy, serving(empty_url):
        assert_is_vector_of(embedding(copy, "new"), "new")


def test_what_is_there_is_not_overwritten(
    url: str, connection: Connection, empty_url: str, tmp_path: Path
) -> None:
    there, good = tmp_path / "there.dump", tmp_path / "good.dump"
    there.write_text("a letter")
    with pytest.raises(ConfigurationError, match=r"there\.dump is there already"):
        dump(url, there, no_progress)
    with pytest.raises(ConfigurationError, match=r"there\.dump is no dump that can be read here"):
        restore(Database(empty_url), there, no_progress)
    assert there.read_text() == "a letter"
    away = pipeline(tmp_path, "db", "dump", "x", DATABASE_URL="postgresql://u@127.0.0.1:1/x")
    assert (away.returncode, "no PostgreSQL answers" in away.stderr) == (75, True)

    dump(url, good, no_progress)
    before = connection.execute("SELECT count(*) FROM pg_class").fetchone()
    with pytest.raises(DatabaseError, match=r"has something in it already \(table "):
        restore(Database(url), good, no_progress)
    assert connection.execute("SELECT count(*) FROM pg_class").fetchone() == before

    whole = good.read_bytes()
    there.write_bytes(whole[: len(whole) - 100])
    with pytest.raises(DatabaseError, match="pg_restore failed: "):
        restore(Database(empty_url), there, no_progress)
    with connect(empty_url, schema=None) as copy:
        assert has_nothing(copy)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_who_is_killed_while_dumping_leaves_no_file_by_that_name(
    url: str, connection: Connection, tmp_path: Path, number: signal.Signals
) -> None:
    with running(tmp_path, url, "db", "dump", "all.dump") as process, connection.transaction():
        connection.execute("LOCK TABLE source_items")
        wait_until(lambda: waits_for_us(connection), "pg_dump")
        process.send_signal(number)
        assert process.wait(30) == (-number if number == signal.SIGKILL else 1)
        wait_until(lambda: not waits_for_us(connection), "the end of pg_dump")
    assert not (tmp_path / "all.dump").exists()
    assert len(list(tmp_path.iterdir())) == (number == signal.SIGKILL)
    done = pipeline(tmp_path, "db", "dump", "all.dump", DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["all.dump"]


def test_who_is_killed_while_restoring_leaves_the_database_as_it_was(
    url: str, filled: Settings, empty_url: str, tmp_path: Path
) -> None:
    dump(url, tmp_path / "all.dump", no_progress)
    with connect(empty_url, schema=None) as theirs:
        theirs.execute(  # beside what is restored, and stops it at its first index
            """
            CREATE SCHEMA theirs;
            CREATE FUNCTION theirs.wait() RETURNS event_trigger LANGUAGE plpgsql AS $$
            BEGIN PERFORM pg_advisory_xact_lock(1); END $$;
            CREATE EVENT TRIGGER theirs ON ddl_command_end WHEN TAG IN ('CREATE INDEX')
            EXECUTE FUNCTION theirs.wait();
            SELECT pg_advisory_lock(1)
            """
        )
        with running(tmp_path, empty_url, "db", "restore", "all.dump") as process:
            wait_until(lambda: waits_for_us(theirs), "pg_restore")
            process.kill()
            process.wait(30)
        wait_until(lambda: not waits_for_us(theirs), "the end of pg_restore")
        assert has_nothing(theirs)
        theirs.execute("SELECT pg_advisory_unlock(1)")
        restore(Database(empty_url), tmp_path / "all.dump", no_progress)
        theirs.execute("DROP EVENT TRIGGER theirs; DROP SCHEMA theirs CASCADE")
    with connect(url) as connection:
        assert_works(empty_url, filled, counts(connection))


def test_into_a_server_of_others_by_a_login_that_is_no_superuser(
    server: EmbeddedServer, url: str, connection: Connection, filled: Settings, tmp_path: Path
) -> None:
    with role(connection, "a_reader", "NOLOGIN") as reader:
        connection.execute(f"GRANT SELECT ON app.products TO {reader}".encode())
        dump(url, tmp_path / "all.dump", no_progress)
        expected = counts(connection)
    with tcp_server(server) as port:
        target = tcp_url(port, "app", "app")

        def restored() -> tuple[int, str]:
            done = pipeline(tmp_path, "db", "restore", "all.dump", DATABASE_URL=target)
            assert PASSWORD not in done.stdout + done.stderr
            return done.returncode, done.stdout + done.stderr

        code, said = restored()
        assert code == 1
        assert "CREATE ROLE a_reader NOLOGIN; CREATE ROLE pipeline_analyst NOLOGIN" in said
        with connect(tcp_url(port, "admin", "app"), schema=None) as admin:
            assert admin.execute("SELECT FROM pg_tables WHERE schemaname = 'public'").rowcount == 0
            admin.execute("CREATE ROLE a_reader NOLOGIN; ALTER ROLE app CREATEROLE")
            code, said = restored()
            assert code == 0, said
            assert "belongs to app here" in said
            assert "without the extension dblink" in said
            may = "SELECT has_table_privilege('a_reader', 'app.products', 'SELECT')"
            assert admin.execute(may).fetchone() == (True,)
            owners = admin.execute(
                "SELECT DISTINCT pg_get_userbyid(relowner)::text FROM pg_class "
                "WHERE relnamespace IN ('public'::regnamespace, 'app'::regnamespace)"
            ).fetchall()
            assert owners == [("app",)]
        with connect(target) as copy:
            assert counts(copy) == expected
            found = copy.execute("SELECT content_ref FROM search_items('one', k => 1)").fetchall()
            assert found == [("one",)]
            assert_is_vector_of(embedding(copy, "one"), "one")


def test_a_superuser_takes_over_nothing_of_others(
    server: EmbeddedServer, new_database: Callable[..., str], tmp_path: Path
) -> None:
    source, target = new_database(), new_database()
    with connect(source, schema=None) as connection:
        with role(connection, "shopkeeper_of_old", "NOLOGIN") as owner:
            connection.execute("CREATE TABLE public.theirs AS SELECT 1 AS n")
            connection.execute(f"ALTER TABLE public.theirs OWNER TO {owner}".encode())
            dump(source, tmp_path / "x", no_progress)
        with pytest.raises(DatabaseError, match="CREATE ROLE shopkeeper_of_old NOLOGIN"):
            restore(Database(target), tmp_path / "x", no_progress)
        with role(connection, "shopkeeper_of_old", "NOLOGIN"), connect(target) as copy:
            done = restore(Database(target), tmp_path / "x", no_progress)
            assert (done.owner, done.tables, done.left_out) == (None, 1, [])
            assert copy.execute("SELECT n FROM theirs").fetchall() == [(1,)]
            copy.execute("DROP OWNED BY shopkeeper_of_old")


def test_who_is_named_in_grants_and_policies_is_known_before(
    server: EmbeddedServer, connection: Connection, empty_url: str, tmp_path: Path
) -> None:
    with (
        connect(empty_url, schema=None) as source,
        role(source, "ann", "NOLOGIN"),
        role(source, "ben", "NOLOGIN"),
        role(source, "cat", "NOLOGIN"),
    ):
        source.execute(
            """
            CREATE TABLE public.t (n int);
            GRANT SELECT ON public.t TO ann WITH GRANT OPTION;
            ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT INSERT ON TABLES TO ben;
            CREATE POLICY p ON public.t FOR SELECT TO cat, ann USING (n > 1);
            COMMENT ON TABLE public.t IS 'GRANT ALL ON t TO nobody_at_all;'
            """
        )
        file = tmp_path / "x"
        dump(empty_url, file, no_progress)
        archive = Archive.read(file, client_programs("pg_restore", 18))
        source.execute("DROP OWNED BY ann, ben, cat CASCADE")
    assert archive.roles == {"ann", "ben", "cat", "postgres"}
    assert archive.owners == {"postgres"}
    assert archive.schemas == {"public"}


def test_the_program_of_the_servers_own_version_comes_first_and_older_ones_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for major in (14, 16, 17):
        path = tmp_path / str(major) / "bin" / "pg_dump"
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {major}.4 (Debian {major}.4-1)'\n")
        path.chmod(0o755)
    monkeypatch.setattr(programs, "_DEBIANS", tmp_path)
    monkeypatch.setenv("PATH", "/nonexistent:/bin")
    assert [p.major for p in client_programs("pg_dump", 16)][:2] == [16, 17]
    with pytest.raises(DatabaseError, match="pg_dump of PostgreSQL 99 or newer is needed"):
        client_programs("pg_dump", 99)
