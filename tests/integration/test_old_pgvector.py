"""pgvector 0.8.0 to 0.8.3, as distributions ship it: by choice, and never without a word."""

from pathlib import Path

import pytest

from pipeline.doctor.examination import examine
from pipeline.errors import DatabaseError
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.spaces.index.resources import build_resources
from tests.helpers.command import pipeline


def claim(connection: Connection, version: str) -> None:
    """Have the catalogue say that this is the version; the server's library stays its own."""
    update = "UPDATE pg_extension SET extversion = %s WHERE extname = 'vector'"
    connection.execute(update, (version,))


@pytest.mark.parametrize(("version", "may_be_chosen"), [("0.7.4", False), ("0.8.0", True)])
def test_it_is_refused_until_it_is_chosen(
    empty_url: str, tmp_path: Path, version: str, may_be_chosen: bool
) -> None:
    with connect(empty_url) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        claim(connection, version)
    with pytest.raises(DatabaseError, match=f"pgvector {version} is too old") as caught:
        migrate.upgrade(empty_url)
    assert ("PIPELINE_OLD_PGVECTOR=on" in str(caught.value)) == may_be_chosen
    chosen = {"DATABASE_URL": empty_url, "PIPELINE_OLD_PGVECTOR": "on"}
    done = pipeline(tmp_path, "migrate", "--no-space", **chosen)
    assert done.returncode == (0 if may_be_chosen else 1), done.stderr


def test_the_doctor_is_loud_and_goes_on(
    connection: Connection, settings: Settings, space: Space
) -> None:
    before = {check.name: check.ok for check in examine(settings)}
    claim(connection, "0.8.3")
    checks = {check.name: check for check in examine(settings)}
    assert not checks["pgvector"].ok
    assert "0.8.3 LOSES ROWS" in checks["pgvector"].found
    assert checks["pgvector"].fix.startswith("run ALTER EXTENSION vector UPDATE")
    assert {name: check.ok for name, check in checks.items()} == before | {"pgvector": False}


@pytest.mark.parametrize(("version", "workers"), [("0.8.1", 0), ("0.8.2", None)])
def test_where_a_parallel_build_overruns_its_memory_none_is_made(
    connection: Connection, space: Space, version: str, workers: int | None
) -> None:
    usual = build_resources(connection, space, "text").workers
    claim(connection, version)
    expected = usual if workers is None else workers
    assert build_resources(connection, space, "text").workers == expected
    connection.execute("SET ROLE pipeline_owner")  # to whom the server does not tell of its machine
    assert build_resources(connection, space, "text").workers == workers
