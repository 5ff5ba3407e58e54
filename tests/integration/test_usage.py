"""Exit codes, of every command: 75 where the database is away for now, 2 for wrong arguments; and a
database that is half migrated is said to be."""

import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import typer

from pipeline.cli import app, main
from pipeline.errors import DatabaseError
from pipeline.postgres import migrate
from tests.helpers.databases import database_url

Call = Callable[..., tuple[int, str]]

# Every command with arguments that are right, so that it comes to the database.
COMMANDS: dict[str, list[str]] = {
    "demo": [],
    "migrate": [],
    "add": ["--text", "x"],
    "ingest": [],
    "status": [],
    "failures": [],
    "retry": [],
    "rescan": [],
    "remove": ["x", "--yes"],
    "attach": ["products", "--text", "title"],
    "detach": ["products", "--yes"],
    "sync": [],
    "search": ["x"],
    "serve": [],
    "web": ["--port", "0"],
    "mcp": [],
    "tune": [],
    "map": ["map.svg"],
    "doctor": [],
    "eval recall": [],
    "eval retrieval": ["--pairs", "pair"],
    "space list": [],
    "space show": ["fake"],
    "space create": ["new", "--model", "fake:12"],
    "space build": ["fake"],
    "space reindex": ["fake"],
    "space pause": ["fake"],
    "space resume": ["fake"],
    "space activate": ["fake"],
    "space rollback": [],
    "space drop": ["fake", "--yes"],
    "space import": ["fake", "items.npy", "--source", "s", "--ids", "keys.txt"],
    "space export": ["fake", "items.parquet"],
}


def all_commands() -> Iterator[str]:
    def walk(command: Any, path: str) -> Iterator[str]:
        if not hasattr(command, "commands"):
            yield path
            return
        for name, below in command.commands.items():
            yield from walk(below, f"{path} {name}".strip())

    yield from walk(typer.main.get_command(app), "")


def test_every_command_is_among_them() -> None:
    # `db` is the embedded server itself, and `settings` asks nobody.
    beside = {name for name in all_commands() if name.startswith("db ")} | {"settings"}
    assert set(all_commands()) - beside == set(COMMANDS)


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Call]:
    """``call("status")``: the exit code and stderr of the command in this process."""
    monkeypatch.chdir(tmp_path)
    np.save("items.npy", np.eye(8, dtype=np.float32))
    Path("keys.txt").write_text("k\n" * 8)

    def call(*arguments: str, url: str) -> tuple[int, str]:
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setenv("PIPELINE_OUTAGE_SECONDS", "0")
        with pytest.raises(SystemExit) as end:
            main([*arguments])
        error = "".join(capfd.readouterr())
        assert "Traceback" not in error
        code = end.value.code
        return (code if isinstance(code, int) else 0), error

    # What a command changes for the whole process, since it has it for itself.
    handlers, level = logging.root.handlers[:], logging.getLogger("pipeline").level
    on_signal = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield call
    for number, handler in on_signal.items():
        signal.signal(number, handler)
    logging.root.handlers[:] = handlers
    logging.getLogger("pipeline").setLevel(level)


@pytest.fixture
def nobody() -> Iterator[str]:
    """A URL at which nothing listens: the port is taken, and nobody answers there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"postgresql://u@127.0.0.1:{taken.getsockname()[1]}/d"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_that_is_away_for_now_is_75(call: Call, nobody: str, command: str) -> None:
    code, error = call(*command.split(), *COMMANDS[command], url=nobody)
    assert (code, error.count("pipeline: ")) == (75, 1), error
    assert "no PostgreSQL answers" in error


def test_ingest_leaves_by_itself_beside_threads_that_are_not_its_own(
    call: Call, nobody: str
) -> None:
    """In a notebook or a test: for a thread of its own that hangs it ends the whole process."""
    over = threading.Event()
    other = threading.Thread(target=over.wait, args=(60,))
    other.start()
    try:
        assert call("ingest", url=nobody)[0] == 75
    finally:
        over.set()
        other.join()


def test_what_no_waiting_cures_is_1(call: Call, url: str) -> None:
    for gone in (
        database_url(url.replace(url.split("/")[-1].split("?")[0], "pipeline"), "no_such_database"),
        "mysql://u@h/d",
    ):
        code, error = call("status", url=gone)
        assert code == 1, error


@pytest.mark.parametrize(
    ("exc", "code"),
    [
        (psycopg.errors.AdminShutdown(), 75),
        (psycopg.errors.TooManyConnections(), 75),
        (psycopg.OperationalError("the connection is lost"), 75),
        (psycopg.errors.UndefinedTable(), 1),
        (psycopg.errors.InsufficientPrivilege(), 1),
        (psycopg.errors.ProgramLimitExceeded(), 1),
        (DatabaseError("there are no tables"), 1),
        (OSError(2, "No such file"), 1),
    ],
)
def test_so_is_one_that_goes_while_a_command_runs(
    call: Call, monkeypatch: pytest.MonkeyPatch, url: str, exc: Exception, code: int
) -> None:
    def gone(*_: Any, **__: Any) -> Any:
        raise exc

    monkeypatch.setattr("pipeline.queue.status.ingest_status", gone)
    assert call("status", url=url)[0] == code


@pytest.mark.parametrize(
    "arguments",
    [
        ["--log-level", "foo", "status"],
        ["--log-format", "xml", "status"],
        ["add"],
        ["add", "--text", "x", "--metadata", "[1]"],
        ["add", "--text", "x", "--column", "foo=bar"],
        ["add", "--text", "x", "--column", "foo"],
        ["add", ".", "--modality", "smell"],
        ["add", ".", "--modality", "text"],
        ["add", ".", "--modality", "depth", "--sync"],
        ["ingest", "--once", "--watch"],
        ["ingest", "--watch", "--once"],
        ["retry", "--code", "foo"],
        ["search"],
        ["search", "x", "--modality", "smell"],
        ["search", "x", "--as", "depth"],
        ["search", "--file", "x.png", "--as", "smell"],
        ["migrate", "nope"],
        ["migrate", "0"],
        ["space", "create", "new", "--precision", "float8"],
        ["space", "create", "new", "--vector-type", "sparse"],
        ["space", "create", "new", "--hnsw", "m=x"],
        ["space", "reindex", "--m", "1"],
        ["space", "export", "fake", "items.csv"],
        ["space", "import", "fake", "--source", "s"],
        ["space", "import", "fake", "items.csv", "--source", "s"],
        ["space", "import", "fake", "items.npy", "--source", "s"],
        ["space", "import", "fake", "items.npy", "--source", "s", "--column", "x"],
        ["eval", "retrieval", "--pairs", "p", "--space", "fake", "--space", "fake"],
    ],
)
def test_wrong_arguments_are_2_before_anything_is_done(
    call: Call, nobody: str, arguments: list[str]
) -> None:
    code, error = call(*arguments, url=nobody)
    assert code == 2, error


def test_a_revision_that_there_is_not_is_named_with_those_that_are(call: Call, nobody: str) -> None:
    _, error = call("migrate", "nope", url=nobody)
    assert "'nope'" in error
    assert "pipeline_0001" in error or "0001" in error


@pytest.mark.parametrize(
    "command", ["status", "failures", "ingest", "search", "doctor", "space list"]
)
def test_a_half_migrated_database_is_said_to_be(call: Call, empty_url: str, command: str) -> None:
    for revision in ("pipeline_0002_embedding_spaces", "pipeline_0003_multimodal_items"):
        migrate.upgrade(empty_url, revision)
        code, error = call(*command.split(), *COMMANDS[command], url=empty_url)
        assert code == 1
        assert "pipeline migrate" in error
