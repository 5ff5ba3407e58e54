"""EmbeddingGemma 2: texts, images and sounds in one space, by transformers' own model.

Its processor and model are called as they are, never through sentence-transformers, which opens
paths and URLs that stand in a text. ``embedder``, and what it alone uses, imports torch.
"""

from typing import TYPE_CHECKING

from pipeline.embedders.description import Description
from pipeline.embedders.embeddinggemma import spec as specs
from pipeline.embedders.embeddinggemma.description import EmbeddingGemmaDescription

if TYPE_CHECKING:
    from pipeline.embedders.base import Embedder


class EmbeddingGemma:
    """Folders and repositories of the model type ``embedding_gemma2``; see ``spec``."""

    kind: str = EmbeddingGemmaDescription.kind
    description: type[Description] = EmbeddingGemmaDescription

    def claims(self, spec: str) -> bool:
        return specs.claims(spec)

    # Each of these imports torch and transformers, which takes seconds.

    def open(
        self,
        spec: str,
        *,
        device: str,
        precision: str,
        batch_size: int,
        weights_sha256: str | None = None,
    ) -> "Embedder":
        from pipeline.embedders.embeddinggemma.opening import opened

        return opened(spec, device, precision, batch_size, weights_sha256)

    def open_new(self, spec: str, *, device: str, precision: str) -> "Embedder":
        from pipeline.embedders.embeddinggemma.opening import opened_new

        return opened_new(spec, device, precision)

    def cosine_to_float32(self, spec: str, precision: str, *, device: str) -> float:
        from pipeline.embedders.embeddinggemma.opening import cosine_to_float32

        return cosine_to_float32(spec, precision, device)


EMBEDDING_GEMMA = EmbeddingGemma()
