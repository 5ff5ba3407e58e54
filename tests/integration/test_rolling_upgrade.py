"""A release on the schema of the one before, and a schema upgraded with all that is in it.

(Schemas from before the migrations were folded: test_adoption.py.)
"""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from pipeline import spaces
from pipeline.doctor.examination import examine
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect, libpq_url
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.search.announcement import LOCK_CLASS
from pipeline.settings import Settings
from tests.helpers.catalog import everything
from tests.helpers.command import pipeline
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.spaces import fill
from tests.integration.test_serve import assert_is_vector_of, embedding, serving

DATA = Path(__file__).parent / "data"


def restore_old(server: EmbeddedServer, url: str) -> None:
    """As an older release left a database: an active space, one that is building, jobs, a query."""
    program = [server.binary("psql"), "-Xqo", "/dev/null", "-v", "ON_ERROR_STOP=1"]
    subprocess.run([*program, "-f", DATA / "pipeline_0006.sql", libpq_url(url)], check=True)


@pytest.fixture
def old_url(server: EmbeddedServer, empty_url: str) -> str:
    restore_old(server, empty_url)
    return empty_url


@pytest.fixture
def old(old_url: str) -> Iterator[Connection]:
    with connect(old_url) as connection:
        yield connection


def rows(connection: Connection, query: str) -> list[tuple[object, ...]]:
    return connection.execute(query.encode()).fetchall()


@pytest.mark.parametrize("command", ["ingest", "status", "serve", "sync", "search x"])
def test_on_an_older_schema_a_command_says_what_to_do(
    old_url: str, tmp_path: Path, command: str
) -> None:
    done = pipeline(tmp_path, *command.split(), DATABASE_URL=old_url)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert "the database is at revision pipeline_0006_installed_sql" in line
    assert line.endswith("run `pipeline migrate`")


def test_everything_is_kept_and_works_after_the_upgrade(
    old_url: str, old: Connection, settings: Settings
) -> None:
    kept = (
        "SELECT id, source, source_key, modality, content_ref, metadata, created_at, updated_at "
        "FROM source_items ORDER BY id",
        "SELECT space_id, source_id, state, attempts, error_code, error, run_after, leased_until, "
        "worker, version FROM ingest_jobs ORDER BY 1, 2",
        "SELECT id, source_id, part, modality, content_ref, metadata, space_id, content_sha256, "
        "embedding, embedded_at FROM multimodal_items ORDER BY id",
        "SELECT query FROM query_embeddings",
    )
    before = [rows(old, query) for query in kept]
    migrate.upgrade(old_url)
    assert [rows(old, query) for query in kept] == before
    assert_is_vector_of(embedding(old, "asked"), "asked")
    with serving(old_url):
        assert_is_vector_of(embedding(old, "new"), "new")
    settings = settings.model_copy(update={"database_url": type(settings.database_url)(old_url)})
    fill(settings, spaces.active_space(old), FakeEmbedder())
    assert ("waits",) in rows(old, "SELECT content_ref FROM multimodal_items")
    add_texts(old, ["new"], source="new")
    assert len(rows(old, "SELECT FROM ingest_jobs WHERE state = 'pending'")) == 6
    ours = {"migrations", "installed SQL", "schema", "functions", "dblink", "missed changes"}
    assert {c.name for c in examine(settings) if c.ok} >= ours


def test_it_is_then_as_a_new_one(
    old_url: str, old: Connection, new_database: Callable[[], str]
) -> None:
    migrate.upgrade(old_url)
    fresh_url = new_database()
    migrate.upgrade(fresh_url)
    with connect(fresh_url) as fresh:
        # Spaces that are there keep their graph.
        graph = {"hnsw_m": 16, "hnsw_ef_construction": 64}
        spaces.activate(fresh, spaces.create(fresh, "fake", FakeEmbedder(), **graph))
        spaces.create(fresh, "second", FakeEmbedder(12))
        assert everything(old) == everything(fresh)


def test_a_schema_of_a_later_release_is_not_refused(url: str, tmp_path: Path) -> None:
    with connect(url) as connection:
        connection.execute(
            "UPDATE pipeline_alembic_version SET version_num = 'pipeline_9999_later'"
        )
    assert pipeline(tmp_path, "status", DATABASE_URL=url).returncode == 0


def test_a_server_of_the_release_before_goes_on(
    url: str, connection: Connection, space: spaces.Space
) -> None:
    """It holds a lock by the space's number, and has no row of query_servers."""
    served = f"SELECT is_served({space.id})"
    assert rows(connection, served) == [(False,)]
    with connect(url) as older:
        older.execute("SELECT pg_advisory_lock_shared(%s, %s)", (LOCK_CLASS, space.id))
        assert rows(connection, served) == [(True,)]
        with pytest.raises(psycopg.Error, match="no vector for the query within"):
            embedding(connection, "new", timeout="0 s")  # it was asked
