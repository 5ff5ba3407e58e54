"""A read replica: searched as its primary is, honest about its lag, and refusing what writes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg import sql
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipeline import spaces
from pipeline.doctor.examination import examine
from pipeline.models import MultimodalItem
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect, fetch_one
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.postgres.engines import create_engine
from pipeline.postgres.standby import find_standby
from pipeline.queue import pauses
from pipeline.search.functions import text_embedding
from pipeline.search.select import nearest_to
from pipeline.settings import Settings
from pipeline.spaces import probes
from pipeline.unified_index import UnifiedIndex
from tests.acceptance.test_command import NEED_A_DATABASE
from tests.helpers.command import pipeline
from tests.helpers.fakes import FakeEmbedder, add_texts, vector_of
from tests.helpers.processes import wait_until
from tests.helpers.spaces import fill
from tests.helpers.tcp_server import standby_of, tcp_server, tcp_url
from tests.integration.test_serve import serving

TEXTS = [f"a boat of the number {n}" for n in range(60)]
CACHED = "a red bicycle"
# What only looks, and so works on a standby; the others are tried one by one.
READ = {
    ("status",), ("failures",), ("search",), ("space", "list"), ("space", "show"),
    ("space", "export"), ("map",), ("doctor",), ("eval", "retrieval"), ("web",),
    ("mcp",),
}  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """A primary and its standby, by URL and by connection."""

    primary: str
    standby: str
    here: Connection
    there: Connection

    def catch_up(self) -> None:
        (at,) = fetch_one(self.here.execute("SELECT pg_current_wal_flush_lsn()::text"))
        wait_until(
            lambda: fetch_one(
                self.there.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (at,))
            )[0],
            "the standby",
        )


@pytest.fixture(scope="module")
def pair(server: EmbeddedServer) -> Iterator[Pair]:
    """With texts embedded, and the vector of one query that was asked for two days ago."""
    with tcp_server(server) as port:
        url = tcp_url(port, "admin", "postgres")
        migrate.upgrade(url)
        with connect(url) as here:
            space = spaces.create(here, "fake", FakeEmbedder())
            probes.store(here, space, FakeEmbedder())
            space = spaces.activate(here, space)
            add_texts(here, TEXTS)
            fill(Settings.load(database_url=url), space, FakeEmbedder())
            here.execute("SELECT refresh_space_statistics()")
            here.execute(
                "INSERT INTO query_embeddings (space_id, query_sha256, query, embedding, "
                "last_used_at) VALUES (%s, query_key(%s), %s, %s::halfvec, "
                "now() - '2 days'::interval)",
                (space.id, CACHED, CACHED, str(vector_of(CACHED.encode()).tolist())),
            )
            with standby_of(server, port) as own:
                standby = tcp_url(own, "admin", "postgres")
                with connect(standby) as there:
                    pair = Pair(url, standby, here, there)
                    wait_until(
                        lambda: (find := find_standby(there)) is not None and find.is_receiving,
                        "that it receives",
                    )
                    yield pair


def test_a_cached_vector_is_found_though_its_use_cannot_be_noted(pair: Pair) -> None:
    """It was two days ago, so a search on the primary would note it, by a connection to itself."""
    pair.catch_up()
    before = pair.there.execute("SELECT last_used_at FROM query_embeddings").fetchall()
    pair.there.execute("SET statement_timeout = '10s'")
    (found,) = fetch_one(
        pair.there.execute(
            "SELECT count(*) FROM generate_series(1, 50) AS n "
            "WHERE text_embedding('a red bicycle' || left('', n)) IS NOT NULL"
        )
    )
    pair.there.execute("RESET statement_timeout")
    assert found == 50
    assert pair.there.execute("SELECT last_used_at FROM query_embeddings").fetchall() == before


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id, similarity FROM search_items('a red bicycle', k => 7)",
        "SELECT id, similarity FROM search_items('a red bicycle', modality => '{text}')",
        "SELECT id FROM search_items('a red bicycle', filter => '{\"a\": 1}')",
        "SELECT id FROM search_items(like_item => 3)",
        "SELECT id, score FROM hybrid_search('a red bicycle', k => 7)",
        "SELECT text_embedding('a red bicycle')::text",
        "SELECT text_embeddings('{a red bicycle}')::text",
        "SELECT id FROM multimodal_items WHERE modality = 'text' "
        "ORDER BY embedding <=> text_embedding('a red bicycle'), id LIMIT 5",
        "SELECT * FROM near_duplicates(0.2, 'text')",
        "SELECT item_embedding(3)::text",
        "SELECT space, modality, items FROM space_status ORDER BY modality",
        "SELECT space, modality, items, pending FROM ingest_status ORDER BY modality",
    ],
)
def test_what_searches_gives_what_it_gives_on_the_primary(pair: Pair, query: str) -> None:
    """Also where the use of a cached vector was to be noted."""
    pair.catch_up()
    found = pair.there.execute(query.encode()).fetchall()
    assert found == pair.here.execute(query.encode()).fetchall()
    assert found or "filter" in query


def test_the_orm_and_an_index_search_it(pair: Pair) -> None:
    engine = create_engine(pair.standby)
    with Session(engine) as session:
        count = session.scalar(select(func.count()).select_from(MultimodalItem))
        near = session.execute(nearest_to(text_embedding(CACHED), modality="text").limit(5)).all()
    engine.dispose()
    assert (count, len(near)) == (len(TEXTS), 5)
    with UnifiedIndex(Settings.load(database_url=pair.standby)) as index:
        found = index.retrieve_cross_modal(CACHED, top_k=5)
    assert [one.source_id for one in found] == [row[0].source_id for row in near]


@pytest.mark.parametrize("command", sorted(set(NEED_A_DATABASE) - READ), ids=" ".join)
def test_a_command_that_writes_says_in_one_sentence_that_this_is_a_standby(
    pair: Pair, tmp_path: Path, command: tuple[str, ...]
) -> None:
    rest = NEED_A_DATABASE[command]
    done = pipeline(tmp_path, *command, *rest, DATABASE_URL=pair.standby)
    *steps, line = done.stderr.splitlines()
    assert bool(steps) is (command == ("demo",))
    assert "is a standby, a read replica that is only searched; what writes needs the pri" in line
    assert "a%20password" not in line
    assert (done.returncode, done.stdout) == (75, "")


def test_commands_that_read_say_how_far_it_is_behind(pair: Pair, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        done = pipeline(tmp_path, *arguments, DATABASE_URL=pair.standby)
        assert done.returncode == 0, done.stderr
        return done.stdout

    pair.catch_up()
    assert run("status").splitlines()[0].endswith(" (a standby, with all that it was sent)")
    (row, *_) = json.loads(run("status", "--json"))
    assert {name: row["standby"][name] for name in ("bytes", "is_receiving", "is_paused")} == {
        "bytes": 0, "is_receiving": True, "is_paused": False,
    }  # fmt: skip
    pauses.pause(pair.here, "fake", "of the primary")
    pair.catch_up()
    assert "of the primary" in run("space", "list")
    pauses.resume(pair.here, "fake")
    (check,) = [c for c in json.loads(run("doctor", "--json")) if c["name"] == "standby"]
    assert check["ok"]
    assert check["found"].startswith("a standby, ")
    run("space", "show", "fake")
    run("failures")


def standby_check(pair: Pair) -> tuple[bool, str, str]:
    (check,) = [c for c in examine(Settings.load(database_url=pair.standby)) if c.name == "standby"]
    return check.ok, check.found, check.fix


def test_the_doctor_says_what_holds_a_standby_back(pair: Pair) -> None:
    assert find_standby(pair.here) is None
    pair.catch_up()
    assert standby_check(pair)[0]
    pair.there.execute("SELECT pg_wal_replay_pause()")
    try:
        wait_until(lambda: "paused" in standby_check(pair)[1], "the pause")
        add_texts(pair.here, ["while it was paused"], source="paused")
        wait_until(lambda: ", 0 bytes" not in standby_check(pair)[1], "the lag")
        ok, found, fix = standby_check(pair)
        assert (ok, fix) == (False, "SELECT pg_wal_replay_resume()")
        assert "bytes behind its primary" in found
    finally:
        pair.there.execute("SELECT pg_wal_replay_resume()")
    pair.catch_up()
    (primary,) = fetch_one(pair.there.execute("SELECT current_setting('primary_conninfo')"))
    try:
        _set_primary(pair.there, "")
        wait_until(lambda: "receives nothing" in standby_check(pair)[1], "that it is cut off")
        ok, found, fix = standby_check(pair)
        assert (ok, fix) == (
            False,
            "look at primary_conninfo here and at pg_stat_replication on the primary",
        )
    finally:
        _set_primary(pair.there, primary)
    wait_until(lambda: standby_check(pair)[0], "that it is connected again")


def _set_primary(connection: Connection, told: str) -> None:
    connection.execute(sql.SQL("ALTER SYSTEM SET primary_conninfo = {}").format(sql.Literal(told)))
    connection.execute("SELECT pg_reload_conf()")


def test_a_new_text_is_embedded_by_who_serves_the_primary(pair: Pair) -> None:
    """In SQL and from Python; the process may stand beside the standby, as here."""
    pair.here.execute(
        "CALL configure_loopback(host => '127.0.0.1', port => %s)", (pair.here.info.port,)
    )
    pair.catch_up()
    with serving(pair.primary) as server:
        found = pair.there.execute("SELECT content_ref FROM search_items('new on a standby')")
        assert len(found.fetchall()) == 10
        with UnifiedIndex(Settings.load(database_url=pair.standby)) as index:
            assert len(index.retrieve_cross_modal("new from Python", top_k=3)) == 3
    assert server.report.answered == 2


def test_serve_itself_wants_the_primary(pair: Pair, tmp_path: Path) -> None:
    """Not after it has loaded its model."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "serve"],
        env={**os.environ, "DATABASE_URL": pair.standby, "PIPELINE_HOME": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, said = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
    assert "loading the model" not in said
    assert "is a standby" in said
