"""LlamaIndex: a retriever over ``search_items()``, and vectors of queries by ``pipeline serve``.

retriever = ItemRetriever(client=Client(url), k=5, search={"modality": "image"})
retriever.retrieve("a red bicycle")
"""

import asyncio
from typing import Any

from pipeline.client.async_client import AsyncClient
from pipeline.client.client import Client
from pipeline.errors import ConfigurationError, MissingExtra
from pipeline.integrations.described import DOCUMENTS, described
from pipeline.search.results import Neighbour

try:
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.schema import (
        NodeRelationship,
        NodeWithScore,
        QueryBundle,
        RelatedNodeInfo,
        TextNode,
    )
    from pydantic import Field
except ImportError as exc:
    raise MissingExtra("LlamaIndex", "llamaindex") from exc


class ItemRetriever(BaseRetriever):
    """The items nearest to a text, as nodes.

    A node's text is the item's ``content_ref``: the text itself, or the path or URI of an image.
    Its metadata is the item's, with ``modality``, ``source_id``, ``part``, ``similarity`` and
    ``score`` beside it; its id is the item's, and its source the source item's. Nodes of images
    are no ``ImageNode``: LlamaIndex would open whatever path or URL somebody wrote into a row.

    Args:
        client: for ``retrieve()``; without an ``async_client`` for ``aretrieve()`` too, in a
            thread.
        async_client: for ``aretrieve()``.
        k: how many.
        search: other arguments of ``Client.search``: ``modality``, ``filter``, ``ranking``.
        options: of LlamaIndex's own ``BaseRetriever``.
    """

    def __init__(
        self,
        client: Client | None = None,
        *,
        async_client: AsyncClient | None = None,
        k: int = 10,
        search: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._client = client
        self._async_client = async_client
        self._search = {"k": k, **(search or {})}

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        if self._client is None:
            raise ConfigurationError("this retriever has no client=, so only aretrieve() works")
        text, vector = _query(query_bundle)
        found = self._client.search(text, vector=vector, **self._search)
        return [_node(one) for one in found]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        if self._async_client is None:
            return await asyncio.to_thread(self._retrieve, query_bundle)
        text, vector = _query(query_bundle)
        found = await self._async_client.search(text, vector=vector, **self._search)
        return [_node(one) for one in found]


class QueryEmbeddings(BaseEmbedding):
    """Vectors of queries, for what asks an embedding of LlamaIndex for them.

    Documents are no affair of this: they are rows of ``source_items``, which an ingestion embeds.

    Attributes:
        client: for the calls that block; without an ``async_client`` for the others too.
        async_client: for the calls that are awaited.
    """

    model_name: str = "pipeline serve"
    client: Client | None = Field(default=None, exclude=True)
    async_client: AsyncClient | None = Field(default=None, exclude=True)

    def _get_query_embedding(self, query: str) -> list[float]:
        if self.client is None:
            raise ConfigurationError("these embeddings have no client=, so only awaiting works")
        vector: list[float] = self.client.embed([query])[0].tolist()
        return vector

    async def _aget_query_embedding(self, query: str) -> list[float]:
        if self.async_client is None:
            return await asyncio.to_thread(self._get_query_embedding, query)
        vector: list[float] = (await self.async_client.embed([query]))[0].tolist()
        return vector

    def _get_text_embedding(self, text: str) -> list[float]:
        raise ConfigurationError(DOCUMENTS)


def _query(bundle: QueryBundle) -> tuple[str | None, list[float] | None]:
    """Its text, or its vector, where it has one already and nobody has to be asked."""
    return (None, bundle.embedding) if bundle.embedding else (bundle.query_str, None)


def _node(found: Neighbour) -> NodeWithScore:
    item = found.document
    node = TextNode(id_=str(item.id), text=item.content_ref, metadata=described(found))
    node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=str(found.source_id))
    return NodeWithScore(node=node, score=found.score)
