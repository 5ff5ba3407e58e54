"""What a policy of the application's hides from a login of ours is not taken for gone."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pipeline import spaces
from pipeline.doctor.check import Check
from pipeline.doctor.examination import examine
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.queue import claims
from pipeline.settings import Settings
from pipeline.sources.sync import SyncReport, sync
from pipeline.spaces import Space
from tests.helpers.command import pipeline
from tests.helpers.databases import as_login, login_url
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.workers import work

TENANTS = """
ALTER TABLE source_items ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON source_items USING (source = current_setting('app.tenant', true));
"""
# As docs/security.md has it.
EVERYTHING = """
CREATE POLICY everything ON source_items TO pipeline_ingest, pipeline_owner USING (true)
"""


def counts(connection: Connection) -> tuple[int, ...]:
    row = connection.execute(
        "SELECT (SELECT count(*) FROM multimodal_items), (SELECT count(*) FROM ingest_jobs)"
    ).fetchone()
    assert row is not None
    return row


def check_of(settings: Settings, name: str) -> Check:
    return next(check for check in examine(settings) if check.name == name)


@pytest.fixture
def worker(
    connection: Connection, settings: Settings, space: Space, url: str
) -> Iterator[Connection]:
    """A login of ours in a database of three embedded rows, whose rows a policy then hides."""
    add_texts(connection, ["one", "two", "three"])
    work(settings, space, FakeEmbedder(space.dimensions))
    connection.execute(TENANTS.encode())
    with as_login(connection, url, "hidden_worker", "LOGIN IN ROLE pipeline_ingest") as own:
        yield own


@pytest.mark.parametrize("mend", [False, True])
def test_sync_refuses_where_rows_are_hidden_and_removes_nothing(
    connection: Connection, worker: Connection, mend: bool
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="hides rows of source_items"):
        sync(worker, mend=mend)
    assert counts(connection) == (3, 0)


def test_the_command_says_what_to_do(
    connection: Connection, url: str, worker: Connection, tmp_path: Path
) -> None:
    found = pipeline(tmp_path, "sync", DATABASE_URL=login_url(url, "hidden_worker"))
    assert found.returncode == 1
    assert "CREATE POLICY" in found.stderr
    assert counts(connection) == (3, 0)


def test_hidden_rows_are_not_removed_by_the_function_itself(
    connection: Connection, worker: Connection
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        worker.execute("SELECT remove_gone(ARRAY(SELECT source_id FROM multimodal_items))")
    assert counts(connection) == (3, 0)


def test_jobs_of_hidden_rows_stay_in_the_queue(
    connection: Connection, space: Space, worker: Connection
) -> None:
    connection.execute("UPDATE source_items SET content_ref = content_ref || '!'")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="hides rows of source_items"):
        claims.claim(worker, space.id, "me", 3, 60)
    assert counts(connection) == (3, 3)


def test_a_policy_that_shows_everything_is_no_hindrance(
    connection: Connection, worker: Connection
) -> None:
    connection.execute(EVERYTHING.encode())
    assert sync(worker) == SyncReport(3)
    connection.execute(
        "CREATE POLICY stricter ON source_items AS RESTRICTIVE TO pipeline_ingest "
        "USING (source <> 'nobody')"
    )
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        sync(worker)


def test_doctor_says_who_is_kept_from_which_rows(
    connection: Connection, settings: Settings, worker: Connection
) -> None:
    found = check_of(settings, "row security")
    assert not found.ok
    assert "pipeline_ingest" in found.found
    connection.execute(found.fix.encode())
    assert check_of(settings, "row security").ok
    assert sync(worker) == SyncReport(3)


def test_a_forced_policy_hides_nothing_from_the_triggers(empty_url: str) -> None:
    """Whoever owns the tables and is no superuser is subject to it as well."""
    with connect(empty_url) as admin:
        admin.execute("CREATE EXTENSION vector")
        with as_login(admin, empty_url, "forced_owner") as owner:
            name = owner.info.dbname
            admin.execute(f"ALTER DATABASE {name} OWNER TO forced_owner".encode())
            migrate.upgrade(login_url(empty_url, "forced_owner"), roles=False)
            _make_space(owner)
            owner.execute("ALTER TABLE source_items ENABLE ROW LEVEL SECURITY")
            owner.execute("ALTER TABLE source_items FORCE ROW LEVEL SECURITY")
            add_texts(admin, ["one", "two"])
            assert counts(admin) == (0, 2)
            admin.execute("DELETE FROM ingest_jobs")
            admin.execute("UPDATE source_items SET content_ref = 'uno' WHERE content_ref = 'one'")
            assert counts(admin) == (0, 1)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                sync(owner)
            admin.execute(f"ALTER DATABASE {name} OWNER TO postgres".encode())


def _make_space(connection: Connection) -> None:
    spaces.activate(connection, spaces.create(connection, "fake", FakeEmbedder()))
