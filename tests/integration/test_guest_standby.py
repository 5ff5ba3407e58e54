"""A hot standby, which takes no writes: searched and examined, and what writes is told so."""

import json
from pathlib import Path

import psycopg
import pytest

from pipeline import spaces
from pipeline.cli import main
from pipeline.ingest.run import ingest
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect, fetch_one
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.settings import Settings
from pipeline.spaces import probes
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.tcp_server import standby_of, tcp_server, tcp_url
from tests.integration.test_serve import assert_is_vector_of, embedding, serving, wait_until


def fill(url: str) -> None:
    migrate.upgrade(url)
    with connect(url) as connection:
        space = spaces.create(connection, "fake", FakeEmbedder())
        probes.store(connection, space, FakeEmbedder())
        spaces.activate(connection, space)
        add_texts(connection, ["a boat", "a red bicycle"])
    assert ingest(Settings.load(database_url=url)).done == 2


def test_a_standby_is_searched_and_examined(
    server: EmbeddedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_DEVICE", "cpu")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    with tcp_server(server) as primary:
        fill(tcp_url(primary, "admin", "postgres"))
        with standby_of(server, primary) as standby:
            monkeypatch.setenv("DATABASE_URL", tcp_url(standby, "admin", "postgres"))
            code, out, err = run("search", "a red bicycle", "--json")
            assert (code, json.loads(out)[0]["content_ref"]) == (0, "a red bicycle"), err
            assert "was embedded here, since the database takes no writes" in err
            code, out, err = run("search", "--item", "1", "--json")
            assert (code, len(json.loads(out)), err) == (0, 1, "")
            code, out, err = run("doctor")
            assert "Traceback" not in err
            assert [line for line in out.splitlines() if line.startswith("FAIL")] == []
            for arguments in (["add", "--text=x"], ["ingest", "--once"]):
                code, out, err = run(*arguments)
                assert (code != 0, len(err.splitlines())) == (True, 1), err
                assert "what writes needs the primary server" in err


def test_a_text_is_asked_for_on_a_standby_by_way_of_its_primary(server: EmbeddedServer) -> None:
    with tcp_server(server) as primary:
        url = tcp_url(primary, "admin", "postgres")
        fill(url)
        with (
            standby_of(server, primary) as standby,
            serving(url),
            connect(tcp_url(standby, "admin", "postgres")) as there,
            connect(url) as here,
        ):
            # An address that is the standby's own: nothing can be asked for there.
            here.execute("CALL configure_loopback(port => %s)", (there.info.port,))
            _caught_up(here, there)
            with pytest.raises(psycopg.Error, match="cannot ask itself") as caught:
                embedding(there, "asked of itself")
            assert caught.value.sqlstate == "MM005"
            assert "configure_loopback(host" in (caught.value.diag.message_hint or "")
            here.execute("CALL configure_loopback(port => %s)", (primary,))
            _caught_up(here, there)
            assert_is_vector_of(embedding(there, "asked on the standby"), "asked on the standby")
            _caught_up(here, there)
            found = there.execute("SELECT query FROM query_embeddings").fetchall()
            assert ("asked on the standby",) in found


def _caught_up(here: Connection, there: Connection) -> None:
    (at,) = fetch_one(here.execute("SELECT pg_current_wal_flush_lsn()::text"))
    wait_until(there, f"SELECT pg_last_wal_replay_lsn() >= '{at}'")
