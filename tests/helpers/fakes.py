"""An embedder that needs no model: vectors from a hash of the input, quick and deterministic."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline import embedders
from pipeline.embedders import Description
from pipeline.errors import ModelError
from pipeline.modalities import IMAGE, TEXT, Encoder, Role
from pipeline.modalities.image.fitting import Fit
from pipeline.modalities.text import TextWindow
from pipeline.vectors import Vectors, unit_rows

FAKE_DIMENSIONS = 8
# A text of more characters has several windows.
WINDOW = 256


@dataclass(frozen=True, kw_only=True)
class FakeDescription(Description):
    kind = "fake"

    logit_scale: float


def vector_of(content: bytes, dimensions: int = FAKE_DIMENSIONS) -> Vectors:
    """The unit vector (dimensions,) that the fake gives this content."""
    seed = int.from_bytes(hashlib.sha256(content).digest()[:8])
    return unit_rows(np.random.default_rng(seed).normal(size=(1, dimensions)))[0]


class FakeEmbedder:
    """Stands in for a loaded model; ``before`` is called with every batch.

    A test that wants another model overrides ``embed``, ``split`` or ``prepare_image``.
    """

    def __init__(
        self,
        dimensions: int = FAKE_DIMENSIONS,
        before: Callable[[Sequence[bytes]], None] | None = None,
    ) -> None:
        self.batch_size = 16
        self.dimensions = dimensions
        self.before = before
        self.embedded = 0
        self.description: Description = FakeDescription(
            model="fake" if dimensions == FAKE_DIMENSIONS else f"fake:{dimensions}",
            dimensions=dimensions,
            precision="float32",
            weights_sha256=f"fake-{dimensions}",
            context_length=16,
            logit_scale=100.0,
        )
        self.encoders: dict[str, Encoder] = {
            TEXT.name: FakeTexts(self),
            IMAGE.name: FakeImages(self),
        }

    def split(self, text: str) -> list[TextWindow]:
        starts = range(0, max(1, len(text)), WINDOW)
        return [TextWindow(text[i : i + WINDOW], i, min(i + WINDOW, len(text))) for i in starts]

    def prepare_image(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        small = np.asarray(image.convert("RGB").resize((8, 8)), dtype=np.uint8)
        return np.ascontiguousarray(small.transpose(2, 0, 1))

    def embed(self, contents: list[bytes]) -> Vectors:
        if self.before is not None:
            self.before(contents)
        self.embedded += len(contents)
        return np.stack([vector_of(content, self.dimensions) for content in contents])


class FakeTexts:
    """The encoder of texts: as tokens their bytes."""

    most_inputs = 8192

    def __init__(self, model: FakeEmbedder) -> None:
        self.model = model

    @property
    def batch_size(self) -> int:
        return self.model.batch_size

    def split(self, text: str, overlap: int, max_windows: int) -> list[TextWindow]:
        return self.model.split(text)

    def prepare(self, contents: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        rows = np.zeros((len(contents), WINDOW), dtype=np.int32)
        for row, text in zip(rows, contents, strict=True):
            data = text.encode()[:WINDOW]
            row[: len(data)] = np.frombuffer(data, dtype=np.uint8)
        return list(rows)

    def embed(self, inputs: Sequence[npt.NDArray[Any]], role: Role = "item") -> Vectors:
        return self.model.embed([bytes(row.astype(np.uint8)).rstrip(b"\0") for row in inputs])


class FakeImages:
    """The encoder of images: of their thumbnails."""

    fit = Fit(8, 8, "squash")

    def __init__(self, model: FakeEmbedder) -> None:
        self.model = model

    @property
    def batch_size(self) -> int:
        return self.model.batch_size

    @property
    def most_inputs(self) -> int:
        return self.model.batch_size

    def prepare(self, contents: Sequence[Image.Image]) -> list[npt.NDArray[np.uint8]]:
        return [self.model.prepare_image(image) for image in contents]

    def embed(self, inputs: Sequence[npt.NDArray[Any]], role: Role = "item") -> Vectors:
        return self.model.embed([pixels.tobytes() for pixels in inputs])


class FakeFamily:
    """Spaces of the fake are opened like those of a real model: the spec says how many dimensions.

    ``make`` is what ``open`` calls; a test may put something else there.
    """

    kind: str = FakeDescription.kind
    description: type[Description] = FakeDescription

    def __init__(self) -> None:
        self.make: Callable[[int], FakeEmbedder] = FakeEmbedder

    def claims(self, spec: str) -> bool:
        return spec.partition(":")[0] == "fake"

    def open(
        self,
        spec: str,
        *,
        device: str,
        precision: str,
        batch_size: int,
        weights_sha256: str | None = None,
    ) -> FakeEmbedder:
        if not self.claims(spec):
            raise ModelError(f"{spec} is no fake")
        embedder = self.make(int(spec.partition(":")[2] or FAKE_DIMENSIONS))
        embedder.batch_size = batch_size or embedder.batch_size
        return embedder

    def open_new(self, spec: str, *, device: str, precision: str) -> FakeEmbedder:
        return self.open(spec, device=device, precision=precision, batch_size=0)

    def cosine_to_float32(self, spec: str, precision: str, *, device: str) -> float:
        return 1.0


FAKE_FAMILY = FakeFamily()
embedders.register(FAKE_FAMILY)


def add_texts(connection: Any, texts: Sequence[str], source: str = "test") -> None:
    """Source rows in one statement, as an application would insert them."""
    connection.execute(
        """
        INSERT INTO source_items (source, source_key, modality, content_ref)
        SELECT %s, n::text, 'text', t FROM unnest(%s::text[]) WITH ORDINALITY AS u (t, n)
        """,
        (source, list(texts)),
    )
