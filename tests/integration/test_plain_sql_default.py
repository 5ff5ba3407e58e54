"""The database's default of hnsw.ef_search follows the active space where it is ours to set, and is
let alone where an application's own searches would be slower by it."""

from pathlib import Path

import pytest

from pipeline.doctor.check import Check
from pipeline.doctor.examination import examine
from pipeline.ingest.run import ingest
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.quality import plain_sql
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.command import pipeline
from tests.helpers.databases import as_login

THEIRS = "CREATE TABLE theirs (v vector(3)); CREATE INDEX ON theirs USING hnsw (v vector_l2_ops)"


def default(connection: Connection) -> str | None:
    """What new sessions get."""
    row = connection.execute(
        "SELECT split_part(entry, '=', 2) FROM pg_db_role_setting, unnest(setconfig) AS entry "
        "WHERE setrole = 0 AND entry LIKE 'hnsw.ef_search=%' AND setdatabase = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    ).fetchone()
    return row[0] if row else None


@pytest.fixture
def tuned(connection: Connection, space: Space) -> Space:
    """It needs 400."""
    need(connection, 400)
    return space


def need(connection: Connection, ef_search: int) -> None:
    connection.execute(
        "UPDATE embedding_spaces SET ef_search = %s WHERE state = 'active'", (ef_search,)
    )


def check(settings: Settings) -> Check:
    (found,) = (one for one in examine(settings) if one.name == "hnsw.ef_search")
    return found


@pytest.mark.usefixtures("tuned")
def test_it_follows_the_active_space_up_and_down(
    settings: Settings, connection: Connection
) -> None:
    assert not check(settings).ok
    ingest(settings)
    assert default(connection) == "400"
    assert check(settings) == Check("hnsw.ef_search", True, "400")
    need(connection, 60)
    ingest(settings)
    assert default(connection) == "100"  # never below what `migrate` sets


@pytest.mark.usefixtures("tuned")
def test_where_others_have_hnsw_indexes_nothing_of_theirs_changes(
    settings: Settings, connection: Connection
) -> None:
    connection.execute(THEIRS.encode())
    ingest(settings)
    assert default(connection) == "100"
    found = check(settings)
    assert found.ok
    assert "theirs_v_idx" in found.found
    assert found.fix.startswith("SET hnsw.ef_search = 400 in sessions")
    assert found.fix.endswith(' SET "hnsw"."ef_search" = \'400\'')


@pytest.mark.usefixtures("tuned")
def test_it_is_taken_back_when_somebody_makes_such_an_index(
    settings: Settings, connection: Connection
) -> None:
    ingest(settings)
    connection.execute(THEIRS.encode())
    ingest(settings)
    assert default(connection) == "100"


@pytest.mark.usefixtures("tuned")
def test_what_somebody_has_set_stands(settings: Settings, connection: Connection) -> None:
    for theirs in ("150", "700"):
        connection.execute(
            f"ALTER DATABASE {connection.info.dbname} SET hnsw.ef_search = {theirs}".encode()
        )
        ingest(settings)
        assert default(connection) == theirs


@pytest.mark.usefixtures("tuned")
def test_who_does_not_own_the_database_leaves_it_and_the_doctor_says_what_to_run(
    url: str, settings: Settings, connection: Connection
) -> None:
    with as_login(connection, url, "guest", "LOGIN IN ROLE pipeline_owner") as own:
        assert not plain_sql.follow(own)
    assert default(connection) == "100"
    found = check(settings)
    assert not found.ok
    assert "needs 400 for a recall of 0.95" in found.found
    connection.execute(found.fix.encode())
    assert check(settings).ok


@pytest.mark.usefixtures("tuned")
def test_migrating_again_knows_it_and_uninstalling_takes_it_along(
    url: str, settings: Settings, connection: Connection
) -> None:
    ingest(settings)
    connection.execute("UPDATE installed_sql SET sha256 = ''")
    migrate.upgrade(url)
    assert default(connection) == "400"
    need(connection, 300)
    ingest(settings)
    assert default(connection) == "300"
    migrate.downgrade(url, "base")
    with connect(url, schema=None) as after:
        assert default(after) is None


def test_the_commands_that_change_what_is_needed_set_it(
    url: str, tmp_path: Path, connection: Connection, tuned: Space
) -> None:
    done = pipeline(tmp_path, "space", "activate", tuned.name, DATABASE_URL=url)
    assert done.returncode == 0  # it is active already: nothing was changed
    assert default(connection) == "100"
    need(connection, 200)
    assert pipeline(tmp_path, "ingest", "--once", DATABASE_URL=url).returncode == 0
    assert default(connection) == "200"
