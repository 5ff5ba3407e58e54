"""Texts and images as a server gets them."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.embedders.remote.client import Client
from pipeline.embedders.remote.dialects.base import Question, RemoteInput, UnreadableAnswer
from pipeline.embedders.remote.tokens import estimate
from pipeline.errors import ModelError, PermanentRowError, RemoteModelError, RowError
from pipeline.modalities.base import Input, Role
from pipeline.modalities.text.windows import TextWindow, split_text
from pipeline.vectors import Vectors, unit_rows

Bytes = npt.NDArray[np.uint8]

# At the same time, of one encoder.
REQUESTS = 4
# Above this a PNG is sent as a JPEG.
_LARGE = 4 * 2**20
_JPEG = b"\xff\xd8"


class RemoteEncoder:
    """What texts and images have in common: requests within the dialect's limits.

    Args:
        dimensions: of a vector; 0: not known yet.
    """

    def __init__(self, client: Client, dimensions: int = 0) -> None:
        self.dimensions = dimensions
        self._client = client
        self._threads = ThreadPoolExecutor(REQUESTS, "remote")
        # What came of a call that failed for another of its inputs, which is called again in
        # halves: no server is paid twice.
        self._kept: dict[bytes, npt.NDArray[np.float32]] = {}

    @property
    def batch_size(self) -> int:
        return self._client.spec.dialect.items

    @property
    def most_inputs(self) -> int:
        return REQUESTS * self._client.spec.dialect.items

    def embed(self, inputs: Sequence[Input], role: Role = "item") -> Vectors:
        """See ``Encoder.embed``.

        Raises:
            PermanentRowError: ``refused``: the server refuses one of the inputs.
        """
        keys = [hashlib.sha256(role.encode() + one.tobytes()).digest() for one in inputs]
        wanted = dict(zip(keys, inputs, strict=True))
        asked: list[tuple[list[bytes], Future[Vectors]]] = []
        todo = [(key, one) for key, one in wanted.items() if key not in self._kept]
        for some in self._requests([sent_of(one) for _, one in todo]):
            sent = [sent_of(todo[n][1]) for n in some]
            asked.append(([todo[n][0] for n in some], self._threads.submit(self._ask, sent, role)))
        errors: list[Exception] = []
        for of, future in asked:
            try:
                self._kept.update(zip(of, future.result(), strict=True))
            except (RowError, ModelError) as exc:
                errors.append(exc)
        if errors:
            raise next((e for e in errors if isinstance(e, ModelError)), errors[0])
        rows = np.stack([self._kept[key] for key in keys])
        for key in wanted:
            del self._kept[key]
        return rows

    def _requests(self, inputs: Sequence[RemoteInput]) -> Iterator[list[int]]:
        """The inputs by number, as many together as one request takes."""
        dialect = self._client.spec.dialect
        some: list[int] = []
        tokens = sent = 0
        for number, one in enumerate(inputs):
            its_tokens, its_bytes = estimate(one.text), one.sent_bytes
            if some and (
                len(some) == dialect.items
                or tokens + its_tokens > dialect.tokens
                or sent + its_bytes > dialect.body_bytes
            ):
                yield some
                some, tokens, sent = [], 0, 0
            some.append(number)
            tokens, sent = tokens + its_tokens, sent + its_bytes
        if some:
            yield some

    def _ask(self, inputs: Sequence[RemoteInput], role: Role) -> Vectors:
        spec = self._client.spec
        question = Question(spec.model, inputs, role, spec.dimensions)
        answer = self._client.ask(question, sum(estimate(one.text) for one in inputs))
        try:
            vectors = np.asarray(answer.vectors, dtype=np.float32)
            if vectors.ndim != 2:
                raise UnreadableAnswer("vectors of several lengths")
        except (TypeError, ValueError, UnreadableAnswer) as exc:
            raise RemoteModelError(
                f"the model's server gives vectors that are none: {exc}"
            ) from exc
        if self.dimensions and vectors.shape[1] != self.dimensions:
            raise RemoteModelError(
                f"the model's server gives {vectors.shape[1]} dimensions, and gave "
                f"{self.dimensions} before: another model answers to {spec.model!r} now"
            )
        return unit_rows(vectors)


def sent_of(one: Input) -> RemoteInput:
    """An input as ``prepare`` made it."""
    data = one.tobytes()
    if one.ndim == 1:
        return RemoteInput(text=data.decode("utf-8", "surrogatepass"))
    kind = "jpeg" if data.startswith(_JPEG) else "png"
    return RemoteInput(image=data, media_type=f"image/{kind}")


class RemoteTexts(RemoteEncoder):
    """Texts, cut into windows by an estimate of their tokens."""

    @property
    def tells_roles(self) -> bool:
        return self._client.spec.dialect.tells_roles

    def split(self, text: str, overlap: int, max_windows: int) -> list[TextWindow]:
        """See ``pipeline.modalities.text.TextEncoder``."""
        return split_text(text, estimate, self._client.spec.context, overlap, max_windows)

    def prepare(self, contents: Sequence[str]) -> list[Bytes]:
        """The texts as UTF-8, uint8, shape (bytes,) each.

        Raises:
            PermanentRowError: ``bad_text``: no UTF-8 can say it.
        """
        try:
            return [np.frombuffer(text.encode(), dtype=np.uint8) for text in contents]
        except UnicodeEncodeError as exc:
            raise PermanentRowError("bad_text", f"it is no text: {exc.reason}") from exc


@dataclass(frozen=True, slots=True)
class Within:
    """An image no larger than this, in RGB; smaller ones stay as they are. Can be pickled."""

    side: int

    def __call__(self, image: Image.Image) -> Image.Image:
        if max(image.size) > self.side:
            scale = self.side / max(image.size)
            size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
            image = image.resize(size, Image.Resampling.BICUBIC)
        return image if image.mode == "RGB" else image.convert("RGB")


class RemoteImages(RemoteEncoder):
    """Images: upright, without metadata, no larger than the model reads."""

    @property
    def fit(self) -> Within:
        return Within(self._client.spec.side)

    def prepare(self, contents: Sequence[Image.Image]) -> list[Bytes]:
        """Files of their own, uint8, shape (1, bytes) each: PNG, or JPEG where that is large."""
        return [
            np.frombuffer(_file_of(self.fit(image)), dtype=np.uint8)[None] for image in contents
        ]


def _file_of(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=3)
    if file.tell() > _LARGE:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()
