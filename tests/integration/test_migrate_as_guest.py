"""Migrating without being an administrator goes on, and each thing left out is one line to run.

The line is run here as an administrator would run it, and then it is there.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.embedded import EmbeddedServer
from tests.helpers.command import Done, pipeline
from tests.helpers.databases import database_url
from tests.helpers.other_server import own_server

pytestmark = pytest.mark.usefixtures("dblink")  # its absence is one line more
ROLES = ("pipeline_analyst", "pipeline_ingest", "pipeline_owner")
Guest = Callable[..., str]


@pytest.fixture(scope="module")
def bare_server() -> Iterator[EmbeddedServer]:
    with own_server() as server:
        yield server


@pytest.fixture
def admin(bare_server: EmbeddedServer) -> Iterator[Connection]:
    """A superuser; what a test makes goes with it."""
    with connect(bare_server.url()) as connection:
        yield connection
        for name in ("host", "host_app"):
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )
        for role in (*ROLES, "guest"):
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


@pytest.fixture
def host(bare_server: EmbeddedServer, admin: Connection) -> Guest:
    """A function that makes the database of somebody else and a login in it; gives its URL."""

    def make(*, owns: bool = True, vector: bool = True, statements: str = "") -> str:
        admin.execute("CREATE ROLE guest LOGIN")
        admin.execute("CREATE DATABASE host")
        if owns:
            admin.execute("ALTER DATABASE host OWNER TO guest")
        with connect(database_url(bare_server.url(), "host")) as own:
            if vector:
                own.execute("CREATE EXTENSION vector")
            own.execute(statements.encode())
        return database_url(bare_server.url(), "host").replace("user=postgres", "user=guest")

    return make


def run_advice(done: Done, url: str) -> str:
    """Run the one line that an administrator is given, as one; gives the line."""
    (statement,) = re.findall(r"administrator runs: (.+)", done.stderr)
    with connect(url.replace("user=guest", "user=postgres")) as own:
        own.execute(statement.encode())
    return str(statement)


def test_without_createrole_there_are_no_roles_until_an_administrator_makes_them(
    host: Guest, tmp_path: Path
) -> None:
    url = host(statements="CREATE EXTENSION dblink")
    done = pipeline(tmp_path, "migrate", "--no-space", DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    with connect(url) as connection:
        assert connection.execute("SELECT roles FROM installed_sql").fetchone() == (False,)
    line = run_advice(done, url)
    assert all(role in line for role in ROLES)
    done = pipeline(tmp_path, "migrate", "--no-space", DATABASE_URL=url)
    assert (done.returncode, done.stderr) == (0, "")
    with connect(url) as connection:
        assert connection.execute(
            "SELECT has_table_privilege('pipeline_analyst', 'multimodal_items', 'SELECT'), "
            "has_table_privilege('pipeline_ingest', 'ingest_jobs', 'UPDATE')"
        ).fetchone() == (True, True)


@pytest.mark.parametrize("where", ["file", "environment"])
def test_roles_that_are_not_wanted_are_not_made_nor_spoken_of(
    bare_server: EmbeddedServer, admin: Connection, host: Guest, tmp_path: Path, where: str
) -> None:
    url = host(owns=False, statements="CREATE EXTENSION dblink").replace(
        "user=guest", "user=postgres"
    )
    environment = {}
    if where == "file":
        (tmp_path / "pipeline.toml").write_text("roles = false\n")
    else:
        environment = {"PIPELINE_ROLES": "off"}
    done = pipeline(tmp_path, "migrate", "--no-space", DATABASE_URL=url, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert not admin.execute(
        "SELECT FROM pg_roles WHERE rolname = ANY (%s)", (list(ROLES),)
    ).rowcount


def test_who_does_not_own_the_database_goes_on_without_its_defaults(
    host: Guest, tmp_path: Path
) -> None:
    (tmp_path / "pipeline.toml").write_text("roles = false\n")
    url = host(
        owns=False,
        statements="CREATE EXTENSION dblink; GRANT USAGE, CREATE ON SCHEMA public TO guest",
    )
    done = pipeline(tmp_path, "migrate", "--no-space", DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    run_advice(done, url)
    with connect(url) as fresh:
        assert fresh.execute("SHOW hnsw.iterative_scan").fetchone() == ("relaxed_order",)
        assert fresh.execute("SHOW hnsw.ef_search").fetchone() == ("100",)


def test_without_dblink_it_goes_on(host: Guest, tmp_path: Path) -> None:
    (tmp_path / "pipeline.toml").write_text("roles = false\n")
    url = host()
    done = pipeline(tmp_path, "migrate", "--no-space", DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    run_advice(done, url)
    with connect(url) as connection:
        assert connection.execute("SELECT FROM pg_extension WHERE extname = 'dblink'").rowcount == 1


@pytest.mark.parametrize(
    ("missing", "word"),
    [({"vector": False}, "CREATE EXTENSION"), ({"owns": False}, "GRANT USAGE, CREATE ON SCHEMA")],
)
def test_what_it_cannot_do_without_is_said_before_anything_is_done(
    host: Guest, tmp_path: Path, missing: dict[str, bool], word: str
) -> None:
    (tmp_path / "pipeline.toml").write_text("roles = false\n")
    url = host(**missing)
    done = pipeline(tmp_path, "migrate", "--no-space", DATABASE_URL=url)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert word in run_advice(done, url)
    assert pipeline(tmp_path, "migrate", "--no-space", DATABASE_URL=url).returncode == 0


def test_a_closed_schema_is_not_taken_for_one_without_tables(
    bare_server: EmbeddedServer, host: Guest, tmp_path: Path
) -> None:
    url = host(owns=False, statements="REVOKE ALL ON SCHEMA public FROM PUBLIC")
    own = url.replace("user=guest", "user=postgres")
    assert pipeline(tmp_path, "migrate", "--no-space", DATABASE_URL=own).returncode == 0
    done = pipeline(tmp_path, "status", DATABASE_URL=url)
    assert "guest lacks USAGE on the schema public" in done.stderr
    (statement,) = re.findall(r"has it: (.+)", done.stderr)
    with connect(own) as connection:
        connection.execute(statement.encode())
    assert pipeline(tmp_path, "status", DATABASE_URL=url).returncode == 0


def test_a_right_that_a_role_gives_is_given_by_the_line(host: Guest, tmp_path: Path) -> None:
    """With and without the roles: the statement in the message is the cure."""
    url = host(owns=False)
    own = url.replace("user=guest", "user=postgres")
    for roles in ("off", "on"):
        done = pipeline(tmp_path, "migrate", "--no-space", DATABASE_URL=own, PIPELINE_ROLES=roles)
        assert done.returncode == 0, done.stderr
        done = pipeline(tmp_path, "retry", DATABASE_URL=url)
        assert done.returncode == 1
        assert ("pipeline_ingest" in done.stderr) == (roles == "on")
        (statements,) = re.findall(r": (GRANT .+)", done.stderr)
        with connect(own) as connection:
            connection.execute(statements.encode())
        done = pipeline(tmp_path, "retry", DATABASE_URL=url)
        assert "no embedding space is active" in done.stderr  # beyond the rights, that is
        with connect(own) as connection, connection.transaction():
            connection.execute("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM guest")
    with pytest.raises(psycopg.errors.InsufficientPrivilege), connect(url) as connection:
        connection.execute("UPDATE embedding_spaces SET state = 'retired'")
