"""Real PostgreSQL for every test that asks for it: one embedded server per run, and a copy of a
migrated template database per test."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from pipeline import spaces
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.command import demo, run
from tests.helpers.databases import database_url, has_dblink
from tests.helpers.fakes import FakeEmbedder
from tests.helpers.folders import server_folder
from tests.helpers.other_server import VARIABLE, server_in

# No setting of the person who runs the tests reaches them.
for name in [name for name in os.environ if name.startswith(("PIPELINE_", "DATABASE_URL", "PG"))]:
    del os.environ[name]
# As in every command: the models of several workers on few cores would spin for each other.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """The embedded PostgreSQL, in a home of its own under the temporary folder.

    Or another server, see ``tests/helpers/other_server.py``.
    """
    home = server_folder("tests")
    home.chmod(0o755)
    server = server_in(home / "home")
    server.start()
    with connect(server.url()) as admin:
        # Nothing of this server outlives the run; the tests of crashes start servers of their own.
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            admin.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
        admin.execute("SELECT pg_reload_conf()")
    yield server
    server.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def dblink(server: EmbeddedServer) -> None:
    """Not where the server has no dblink."""
    if not has_dblink(server.url()):
        pytest.skip("this server has no dblink")


@pytest.fixture(scope="session")
def template(server: EmbeddedServer) -> str:
    """A migrated database with one active space, that of ``FakeEmbedder``; copied per test."""
    with connect(server.url()) as admin:
        admin.execute("CREATE DATABASE template_migrated")
    url = database_url(server.url(), "template_migrated")
    migrate.upgrade(url, old_pgvector=True)  # TEST_POSTGRES may have one
    with connect(url) as connection:
        space = spaces.create(connection, "fake", FakeEmbedder())
        spaces.activate(connection, space)
    return "template_migrated"


@pytest.fixture
def new_database(server: EmbeddedServer) -> Iterator[Callable[..., str]]:
    """A function that makes an empty database (or a copy of a template) and gives its URL."""
    made: list[str] = []

    def make(template: str = "template1") -> str:
        name = f"test_{uuid.uuid4().hex[:12]}"
        with connect(server.url()) as admin:
            admin.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
            if template != "template1":
                # Settings of a database are not copied with it.
                admin.execute(
                    sql.SQL("ALTER DATABASE {} SET hnsw.iterative_scan = 'relaxed_order'").format(
                        sql.Identifier(name)
                    )
                )
                admin.execute(
                    sql.SQL("ALTER DATABASE {} SET hnsw.ef_search = '100'").format(
                        sql.Identifier(name)
                    )
                )
        made.append(name)
        return database_url(server.url(), name)

    yield make
    with connect(server.url()) as admin:
        for name in made:
            admin.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


@pytest.fixture
def empty_url(new_database: Callable[..., str]) -> str:
    """A database with nothing in it."""
    return new_database()


@pytest.fixture
def url(new_database: Callable[..., str], template: str) -> str:
    """A migrated database with the fake embedder's space active."""
    return new_database(template)


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    with connect(url) as connection:
        yield connection


@pytest.fixture
def space(connection: Connection) -> Space:
    return spaces.active_space(connection)


@pytest.fixture
def settings_of(tmp_path: Path) -> Callable[..., Settings]:
    """Makes settings that point at a database; quick back-offs and polls."""

    def make(url: str, **others: Any) -> Settings:
        return Settings.load(
            database_url=url,
            home=tmp_path / "home",
            media_roots=(tmp_path,),
            backoff_seconds=0.05,
            backoff_max_seconds=0.2,
            poll_seconds=0.2,
            sweep_seconds=0.2,
            batch_size=16,
            claim_size=64,
            load_workers=4,
            **others,
        )

    return make


@pytest.fixture
def settings(url: str, settings_of: Callable[..., Settings]) -> Settings:
    """Settings that point at the test's database."""
    return settings_of(url)


def pytest_report_header() -> str:
    versions = [f"psycopg {psycopg.__version__}", f"libpq {psycopg.pq.version()}"]
    database = os.environ.get(VARIABLE, "embedded PostgreSQL")
    return f"database: {database}, " + ", ".join(versions)


__all__ = ["demo", "run"]  # fixtures
