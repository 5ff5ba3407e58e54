"""OpenCLIP: find, fetch, check and build a model, and embed texts and images with it.

``embedder``, and what it alone uses, imports torch; the other modules do not.
"""

from typing import TYPE_CHECKING

from pipeline.embedders.description import Description
from pipeline.embedders.openclip.description import OpenClipDescription

if TYPE_CHECKING:
    from pipeline.embedders.base import Embedder


class OpenClip:
    """Every architecture and checkpoint that OpenCLIP has, and local ones; see ``checkpoints``."""

    kind: str = OpenClipDescription.kind
    description: type[Description] = OpenClipDescription

    def claims(self, spec: str) -> bool:
        return True  # its specs have many forms; what is none of them it refuses in a sentence

    # Each of these imports torch and OpenCLIP, which takes seconds: only when a model is wanted.

    def open(
        self,
        spec: str,
        *,
        device: str,
        precision: str,
        batch_size: int,
        weights_sha256: str | None = None,
    ) -> "Embedder":
        from pipeline.embedders.openclip.embedder import MultimodalEmbedder

        return MultimodalEmbedder(
            spec,
            device=device,
            precision=precision,
            batch_size=batch_size,
            weights_sha256=weights_sha256,
        )

    def open_new(self, spec: str, *, device: str, precision: str) -> "Embedder":
        from pipeline.embedders.openclip.embedder import embedder_of_new_space

        return embedder_of_new_space(spec, device=device, precision=precision)

    def cosine_to_float32(self, spec: str, precision: str, *, device: str) -> float:
        from pipeline.embedders.openclip.embedder import precision_cosine

        return precision_cosine(spec, precision, device=device)


OPENCLIP = OpenClip()
