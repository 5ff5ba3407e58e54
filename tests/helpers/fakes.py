"""An embedder that needs no model: vectors from a hash of the input, quick and deterministic."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.embedders.description import ModelDescription
from pipeline.modalities.text.windows import TextWindow
from pipeline.vectors import Vectors, unit_rows

FAKE_DIMENSIONS = 8


def vector_of(content: bytes, dimensions: int = FAKE_DIMENSIONS) -> Vectors:
    """The unit vector (dimensions,) that the fake gives this content."""
    seed = int.from_bytes(hashlib.sha256(content).digest()[:8])
    return unit_rows(np.random.default_rng(seed).normal(size=(1, dimensions)))[0]


class FakeEmbedder:
    """Stands in for ``MultimodalEmbedder``; ``before`` is called with every batch."""

    def __init__(
        self,
        dimensions: int = FAKE_DIMENSIONS,
        before: Callable[[Sequence[bytes]], None] | None = None,
    ) -> None:
        self.batch_size = 0  # whatever the settings say
        self.dimensions = dimensions
        self.before = before
        self.embedded = 0
        self.description = ModelDescription(
            model="fake",
            architecture="fake",
            architecture_config={},
            dimensions=dimensions,
            image_size=(8, 8),
            context_length=16,
            text_is_causal=True,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            interpolation="bicubic",
            resize_mode="shortest",
            fill_color=0,
            tokenizer={"kind": "bytes"},
            precision="float32",
            weights_sha256=f"fake-{dimensions}",
            logit_scale=100.0,
            logit_bias=None,
        )

    def prepare_image(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        small = np.asarray(image.convert("RGB").resize((8, 8)), dtype=np.uint8)
        return np.ascontiguousarray(small.transpose(2, 0, 1))

    def prepare_texts(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        rows = np.zeros((len(texts), 256), dtype=np.int32)
        for row, text in zip(rows, texts, strict=True):
            data = text.encode()[:256]
            row[: len(data)] = np.frombuffer(data, dtype=np.uint8)
        return rows

    def split_text(self, text: str, overlap: int, max_windows: int) -> list[TextWindow]:
        if len(text) <= 256:
            return [TextWindow(text=text, start=0, end=len(text))]
        return [
            TextWindow(text=text[i : i + 256], start=i, end=min(i + 256, len(text)))
            for i in range(0, len(text), 256)
        ]

    def embed_prepared_images(self, batch: Sequence[npt.NDArray[np.uint8]]) -> Vectors:
        return self._embed([pixels.tobytes() for pixels in batch])

    def embed_prepared_texts(self, tokens: npt.NDArray[np.int32]) -> Vectors:
        return self._embed([bytes(row.astype(np.uint8)).rstrip(b"\0") for row in tokens])

    def embed_text(self, texts: Sequence[str]) -> Vectors:
        return self.embed_prepared_texts(self.prepare_texts(texts))

    def embed_images(self, images: Sequence[Image.Image]) -> Vectors:
        return self.embed_prepared_images([self.prepare_image(image) for image in images])

    def _embed(self, contents: list[bytes]) -> Vectors:
        if self.before is not None:
            self.before(contents)
        self.embedded += len(contents)
        return np.stack([vector_of(content, self.dimensions) for content in contents])


def add_texts(connection: Any, texts: Sequence[str], source: str = "test") -> None:
    """Source rows in one statement, as an application would insert them."""
    connection.execute(
        """
        INSERT INTO source_items (source, source_key, modality, content_ref)
        SELECT %s, n::text, 'text', t FROM unnest(%s::text[]) WITH ORDINALITY AS u (t, n)
        """,
        (source, list(texts)),
    )
