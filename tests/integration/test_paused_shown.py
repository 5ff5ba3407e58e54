"""A pause on the command line: who may, and where it is said."""

import json
from pathlib import Path

import psycopg
import pytest

from pipeline.doctor.examination import examine
from pipeline.postgres.connections import Connection
from pipeline.queue import pauses
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.unified_index import SpaceError, build_unified_index
from tests.helpers.command import pipeline
from tests.helpers.databases import as_login, login_url
from tests.helpers.fakes import add_texts

WHY = "the disk is nearly full"


def found(settings: Settings, name: str) -> list[tuple[bool, str, str]]:
    return [(c.ok, c.found, c.fix) for c in examine(settings) if c.name == name]


def test_it_is_said_wherever_one_would_wonder(
    url: str, connection: Connection, space: Space, settings: Settings, tmp_path: Path
) -> None:
    add_texts(connection, ["one", "two"])

    def run(*arguments: str) -> str:
        done = pipeline(tmp_path, *arguments, DATABASE_URL=url)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert found(settings, "paused") == []
    paused = run("space", "pause", "fake", "--why", WHY)
    assert paused.startswith("the space 'fake' is paused since ")
    assert paused.endswith(f" by postgres: {WHY}; 2 rows wait, 0 are being finished\n")
    told = f" by postgres: {WHY}"
    for command in (["status"], ["space", "list"]):
        assert f"{told}; `pipeline space resume fake` ends it\n" in run(*command)
    assert WHY in run("space", "show", "fake")
    for command in (["status"], ["space", "list"]):
        shown = json.loads(run(*command, "--json"))[0]["paused"]
        assert (shown["by"], shown["why"]) == ("postgres", WHY)
        assert shown["since"]
    assert json.loads(run("space", "show", "fake", "--json"))["paused"]["why"] == WHY
    ((ok, said, fix),) = found(settings, "paused")
    assert (ok, said.endswith(told), fix) == (True, True, "pipeline space resume fake")
    assert found(settings, "coverage") == [
        (False, "0 of 2 source items are embedded, 2 pending", "pipeline space resume fake")
    ]
    assert run("space", "resume", "fake") == "fake goes on\n"
    assert run("space", "resume", "fake") == "fake was not paused\n"
    assert found(settings, "coverage")[0][2] == "pipeline ingest --once"
    assert json.loads(run("status", "--json"))[0]["paused"] is None


def test_who_embeds_may_pause_and_who_reads_may_look(
    url: str, connection: Connection, space: Space, tmp_path: Path
) -> None:
    with as_login(connection, url, "reader") as reader:
        connection.execute("GRANT pipeline_analyst TO reader")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("SELECT pause_space('fake')")
        done = pipeline(tmp_path, "space", "pause", "fake", DATABASE_URL=login_url(url, "reader"))
        assert done.returncode == 1
        assert "the role pipeline_ingest has it: GRANT pipeline_ingest TO reader" in done.stderr
        for role in ("pipeline_ingest", "pipeline_owner"):
            with as_login(connection, url, "worker") as worker:
                connection.execute(f"GRANT {role} TO worker".encode())
                assert pauses.pause(worker, "fake", WHY).by == "worker"
                assert pauses.pauses(reader)["fake"].why == WHY
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    worker.execute("UPDATE embedding_spaces SET model = 'another'")
                assert pauses.resume(worker, "fake")


def test_a_space_that_is_not_there_is_named(url: str, connection: Connection) -> None:
    for call in ("pause_space('nope')", "resume_space('nope')", "pause_space(NULL)"):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="there is no space"):
            connection.execute(f"SELECT {call}".encode())


def test_an_index_is_not_built_of_a_part(
    connection: Connection, space: Space, settings: Settings
) -> None:
    """Who asks for an index over these documents would search without them."""
    pauses.pause(connection, space.name)
    with pytest.raises(SpaceError, match=r"paused since .*; 1 rows wait"):
        build_unified_index(["one"], [], settings=settings)
    pauses.resume(connection, space.name)
    with build_unified_index(["one"], [], settings=settings) as index:
        assert index.failures == []
