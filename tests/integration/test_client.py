"""The clients: what blocks, what awaits, by connections of their own and by an engine's."""

import asyncio
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import AsyncClient, Client
from pipeline.errors import ConfigurationError, DatabaseError, NotServed, RowError
from pipeline.postgres.connections import Connection
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.search.results import Neighbour
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.attached import attach
from tests.helpers.clients import DOORS, asyncpg_engine, client_by
from tests.helpers.fakes import FakeEmbedder, add_texts, vector_of
from tests.helpers.images import encode, sample
from tests.helpers.workers import content, work
from tests.integration.test_pool import prepared
from tests.integration.test_search import image_of
from tests.integration.test_serve import WITHIN, serving, wait_until

pytestmark = pytest.mark.usefixtures("dblink")

WORDS = ["ant", "bee", "cat", "dog"]


@pytest.fixture
def filled(settings: Settings, space: Space, connection: Connection) -> Settings:
    """Four texts and four images."""
    add_texts(connection, WORDS)
    connection.execute(
        """
        INSERT INTO source_items (source, source_key, modality, content_ref, metadata)
        SELECT 'shop', w, 'image', '/' || w || '.png', jsonb_build_object('first', left(w, 1))
        FROM unnest(%s::text[]) AS w
        """,
        (WORDS,),
    )
    work(settings, space, load=lambda reference: content(reference.encode()), decode=image_of)
    connection.execute("SELECT FROM refresh_space_statistics()")
    return settings


@pytest.fixture(params=DOORS)
def client(filled: Settings, url: str, request: pytest.FixtureRequest) -> Iterator[Client]:
    with client_by(request.param, url) as client:
        yield client


def refs(found: list[Neighbour]) -> list[str]:
    return [n.document.content_ref for n in found]


def test_everything_that_can_be_searched_by(client: Client, url: str, tmp_path: Path) -> None:
    (tmp_path / "sample.png").write_bytes(encode(sample(), "PNG"))
    with serving(url) as server:
        found = client.search("cat", modality="text", k=2)
        assert (refs(found)[0], found[0].rank, round(found[0].similarity, 2)) == ("cat", 1, 1.0)
        assert refs(client.search("cat", modality="text", k=2)) == refs(found)
        item = found[0].document.id
        assert refs(client.search(vector=vector_of(b"cat"), modality="text", k=2)) == refs(found)
        assert "cat" not in refs(client.similar(item, modality="text"))
        assert client.similar(item, modality="text") == client.search(item=item, modality=["text"])
        images = [client.search(image=image, k=1) for image in (
            sample(), tmp_path / "sample.png", encode(sample(), "PNG"))]  # fmt: skip
        assert [refs(one) for one in images[1:]] == [refs(images[0])] * 2
        away = client.search(blend=[(item, 1), ("dog", -2.0)], modality="text", k=4)
        assert refs(away)[-1] == "dog"
        assert refs(client.search(blend={"dog": 1.0, "ant": 0.01}, modality="text"))[0] == "dog"
    assert server.report.answered == 3  # "cat" once, "dog", "ant": the next times they were cached
    assert server.report.files == 3


def test_what_is_wanted_of_a_search(client: Client, url: str) -> None:
    with serving(url):
        assert {n.document.modality for n in client.search("cat", ranking="quota", k=4)} == {
            "text", "image"}  # fmt: skip
        (one,) = client.search("cat", filter={"first": "b"}, with_embeddings=True)
        assert (one.document.content_ref, one.document.metadata) == ("/bee.png", {"first": "b"})
        assert one.document.embedding is not None
        assert one.document.embedding @ vector_of(b"cat") == pytest.approx(one.similarity, abs=2e-3)
        assert refs(client.search("cat", min_similarity=0.99)) == ["cat"]
        assert client.count() == 8


def test_texts_are_embedded_in_their_order_and_in_few_batches(client: Client, url: str) -> None:
    texts = [f"text {n}" for n in range(300)]
    with serving(url) as server:
        vectors = client.embed([*texts, texts[0]])
        assert client.embed([]).shape == (0, 8)
    assert server.report.answered == 300
    expected = np.stack([vector_of(text.encode()) for text in [*texts, texts[0]]])
    np.testing.assert_allclose(vectors, expected, atol=2e-3)
    assert vectors.dtype == np.float32


def test_rows_of_an_attached_table(
    client: Client, shop: Connection, settings: Settings, space: Space, url: str
) -> None:
    contents = {"title": {"modality": "text", "content": "title"},
                "about": {"modality": "text", "content": "description"}}  # fmt: skip
    attach(shop, contents=contents, metadata="{price}")
    shop.execute(
        "INSERT INTO shop.products (id, title, description, price) VALUES "
        "(1, 'bike', 'red bike', 5), (2, 'boat', 'bike', 7), (3, 'cat', NULL, 9)"
    )
    work(settings, space)
    with serving(url):
        found = client.rows("products", "bike", k=2)
        assert [(row.row_key, row.content) for row in found] == [("2", "about"), ("1", "title")]
        assert found[0].document.metadata["price"] == 7
        (dear,) = client.rows("products", "bike", content="title", filter={"price": 9})
        assert (dear.row_key, dear.document.content_ref, dear.rank) == ("3", "cat", 1)
        with pytest.raises(ConfigurationError, match="products has no content 'photo'"):
            client.rows("products", "bike", content=["photo"])


def test_what_is_wrong_is_said_and_the_client_goes_on(client: Client, url: str) -> None:
    with pytest.raises(NotServed, match=r"nobody serves .*: start `pipeline serve`, or"):
        client.search("new")
    with pytest.raises(NotServed):
        client.search(image=sample())
    with pytest.raises(ConfigurationError, match="there is no item 99; Items have"):
        client.similar(99)
    with pytest.raises(ConfigurationError, match="has 2 dimensions, the active space 8"):
        client.search(vector=[1.0, 2.0])
    with pytest.raises(ConfigurationError, match="min_similarity is 3"):
        client.search(item=1, min_similarity=3)

    def refuse(contents: Any) -> None:
        if b"poison" in contents:
            raise RuntimeError("the kernel says no")

    with serving(url, FakeEmbedder(before=refuse)):
        with pytest.raises(ConfigurationError, match=r"poison.*the kernel says no"):
            client.embed(["fine", "poison"])
        with pytest.raises(ConfigurationError, match="the bytes: "):
            client.search(image=b"no image at all")
        assert len(client.embed(["fine"])) == 1


WRONG: dict[str, dict[str, Any]] = {
    "search by one of a text, image=, item=, vector=, blend=; not by nothing": {},
    "not by a text and item=": {"text": "cat", "item": 1},
    "the text of a query is a str, not a int": {"text": 5},
    "image= is a Path, the bytes of a file or an opened image, not a str": {"image": "cat.png"},
    "the number of an item is a whole number, not 'x'": {"item": "x"},
    "a query vector has finite numbers, not all zero": {"vector": [0.0] * 8},
    "blend= is empty": {"blend": []},
    "blend= is pairs of something and its weight": {"blend": ["cat"]},
    "there is no modality 'smell'": {"text": "cat", "modality": "smell"},
    "modality= is empty": {"text": "cat", "modality": []},
    "k is from 1 to 10000, not 0": {"text": "cat", "k": 0},
    "there is no ranking 'best'": {"text": "cat", "ranking": "best"},
    "the filter cannot be written as JSON": {"item": 1, "filter": {"x": {1}}},
}


@pytest.mark.parametrize("says", WRONG)
def test_wrong_arguments_are_said_before_anybody_is_asked(url: str, says: str) -> None:
    with client_by("url", url) as client, pytest.raises(ConfigurationError) as caught:
        client.search(**WRONG[says])
    assert says in str(caught.value)


def test_a_text_that_cannot_be_embedded_is_named(url: str) -> None:
    with client_by("url", url) as client:
        with pytest.raises(RowError, match=r"texts\[1\]: "):
            client.embed(["cat", " "])
        with pytest.raises(ConfigurationError, match=r"texts\[1\] has 10001 bytes"):
            client.embed(["cat", "x" * 10_001])
        with pytest.raises(ConfigurationError, match=r"texts\[0\] is a int"):
            client.embed([1, "cat"])  # type: ignore[list-item]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_what_a_client_is_made_of_is_checked(kind: Any, url: str, settings: Settings) -> None:
    for arguments, says in (
        ({"url": url, "settings": settings}, "give a client one of"),
        ({"url": 5}, "is a database URL, not a int"),
        ({"url": url, "timeout": 0}, "timeout= is a number of seconds above 0"),
        ({"url": url, "connections": 0}, "connections= is from 1 to 1000"),
        ({"url": url, "model": "openai"}, "model= is 'local'"),
        ({"url": "mysql://u@h/d"}, "only PostgreSQL works"),
        ({"engine": url}, r"make one with sqlalchemy\.(ext|create_engine)"),
    ):
        with pytest.raises(ConfigurationError, match=says):
            asyncio.run(kind(**arguments).count())


@pytest.mark.parametrize("door", ["url", "async url"])
def test_any_form_of_the_url_will_do(url: str, door: str) -> None:
    for scheme in ("postgres", "postgresql+asyncpg", "postgresql+psycopg2"):
        with client_by(door, url.replace("postgresql", scheme, 1)) as client:
            assert client.count() == 0


@pytest.mark.parametrize("door", ["url", "async url", "async asyncpg"])
def test_a_model_of_ones_own_only_where_one_says_so(filled: Settings, url: str, door: str) -> None:
    model = FakeEmbedder()
    options = {"settings": filled} if door == "async asyncpg" else {}
    with client_by(door, url, model=model, **options) as client:
        assert refs(client.search("cat", modality="text", k=1)) == ["cat"]
        assert len(client.search(image=sample(), k=1)) == 1
        assert client.embed(["cat", "new"]).shape == (2, 8)
        before = model.embedded
        assert refs(client.search("cat", modality="text", k=1)) == ["cat"]
        assert model.embedded == before  # kept for everybody


@pytest.mark.parametrize("door", ["url", "async url"])
def test_a_statement_takes_no_longer_than_the_timeout(
    filled: Settings, url: str, connection: Connection, door: str
) -> None:
    with client_by(door, url, timeout=0.3) as client, connection.transaction():
        assert client.count() == 8
        connection.execute("LOCK TABLE multimodal_items")
        with pytest.raises(DatabaseError, match="statement timeout"):
            client.count()


@pytest.mark.parametrize("door", DOORS)
def test_terminated_backends_cost_no_call(
    filled: Settings, url: str, connection: Connection, door: str
) -> None:
    with client_by(door, url) as client:
        for _ in range(3):
            assert client.count() == 8
            assert connection.execute(
                "SELECT count(pg_terminate_backend(pid, 5000)) > 0 FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            ).fetchone() == (True,)  # fmt: skip


@pytest.mark.parametrize("door", ["url", "async url"])
def test_a_server_that_restarts_is_waited_for(door: str) -> None:
    home = Path(tempfile.mkdtemp(prefix="pipeline-client-"))  # where the server's user can reach it
    home.chmod(0o755)
    server = EmbeddedServer(home / "home")
    url = server.start()
    try:
        prepared(url)
        with client_by(door, url) as client, ThreadPoolExecutor() as threads:
            assert client.count() == 3
            server.stop()
            waiting = threads.submit(client.count)
            server.start()
            assert waiting.result(120) == 3
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.parametrize("door", ["async url", "async asyncpg"])
def test_many_tasks_share_few_connections(
    filled: Settings, url: str, connection: Connection, door: str
) -> None:
    """More of them than there are connections, each with a text of its own, in few batches."""
    gate = threading.Event()
    model = FakeEmbedder(before=lambda _: bool(gate.wait(WITHIN)) and None)

    async def search(client: AsyncClient, number: int) -> str:
        found = await client.search(f"text {number}", modality="text", k=1)
        return found[0].document.content_ref

    async def ask() -> list[str]:
        engine = asyncpg_engine(url, pool_size=4, max_overflow=0)
        given: dict[str, Any] = {"engine": engine} if door == "async asyncpg" else {"url": url}
        async with AsyncClient(**given, connections=4) as client:
            searches = [asyncio.create_task(search(client, number)) for number in range(40)]
            count = "SELECT count(*) >= 39 FROM query_embeddings WHERE embedding IS NULL"
            await asyncio.to_thread(wait_until, connection, count)
            gate.set()
            answers = await asyncio.gather(*searches)
        await engine.dispose()
        return answers

    with serving(url, model) as server:
        assert len(asyncio.run(ask())) == 40
    assert server.report.answered == 40
    assert server.report.batches <= 4


def test_a_call_that_is_cancelled_takes_its_file_along(
    filled: Settings, url: str, connection: Connection
) -> None:
    gate = threading.Event()
    model = FakeEmbedder(before=lambda _: bool(gate.wait(WITHIN)) and None)

    async def ask() -> None:
        async with AsyncClient(url) as client:
            task = asyncio.create_task(client.search(image=sample()))
            # It has its number: it looks for the answer.
            looks = (
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE "
                "'SELECT file_embedding%' AND application_name = 'pipeline client')"
            )
            await asyncio.to_thread(wait_until, connection, looks)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await client.count() == 8

    with serving(url, model):
        asyncio.run(ask())
        assert connection.execute("SELECT count(*) FROM query_files").fetchone() == (0,)
        gate.set()


def test_a_client_of_another_event_loop_says_so(url: str) -> None:
    client = AsyncClient(url)
    assert asyncio.run(client.count()) == 0
    with pytest.raises(ConfigurationError, match="belongs to another event loop"):
        asyncio.run(client.count())


@pytest.mark.parametrize("door", DOORS)
def test_a_closed_client_says_so(url: str, door: str) -> None:
    with client_by(door, url) as client:
        client.close()
        with pytest.raises(DatabaseError, match="closed"):
            client.count()


def test_importing_a_client_brings_no_model_and_no_orm() -> None:
    program = (
        "import sys, pipeline; bare = set(sys.modules)\n"
        "from pipeline import AsyncClient, Client\n"
        "heavy = {'torch', 'open_clip', 'transformers', 'sqlalchemy', 'httpcore', 'alembic'}\n"
        "print(sorted(heavy & set(sys.modules)), sorted({'psycopg', 'numpy'} & bare))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[] []\n", done.stderr
