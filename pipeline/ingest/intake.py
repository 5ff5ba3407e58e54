"""Load and prepare: from a claimed job to the model's input, one or more parts of it."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.errors import RowError
from pipeline.ingest.known_vectors import LookUp
from pipeline.modalities.text.cleaning import clean_text, redact
from pipeline.modalities.text.windows import TextWindow
from pipeline.queue.claims import ClaimedJob
from pipeline.settings import Settings
from pipeline.vectors import Vectors


class Embedder(Protocol):
    """What the stages need of ``MultimodalEmbedder``; a test or a benchmark may bring its own."""

    def prepare_image(self, image: Image.Image) -> npt.NDArray[np.uint8]: ...
    def prepare_texts(self, texts: Sequence[str]) -> npt.NDArray[np.int32]: ...
    def split_text(self, text: str, overlap: int, max_windows: int) -> list[TextWindow]: ...
    def embed_prepared_images(self, batch: Sequence[npt.NDArray[np.uint8]]) -> Vectors: ...
    def embed_prepared_texts(self, tokens: npt.NDArray[np.int32]) -> Vectors: ...


class Content(Protocol):
    """Loaded bytes (``pipeline.loaders.LoadedContent``)."""

    @property
    def data(self) -> bytes: ...
    @property
    def sha256(self) -> bytes: ...
    @property
    def info(self) -> dict[str, Any]: ...


class Picture(Protocol):
    """A decoded picture (``pipeline.modalities.image.decoder.PreparedPicture``)."""

    @property
    def image(self) -> Image.Image: ...
    @property
    def notes(self) -> dict[str, Any]: ...


@dataclass(slots=True)
class PreparedPart:
    """The model's input for one item. ``input`` is None where ``vector`` is known already.

    ``found`` is what the intake saw, for the item's metadata. Not frozen: ``input``, by far the
    largest of it, is dropped once the model has seen it.
    """

    job: ClaimedJob
    part: int
    parts: int
    content_ref: str
    found: dict[str, Any]
    content_sha256: bytes
    input: npt.NDArray[Any] | None
    vector: npt.NDArray[np.float32] | None = None


class Intake:
    """Turns jobs into parts. Thread-safe as far as its loader and decoder are.

    ``timed`` notes for the report how long the stages "load" and "prepare" take.
    """

    def __init__(
        self,
        embedder: Embedder,
        load: Callable[[str], Content],
        decode: Callable[[bytes], Picture],
        known_vectors: LookUp,
        settings: Settings,
        timed: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self._embedder = embedder
        self._load = load
        self._decode = decode
        self._known_vectors = known_vectors
        self._settings = settings
        self._timed = timed

    def image(self, job: ClaimedJob) -> list[PreparedPart]:
        """One part. Content whose vector the space has already is neither decoded nor embedded.

        Raises:
            RowError: the reference or the picture is bad.
        """
        with self._timed("load"):
            content = self._load(job.content_ref)
        found = dict(content.info)
        pixels = None
        with self._timed("prepare"):
            vector = self._known_vectors("image", [content.sha256]).get(content.sha256)
            if vector is None:
                picture = self._decode(content.data)
                found |= picture.notes
                pixels = self._embedder.prepare_image(picture.image)
        return [
            PreparedPart(
                job=job,
                part=0,
                parts=1,
                content_ref=_pointer(job.content_ref),
                found=found,
                content_sha256=content.sha256,
                input=pixels,
                vector=vector,
            )
        ]

    def texts(
        self, jobs: Sequence[ClaimedJob]
    ) -> tuple[list[PreparedPart], list[tuple[ClaimedJob, RowError]]]:
        """The parts of many texts at once, and the jobs whose text cannot be embedded."""
        with self._timed("prepare"):
            return self._texts(jobs)

    def _texts(
        self, jobs: Sequence[ClaimedJob]
    ) -> tuple[list[PreparedPart], list[tuple[ClaimedJob, RowError]]]:
        windows: list[tuple[ClaimedJob, int, int, TextWindow]] = []
        failures: list[tuple[ClaimedJob, RowError]] = []
        for job in jobs:
            try:
                parts = self._embedder.split_text(
                    clean_text(job.content_ref),
                    self._settings.text_overlap_tokens,
                    self._settings.max_windows,
                )
            except RowError as exc:
                failures.append((job, exc))
                continue
            windows.extend((job, n, len(parts), window) for n, window in enumerate(parts))
        if not windows:
            return [], failures
        hashes = [hashlib.sha256(window.text.encode()).digest() for *_, window in windows]
        known = self._known_vectors("text", list(set(hashes)))
        tokens = self._embedder.prepare_texts([window.text for *_, window in windows])
        prepared = [
            PreparedPart(
                job=job,
                part=part,
                parts=parts,
                content_ref=window.text,
                found={}
                if parts == 1
                else {"parts": parts, "start": window.start, "end": window.end},
                content_sha256=digest,
                input=None if digest in known else row,
                vector=known.get(digest),
            )
            for (job, part, parts, window), digest, row in zip(windows, hashes, tokens, strict=True)
        ]
        return prepared, failures


def _pointer(content_ref: str) -> str:
    """The reference as the item keeps it: a data: URI is the picture itself, and stays out."""
    return redact(content_ref) if content_ref[:5].lower() == "data:" else content_ref
