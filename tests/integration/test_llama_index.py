"""LlamaIndex's own retriever and embeddings over our table."""

import asyncio

import numpy as np
import pytest
from llama_index.core.schema import QueryBundle

from pipeline import AsyncClient, Client
from pipeline.errors import ConfigurationError
from pipeline.integrations.llama_index import ItemRetriever, QueryEmbeddings
from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.fakes import add_texts, vector_of
from tests.helpers.workers import work
from tests.integration.test_serve import serving


@pytest.mark.usefixtures("dblink")
def test_it_finds_items_and_embeds_queries(
    settings: Settings, space: Space, connection: Connection, url: str
) -> None:
    add_texts(connection, ["ant", "bee", "cat"])
    connection.execute("UPDATE source_items SET metadata = jsonb_build_object('n', source_key)")
    work(settings, space)

    async def awaited() -> None:
        async with AsyncClient(url) as client:
            alone = ItemRetriever(async_client=client, k=1)
            assert [one.node.text for one in await alone.aretrieve("bee")] == ["bee"]
            vector = await QueryEmbeddings(async_client=client).aget_query_embedding("bee")
            np.testing.assert_allclose(vector, vector_of(b"bee"), atol=2e-3)
            with pytest.raises(ConfigurationError, match="only aretrieve"):
                alone.retrieve("bee")
            with pytest.raises(ConfigurationError, match="only awaiting"):
                QueryEmbeddings(async_client=client).get_query_embedding("bee")

    with serving(url), Client(url) as client:
        found = ItemRetriever(client, k=2).retrieve("cat")
        expected = client.search("cat", k=2)
        assert [(one.node.node_id, one.score) for one in found] == [
            (str(one.document.id), one.score) for one in expected
        ]
        first = found[0].node
        assert (first.ref_doc_id, first.metadata["n"]) == (str(expected[0].source_id), "3")
        assert first.metadata["similarity"] == pytest.approx(1, abs=1e-3)
        filtered = ItemRetriever(client, search={"filter": {"n": "1"}}).retrieve("cat")
        assert [one.node.text for one in filtered] == ["ant"]
        near = QueryBundle("no text at all", embedding=vector_of(b"bee").tolist())
        assert asyncio.run(ItemRetriever(client, k=1).aretrieve(near))[0].node.text == "bee"
        embeddings = QueryEmbeddings(client=client)
        np.testing.assert_allclose(
            embeddings.get_query_embedding("cat"), vector_of(b"cat"), atol=2e-3
        )
        with pytest.raises(ConfigurationError, match="INSERT them into source_items"):
            embeddings.get_text_embedding("cat")
        asyncio.run(awaited())
