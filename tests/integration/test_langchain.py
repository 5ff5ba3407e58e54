"""LangChain's own retriever and embeddings over our table."""

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
from langchain_core.runnables import RunnableLambda

from pipeline import AsyncClient, Client
from pipeline.errors import ConfigurationError
from pipeline.integrations.langchain import ItemRetriever, QueryEmbeddings
from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.fakes import add_texts, vector_of
from tests.helpers.workers import content, work
from tests.integration.test_search import image_of
from tests.integration.test_serve import serving

pytestmark = pytest.mark.usefixtures("dblink")


@pytest.fixture
def filled(settings: Settings, space: Space, connection: Connection, url: str) -> Iterator[str]:
    """The URL, while somebody serves."""
    add_texts(connection, ["ant", "bee", "cat"])
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref, metadata) "
        "SELECT 'photos', n::text, 'image', '/' || n || '.png', jsonb_build_object('n', n) "
        "FROM generate_series(1, 3) AS n"
    )
    work(settings, space, load=lambda reference: content(reference.encode()), decode=image_of)
    connection.execute("SELECT FROM refresh_space_statistics()")
    with serving(url):
        yield url


def test_a_chain_finds_items(filled: str) -> None:
    with Client(filled) as client:
        retriever = ItemRetriever(client=client, k=2, search={"modality": "text"})
        chain = retriever | RunnableLambda(lambda found: [d.page_content for d in found])
        assert chain.invoke("cat")[0] == "cat"
        first = retriever.invoke("cat")[0]
        (item,) = client.search("cat", modality="text", k=1)
        assert first.id == str(item.document.id)
        assert first.metadata["similarity"] == pytest.approx(item.similarity)
        images = ItemRetriever(client=client, search={"filter": {"n": 2}}).invoke("cat")
        assert [(d.page_content, d.metadata["n"], d.metadata["modality"]) for d in images] == [
            ("/2.png", 2, "image")
        ]
        # By one ranking: the three texts do not all come before the images.
        both = ItemRetriever(client=client, k=4, search={"ranking": "quota"}).invoke("cat")
        assert [d.metadata["modality"] for d in both].count("image") == 2


def test_it_is_awaited_too(filled: str) -> None:
    async def ask() -> None:
        async with AsyncClient(filled) as client:
            alone = ItemRetriever(async_client=client, k=1, search={"modality": "text"})
            assert (await alone.ainvoke("cat"))[0].page_content == "cat"
            vector = await QueryEmbeddings(async_client=client).aembed_query("cat")
            np.testing.assert_allclose(vector, vector_of(b"cat"), atol=2e-3)
            with pytest.raises(ConfigurationError, match="only ainvoke"):
                alone.invoke("cat")

    asyncio.run(ask())
    with Client(filled) as client:
        found = asyncio.run(ItemRetriever(client=client, k=1).ainvoke("cat"))
        assert len(found) == 1


def test_embeddings_are_those_of_queries(filled: str) -> None:
    with Client(filled) as client:
        embeddings = QueryEmbeddings(client)
        np.testing.assert_allclose(embeddings.embed_query("cat"), vector_of(b"cat"), atol=2e-3)
        with pytest.raises(ConfigurationError, match="INSERT them into source_items"):
            embeddings.embed_documents(["cat"])
