"""Cross-modal search for people who already run PostgreSQL.

Importing this package loads neither torch nor a database driver: the public names below are
resolved on first use (PEP 562), so a web process pays only for what it touches.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.documents import ModalityType, MultimodalDocument
    from pipeline.embedders.openclip.embedder import MultimodalEmbedder
    from pipeline.index import UnifiedIndex, build_unified_index, retrieve_cross_modal
    from pipeline.models import MultimodalItem, SourceItem
    from pipeline.search import nearest_to, similar_to

__version__ = "0.1.0"

_HOMES = {
    "ModalityType": "pipeline.documents",
    "MultimodalDocument": "pipeline.documents",
    "MultimodalEmbedder": "pipeline.embedders.openclip.embedder",
    "MultimodalItem": "pipeline.models",
    "SourceItem": "pipeline.models",
    "UnifiedIndex": "pipeline.index",
    "build_unified_index": "pipeline.index",
    "nearest_to": "pipeline.search",
    "retrieve_cross_modal": "pipeline.index",
    "similar_to": "pipeline.search",
}

__all__ = [
    "ModalityType",
    "MultimodalDocument",
    "MultimodalEmbedder",
    "MultimodalItem",
    "SourceItem",
    "UnifiedIndex",
    "build_unified_index",
    "nearest_to",
    "retrieve_cross_modal",
    "similar_to",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
