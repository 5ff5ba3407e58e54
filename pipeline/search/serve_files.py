"""Files as queries, answered beside the texts: decoded in other processes while texts go on."""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from pipeline import modalities
from pipeline.embedders import Embedder
from pipeline.embedders.derived import all_encoders
from pipeline.errors import PermanentRowError, RowError
from pipeline.modalities import IMAGE, Decoded, Modality, Reader, ReadOptions
from pipeline.postgres.reconnect import ReconnectingConnection
from pipeline.search import query_files
from pipeline.search.query_encoding import embed_query
from pipeline.search.serve_report import Answered
from pipeline.spaces import Space
from pipeline.vectors import Vectors

logger = logging.getLogger(__name__)

# How many are decoded at a time: a file that takes its decoder's whole time holds up so many others
# at most, and no text.
DECODERS = 2
FORGET_SECONDS = 10.0


@dataclass
class FileAnswers:
    """Claims files, decodes them in threads that wait for decoder processes, embeds and answers.

    Everything but the decoding is done in the thread of whoever calls :meth:`step`: one
    connection and one forward pass at a time, shared with the texts. ``told`` hears of each.
    """

    connection: ReconnectingConnection
    space: Space
    model: Embedder
    options: ReadOptions
    told: Callable[[Answered], None] = lambda answered: None
    _readers: dict[str, Reader] = field(init=False)
    _decoding: dict[Future[Decoded], tuple[str, Modality, float]] = field(default_factory=dict)
    _forget_at: float = 0.0

    def __post_init__(self) -> None:
        self._threads = ThreadPoolExecutor(DECODERS, thread_name_prefix="query file")
        self._readers = {
            name: modalities.get(name).reader(encoder, self.options)
            for name, encoder in all_encoders(self.model).items()
            if modalities.find(name) is not None
        }

    @property
    def is_busy(self) -> bool:
        """Whether something is being decoded."""
        return bool(self._decoding)

    def step(self) -> int:
        """Take what waits, as far as decoders are free, and answer what is decoded; how many."""
        free = DECODERS - len(self._decoding)
        if free:
            claimed = self.connection.run(lambda c: query_files.claim(c, self.space.id, free))
            for key, content in claimed:
                modality = modalities.sniffed(content, self.space.embeds) or IMAGE
                future = self._threads.submit(self._decode, modality, content)
                self._decoding[future] = (key, modality, time.monotonic())
        answered = 0
        for key, vector, error, began in self._done():
            self.connection.run(
                lambda c, k=key, v=vector, e=error: query_files.answer(c, k, v, e)  # type: ignore[misc]
            )
            answered += 1
            has_vector = vector is not None
            seconds = time.monotonic() - began
            self.told(Answered("files", int(has_vector), int(not has_vector), seconds))
        if not self._decoding and time.monotonic() >= self._forget_at:
            self._forget_at = time.monotonic() + FORGET_SECONDS
            self.connection.run(query_files.forget)
        return answered

    def _done(self) -> Iterator[tuple[str, Vectors | None, str | None, float]]:
        for future in [future for future in self._decoding if future.done()]:
            key, modality, began = self._decoding.pop(future)
            try:
                yield key, embed_query(self.model, modality, future.result()), None, began
            except RowError as exc:
                logger.warning("a query file cannot be embedded: %s", exc.message)
                yield key, None, exc.message, began

    def _decode(self, modality: Modality, content: bytes) -> Decoded:
        if modality.name not in self._readers:
            raise PermanentRowError(
                "unsupported_modality",
                f"the model has no encoder for {modality.name}; it has: {', '.join(self._readers)}",
            )
        return self._readers[modality.name].decode(content)

    def close(self) -> None:
        """Finish what is being decoded, for nobody, and end the decoder processes."""
        self._threads.shutdown(cancel_futures=True)
        for reader in self._readers.values():
            reader.close()
