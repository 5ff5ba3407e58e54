"""The model that is served now, and another one after an activation, under those who use it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pipeline import modalities
from pipeline.embedders import Embedder
from pipeline.modalities import Modality, Reader, ReadOptions
from pipeline.spaces import Space


@dataclass(eq=False)
class ServedModel:
    """A space with its model, and what decodes for it.

    Attributes:
        read: what decoding may take.
    """

    space: Space
    embedder: Embedder
    read: ReadOptions
    _readers: dict[str, Reader] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _users: int = 0
    _is_over: bool = False

    @property
    def names(self) -> tuple[str, str]:
        """What it may be asked for by."""
        return self.space.name, self.space.model

    def reader(self, modality: Modality) -> Reader:
        """Decodes for many threads; made when it is first wanted."""
        with self._lock:
            if modality.name not in self._readers:
                encoder = self.embedder.encoders[modality.name]
                self._readers[modality.name] = modality.reader(encoder, self.read)
            return self._readers[modality.name]

    @property
    def modalities(self) -> tuple[str, ...]:
        """That it can be asked for."""
        return tuple(name for name in self.embedder.encoders if modalities.find(name))

    @contextmanager
    def used(self) -> Iterator[None]:
        """Its decoders stay open meanwhile."""
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
            self._close_if_over()

    def retire(self) -> None:
        """Close its decoders, as soon as nobody uses them."""
        self._is_over = True
        self._close_if_over()

    def _close_if_over(self) -> None:
        with self._lock:
            if not self._is_over or self._users:
                return
            readers, self._readers = list(self._readers.values()), {}
        for reader in readers:
            reader.close()


class Current:
    """Which model is served now. For many threads.

    Args:
        read: what decoding may take.
    """

    def __init__(self, read: ReadOptions) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._model: ServedModel | None = None

    def become(self, space: Space, embedder: Embedder) -> None:
        """From now on this one; whoever uses the one of before goes on with that."""
        model = ServedModel(space, embedder, self._read)
        with self._lock:
            before, self._model = self._model, model
        if before is not None:
            before.retire()

    @contextmanager
    def using(self) -> Iterator[ServedModel | None]:
        """The model of now, kept open; None: it is being loaded."""
        with self._lock:
            model = self._model
            held = model.used() if model is not None else None
            if held is not None:
                held.__enter__()
        try:
            yield model
        finally:
            if held is not None:
                held.__exit__(None, None, None)

    def close(self) -> None:
        """End the decoders."""
        with self._lock:
            before, self._model = self._model, None
        if before is not None:
            before.retire()
