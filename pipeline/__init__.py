"""Cross-modal search for people who already run PostgreSQL.

Importing this package loads neither torch nor a database driver: the public names below are
resolved on first use (PEP 562), so a web process pays only for what it touches.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipeline.version import __version__ as __version__

if TYPE_CHECKING:
    from pipeline.client.async_client import AsyncClient
    from pipeline.client.client import Client
    from pipeline.embedders.openclip.embedder import MultimodalEmbedder
    from pipeline.modalities.names import ModalityType
    from pipeline.models import MultimodalItem, SourceItem
    from pipeline.search.attached_rows import items_of, nearest_rows
    from pipeline.search.functions import text_embedding
    from pipeline.search.results import MultimodalDocument, Neighbour, RowNeighbour
    from pipeline.search.select import nearest_to, similar_to
    from pipeline.sources.attachments import Attachment, attach, detach
    from pipeline.unified_index import UnifiedIndex, build_unified_index, retrieve_cross_modal

_HOMES = {
    "AsyncClient": "pipeline.client.async_client",
    "Attachment": "pipeline.sources.attachments",
    "Client": "pipeline.client.client",
    "ModalityType": "pipeline.modalities.names",
    "MultimodalDocument": "pipeline.search.results",
    "MultimodalEmbedder": "pipeline.embedders.openclip.embedder",
    "MultimodalItem": "pipeline.models",
    "Neighbour": "pipeline.search.results",
    "RowNeighbour": "pipeline.search.results",
    "SourceItem": "pipeline.models",
    "UnifiedIndex": "pipeline.unified_index",
    "attach": "pipeline.sources.attachments",
    "build_unified_index": "pipeline.unified_index",
    "detach": "pipeline.sources.attachments",
    "items_of": "pipeline.search.attached_rows",
    "nearest_rows": "pipeline.search.attached_rows",
    "nearest_to": "pipeline.search.select",
    "retrieve_cross_modal": "pipeline.unified_index",
    "similar_to": "pipeline.search.select",
    "text_embedding": "pipeline.search.functions",
}

__all__ = [
    "AsyncClient",
    "Attachment",
    "Client",
    "ModalityType",
    "MultimodalDocument",
    "MultimodalEmbedder",
    "MultimodalItem",
    "Neighbour",
    "RowNeighbour",
    "SourceItem",
    "UnifiedIndex",
    "attach",
    "build_unified_index",
    "detach",
    "items_of",
    "nearest_rows",
    "nearest_to",
    "retrieve_cross_modal",
    "similar_to",
    "text_embedding",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
