"""Commands one after another in one process: what each printed, and how it ended.

As a program it takes them as JSON on stdin, so that a model's libraries are loaded once for many
commands: ``python -m tests.helpers.in_turn``.
"""

import contextlib
import io
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from pipeline.cli import main
from pipeline.postgres.connections import connect

# What commands that run until they are stopped say once they answer.
SAID_BY_SERVERS = {"web": "pages at", "mcp": "answering clients at"}


@dataclass(frozen=True)
class Order:
    """One command, and the database that it is for.

    Attributes:
        watched_by: for a command that runs until it is stopped: how to look whether a space is
            served; then it is told to stop.
        until: the same, by what it says on stderr.
    """

    arguments: Sequence[str]
    url: str
    watched_by: str | None = None
    until: str | None = None


@dataclass(frozen=True)
class Outcome:
    code: int
    stdout: str
    stderr: str


def carry_out(order: Order) -> Outcome:
    """Run it here, as its entry point would."""
    out, err = io.StringIO(), io.StringIO()
    with (
        _environment(DATABASE_URL=order.url),
        _logging_as_it_was(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _told_to_stop_once(lambda: order.until in err.getvalue() if order.until else False),
        _told_to_stop_once_served(order.watched_by),
    ):
        try:
            main(list(order.arguments))
            code = 0
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1
    return Outcome(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@contextlib.contextmanager
def _told_to_stop_once(happened: Callable[[], bool]) -> Iterator[None]:
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            if happened():
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def _told_to_stop_once_served(url: str | None) -> Iterator[None]:
    ended = threading.Event()

    def watch() -> None:
        assert url is not None
        with connect(url, schema=os.environ.get("PIPELINE_SCHEMA", "public")) as connection:
            while not ended.wait(0.05):
                row = connection.execute(
                    "SELECT bool_or(is_served(id)) FROM embedding_spaces"
                ).fetchone()
                if row and row[0]:
                    os.kill(os.getpid(), signal.SIGTERM)
                    return

    thread = threading.Thread(target=watch) if url is not None else None
    if thread is not None:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if thread is not None:
            thread.join()


def program(orders: Sequence[Order]) -> str:
    """What :func:`outcomes` reads of ``python -m tests.helpers.in_turn``: its stdin."""
    return json.dumps([asdict(order) for order in orders])


def outcomes(stdout: str) -> list[Outcome]:
    """What the program printed."""
    return [Outcome(**found) for found in json.loads(stdout)]


def _order(found: Mapping[str, str]) -> Order:
    return Order(**found)  # type: ignore[arg-type]


if __name__ == "__main__":
    print(json.dumps([asdict(carry_out(_order(found))) for found in json.load(sys.stdin)]))
