"""LangChain: a retriever over ``search_items()``, and the vectors of queries by ``pipeline serve``.

retriever = ItemRetriever(client=Client(url), k=5, search={"modality": "image"})
retriever.invoke("a red bicycle")

A vector store that sorts by the bare cosine puts every text before every image; this retriever
ranks what is of several modalities as ``search_items()`` does.
"""

from typing import Any

from pipeline.client.async_client import AsyncClient
from pipeline.client.client import Client
from pipeline.errors import ConfigurationError, MissingExtra
from pipeline.integrations.described import DOCUMENTS, described
from pipeline.search.results import Neighbour

try:
    from langchain_core.callbacks import (
        AsyncCallbackManagerForRetrieverRun,
        CallbackManagerForRetrieverRun,
    )
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.retrievers import BaseRetriever
    from pydantic import ConfigDict, Field
except ImportError as exc:
    raise MissingExtra("LangChain", "langchain") from exc


class ItemRetriever(BaseRetriever):
    """The items nearest to a text, as documents.

    A document's content is the item's ``content_ref``: the text itself, or the path or URI of an
    image. Its metadata is the item's, with ``modality``, ``source_id``, ``part``, ``similarity``
    and ``score`` beside it; its id is the item's.

    Attributes:
        client: for ``invoke()``; without an ``async_client`` for ``ainvoke()`` too, in a thread.
        async_client: for ``ainvoke()``.
        k: how many.
        search: other arguments of ``Client.search``: ``modality``, ``filter``, ``ranking``.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    client: Client | None = None
    async_client: AsyncClient | None = None
    k: int = 10
    search: dict[str, Any] = Field(default_factory=dict)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        if self.client is None:
            raise ConfigurationError("this retriever has no client=, so only ainvoke() works")
        return [_document(found) for found in self.client.search(query, k=self.k, **self.search)]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        if self.async_client is None:
            return await super()._aget_relevant_documents(query, run_manager=run_manager)
        found = await self.async_client.search(query, k=self.k, **self.search)
        return [_document(one) for one in found]


class QueryEmbeddings(Embeddings):
    """Vectors of queries, for a vector store that reads ``multimodal_items``.

    Documents are no affair of this: they are rows of ``source_items``, which an ingestion embeds.
    """

    def __init__(
        self, client: Client | None = None, *, async_client: AsyncClient | None = None
    ) -> None:
        self._client = client
        self._async_client = async_client

    def embed_query(self, text: str) -> list[float]:
        """The unit vector of a query. Raises as ``Client.embed``."""
        if self._client is None:
            raise ConfigurationError("these embeddings have no client=, so only aembed_query works")
        vector: list[float] = self._client.embed([text])[0].tolist()
        return vector

    async def aembed_query(self, text: str) -> list[float]:
        """The same, awaited; without an ``async_client`` in a thread."""
        if self._async_client is None:
            return await super().aembed_query(text)
        vector: list[float] = (await self._async_client.embed([text]))[0].tolist()
        return vector

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Raises ConfigurationError: add them to ``source_items`` instead."""
        raise ConfigurationError(DOCUMENTS)


def _document(found: Neighbour) -> Document:
    item = found.document
    return Document(id=str(item.id), page_content=item.content_ref, metadata=described(found))
