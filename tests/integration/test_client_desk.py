"""What many callers of one client ask for at a time is asked for, and looked for, by one."""

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from pipeline import AsyncClient, Client
from pipeline.errors import ConfigurationError, DatabaseError, NotServed
from pipeline.postgres.connections import Connection
from pipeline.vectors import Vectors
from tests.helpers.fakes import FakeEmbedder, vector_of
from tests.integration.test_serve import WITHIN, serving, wait_until

pytestmark = pytest.mark.usefixtures("dblink")

TEXTS = [f"text {n}" for n in range(40)]
WAITING = "SELECT count(*) = {} FROM query_embeddings WHERE embedding IS NULL"


def ask_in_threads(url: str, texts: Sequence[str], meanwhile: Callable[[], None]) -> list[Any]:
    """The vector of each text, or what was raised, each asked for by a thread of its own."""
    with Client(url, connections=4) as client, ThreadPoolExecutor(len(texts)) as threads:
        asked = [threads.submit(client.embed, [text]) for text in texts]
        meanwhile()
        return [one.exception(WITHIN) or one.result()[0] for one in asked]


def ask_in_tasks(url: str, texts: Sequence[str], meanwhile: Callable[[], None]) -> list[Any]:
    """The same, by tasks of one event loop."""

    async def ask() -> list[Any]:
        async with AsyncClient(url, connections=4) as client:
            asked = [asyncio.create_task(client.embed([text])) for text in texts]
            await asyncio.to_thread(meanwhile)
            return await asyncio.gather(*asked, return_exceptions=True)

    return [one if isinstance(one, BaseException) else one[0] for one in asyncio.run(ask())]


@pytest.fixture(params=[ask_in_threads, ask_in_tasks])
def ask(request: pytest.FixtureRequest) -> Any:
    return request.param


def assert_are_vectors(found: Sequence[Vectors], texts: Sequence[str]) -> None:
    expected = np.stack([vector_of(text.encode()) for text in texts])
    np.testing.assert_allclose(np.stack(list(found)), expected, atol=2e-3)


def test_callers_at_a_time_are_answered_in_few_batches(
    ask: Any, url: str, connection: Connection
) -> None:
    gate = threading.Event()
    model = FakeEmbedder(before=lambda _: bool(gate.wait(WITHIN)) and None)

    def all_wait() -> None:
        wait_until(connection, WAITING.format(len(TEXTS)))
        gate.set()

    with serving(url, model) as server:
        found = ask(url, [*TEXTS, TEXTS[0]], all_wait)
    assert_are_vectors(found, [*TEXTS, TEXTS[0]])
    assert server.report.answered == len(TEXTS)
    assert server.report.batches <= 4


def test_a_text_that_is_refused_fails_alone(ask: Any, url: str, connection: Connection) -> None:
    gate = threading.Event()

    def refuse(contents: Sequence[bytes]) -> None:
        gate.wait(WITHIN)
        if b"poison" in contents:
            raise RuntimeError("the kernel says no")

    def all_wait() -> None:
        wait_until(connection, WAITING.format(6))
        gate.set()

    with serving(url, FakeEmbedder(before=refuse)):
        *found, poison = ask(url, [*TEXTS[:5], "poison"], all_wait)
    assert_are_vectors(found, TEXTS[:5])
    assert isinstance(poison, ConfigurationError)
    assert "the kernel says no" in str(poison)


def test_with_nobody_to_ask_every_caller_hears_so(ask: Any, url: str) -> None:
    found = ask(url, TEXTS[:5], lambda: None)
    assert [type(one) for one in found] == [NotServed] * 5
    assert len({id(one) for one in found}) == 5


def test_whoever_has_his_answer_leaves_the_asking_to_the_next(
    url: str, connection: Connection
) -> None:
    gates = {b"quick": threading.Event(), b"slow": threading.Event()}
    has_begun = threading.Event()

    def wait(contents: Sequence[bytes]) -> None:
        has_begun.set()
        for content in contents:
            gates[content].wait(WITHIN)

    with (
        serving(url, FakeEmbedder(before=wait)),
        Client(url) as client,
        ThreadPoolExecutor() as threads,
    ):
        quick: Future[Vectors] = threads.submit(client.embed, ["quick"])
        assert has_begun.wait(WITHIN)  # or the other might be embedded with it
        slow: Future[Vectors] = threads.submit(client.embed, ["slow"])
        wait_until(connection, WAITING.format(2))
        gates[b"quick"].set()
        assert_are_vectors(quick.result(WITHIN), ["quick"])
        gates[b"slow"].set()
        assert_are_vectors(slow.result(WITHIN), ["slow"])
        assert_are_vectors(client.embed(["slow", "quick"]), ["slow", "quick"])


@pytest.mark.parametrize("kind", ["threads", "tasks"])
def test_who_waits_too_long_is_told_and_the_others_go_on(
    url: str, connection: Connection, kind: str
) -> None:
    gate = threading.Event()
    model = FakeEmbedder(before=lambda _: bool(gate.wait(WITHIN)) and None)
    asking = {"threads": blocking, "tasks": awaiting}[kind]
    with serving(url, model):
        asking(url, gate)


def blocking(url: str, gate: threading.Event) -> None:
    with Client(url, timeout=0.5) as client:
        with pytest.raises(DatabaseError, match=r"no vector for the query within 0\.5 s"):
            client.embed(["late"])
        gate.set()
        assert_are_vectors(client.embed(["soon"]), ["soon"])


def awaiting(url: str, gate: threading.Event) -> None:
    async def ask() -> None:
        async with AsyncClient(url, timeout=0.5) as client:
            with pytest.raises(DatabaseError, match=r"no vector for the query within 0\.5 s"):
                await client.embed(["late"])
            gate.set()
            assert_are_vectors(await client.embed(["soon"]), ["soon"])

    asyncio.run(ask())


def test_a_process_that_is_forked_off_asks_for_itself(url: str, connection: Connection) -> None:
    gate = threading.Event()
    model = FakeEmbedder(before=lambda _: bool(gate.wait(WITHIN)) and None)
    with serving(url, model), Client(url) as client, ThreadPoolExecutor() as threads:
        ours = threads.submit(client.embed, ["ours"])  # a thread that is not there in the child
        wait_until(connection, WAITING.format(1))
        read, write = os.pipe()
        child = os.fork()
        if child == 0:  # no assertion may leave this branch
            try:
                os.write(write, client.embed(["theirs"]).tobytes())
            finally:
                os._exit(0)
        os.close(write)
        wait_until(connection, WAITING.format(2))
        gate.set()
        with os.fdopen(read, "rb") as answers:
            assert_are_vectors([np.frombuffer(answers.read(), np.float32)], ["theirs"])
        os.waitpid(child, 0)
        assert_are_vectors(ours.result(WITHIN), ["ours"])
