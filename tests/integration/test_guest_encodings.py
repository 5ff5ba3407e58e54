"""Databases whose own encoding is not UTF-8, and a server that only reads."""

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from psycopg import sql

from pipeline import spaces
from pipeline.cli import main
from pipeline.errors import PermanentRowError
from pipeline.postgres import migrate
from pipeline.postgres.connections import connect, fetch_one
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.queue import claims
from pipeline.queue.backoff import Backoff
from pipeline.spaces import probes
from tests.helpers.databases import database_url
from tests.helpers.fakes import FakeEmbedder, add_texts

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def encoded(server: EmbeddedServer) -> Iterator[Callable[[str], str]]:
    """A function that makes an empty database of an encoding and gives its URL."""
    made: list[str] = []

    def make(encoding: str) -> str:
        made.append(f"test_{uuid.uuid4().hex[:12]}")
        with connect(server.url()) as admin:
            admin.execute(
                sql.SQL(
                    "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LOCALE_PROVIDER libc "
                    "LC_COLLATE 'C' LC_CTYPE 'C'"
                ).format(sql.Identifier(made[-1]), sql.Literal(encoding))
            )
        return database_url(server.url(), made[-1])

    yield make
    with connect(server.url()) as admin:
        for name in made:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """``pipeline ARGUMENTS`` on a database: its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_DEVICE", "cpu")

    def run(url: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("DATABASE_URL", url)
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def make_space(url: str) -> None:
    migrate.upgrade(url)
    with connect(url) as connection:
        space = spaces.create(connection, "fake", FakeEmbedder())
        probes.store(connection, space, FakeEmbedder())
        spaces.activate(connection, space)


def test_a_latin_database_holds_what_it_can_and_refuses_the_rest_with_a_line(
    encoded: Callable[[str], str], command: Command, tmp_path: Path
) -> None:
    url = encoded("LATIN1")
    make_space(url)
    (tmp_path / "texts.jsonl").write_text(
        json.dumps({"id": 1, "text": "Zürich bei Nacht", "city": "Zürich"}) + "\n"
    )
    assert command(url, "add", "texts.jsonl")[0] == 0
    # Files that are not to be had: their failures are told in words that the database can hold,
    # shortened ones as well.
    assert command(url, "add", "s3://closed/köln.png", f"s3://closed/{'ö' * 900}.png")[0] == 0
    code, out, err = command(url, "ingest", "--once", "--json")
    report = json.loads(out)
    assert (code, report["done"], report["failed"]) == (1, 1, 2), err
    code, out, err = command(url, "search", "Zürich bei Nacht", "--json")
    found = json.loads(out)[0]
    assert (code, found["content_ref"], found["metadata"]["city"]) == (
        0, "Zürich bei Nacht", "Zürich",
    ), err  # fmt: skip
    # What it cannot hold is searched for all the same; to add it is refused.
    code, out, err = command(url, "search", "東京の夜", "--json")
    assert (code, len(json.loads(out))) == (0, 1), err
    for arguments in (["--text=東京の夜"], ["--text=x", '--metadata={"city": "東京"}']):
        code, out, err = command(url, "add", *arguments)
        assert (code, out) == (1, "0 added, 0 changed, 0 unchanged\n")
        assert "LATIN1" in err
        assert len(err.splitlines()) == 1
    assert command(url, "doctor")[0] in (0, 1)
    with connect(url) as connection:
        rows = connection.execute("SELECT content_ref FROM source_items ORDER BY id").fetchall()
        assert rows[:2] == [("Zürich bei Nacht",), ("s3://closed/köln.png",)]


def test_a_failure_is_told_in_what_the_database_can_hold(encoded: Callable[[str], str]) -> None:
    """Its words may come from a web server, and may be long."""
    url = encoded("LATIN1")
    make_space(url)
    with connect(url) as connection:
        add_texts(connection, ["a text"])
        (job,) = claims.claim(connection, 1, "me", 1, 60)
        error = PermanentRowError("http_error", "404 東京の夜 " * 100)
        failed = claims.fail(
            connection, 1, "me", [(job, error)], max_attempts=5, backoff=Backoff(1, 1)
        )
        assert failed == {job.source_id: "failed"}
        (told,) = fetch_one(connection.execute("SELECT error FROM ingest_jobs"))
        assert told.startswith(r"404 \u6771\u4eac\u306e\u591c 404")
        assert told.endswith("...")


def test_a_database_of_no_encoding_is_refused_with_a_line(
    encoded: Callable[[str], str], command: Command
) -> None:
    url = encoded("SQL_ASCII")
    for arguments in (["migrate"], ["add", "--text=x"], ["ingest"], ["search", "x"], ["doctor"]):
        code, out, err = command(url, *arguments)
        assert code == 1
        assert "is SQL_ASCII" in (out if arguments == ["doctor"] else err)
        assert "ENCODING 'UTF8'" in out + err
        assert "Traceback" not in err
