"""Contents of many requests in few forward passes, each request in its turn."""

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeAlias

from pipeline.embedders.isolation import Result, embed_isolating, most_inputs
from pipeline.embedders.whole import embed_whole
from pipeline.errors import ModelUnavailable
from pipeline.modalities import Encoder, Part, Role

Content: TypeAlias = Sequence[Part]


@dataclass(eq=False)
class _Waiting:
    """One request's contents of one modality: ``contents[:taken]`` are embedded or being so."""

    encoder: Encoder
    role: Role
    contents: Sequence[Content]
    results: list[Result] = field(default_factory=list)
    taken: int = 0
    future: Future[list[Result]] = field(default_factory=Future)

    def goes_with(self, other: "_Waiting") -> bool:
        return self.encoder is other.encoder and self.role == other.role

    @property
    def is_taken(self) -> bool:
        return self.taken == len(self.contents)


class Batcher:
    """Embeds in a thread of its own; what comes while a batch is embedded makes up the next.

    Attributes:
        batches: so many were embedded.
    """

    def __init__(self) -> None:
        self.batches = 0
        self._requests: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="embeddings api", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many requests have contents that are not being embedded yet."""
        with self._changed:
            return len(self._requests)

    def embed(self, encoder: Encoder, role: Role, contents: Sequence[Content]) -> list[Result]:
        """One result per content, in order: its unit vector (dimensions,), or its error.

        Raises:
            ModelError: the model is broken, or serving has ended.
        """
        if not contents:
            return []
        request = _Waiting(encoder, role, contents)
        with self._changed:
            if self._is_closed:
                raise _ended()
            self._requests.append(request)
            self._changed.notify()
        return request.future.result()

    def close(self) -> None:
        """Finish the batch that is being embedded; who still waits is told that it is over."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()
        for request in self._requests:
            request.future.set_exception(_ended())

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._requests or self._is_closed)
                if self._is_closed:
                    return
                taken = self._take()
            self._embed(taken)

    def _take(self) -> list[_Waiting]:
        """Whose next content is in the batch, once for each: of every request one in its turn."""
        first = self._requests[0]
        size = min(max(1, first.encoder.batch_size), most_inputs(first.encoder))
        turns = deque(r for r in self._requests if r.goes_with(first))
        batch: list[_Waiting] = []
        while turns and len(batch) < size:
            request = turns.popleft()
            batch.append(request)
            request.taken += 1
            if not request.is_taken:
                turns.append(request)
        # Those of this batch go behind those of other models and roles.
        others = [r for r in self._requests if not r.goes_with(first)]
        same = [r for r in self._requests if r.goes_with(first) and not r.is_taken]
        # Who was not reached comes first the next time.
        same.sort(key=lambda r: r in batch)
        self._requests = deque(others + same)
        return batch

    def _embed(self, batch: list[_Waiting]) -> None:
        begun: dict[_Waiting, int] = {}
        contents: list[Content] = []
        for request in batch:
            place = begun.setdefault(request, len(request.results))
            contents.append(request.contents[place])
            begun[request] += 1
        encoder, role = batch[0].encoder, batch[0].role
        try:
            results = embed_isolating(lambda some: embed_whole(encoder, some, role), contents)
        except Exception as exc:
            self._fail(list(begun), exc)
            return
        finally:
            self.batches += 1
        for request, result in zip(batch, results, strict=True):
            request.results.append(result)
        for request in begun:
            if len(request.results) == len(request.contents):
                request.future.set_result(request.results)

    def _fail(self, requests: list[_Waiting], error: Exception) -> None:
        with self._changed:
            for request in requests:
                if request in self._requests:
                    self._requests.remove(request)
        for request in requests:
            request.future.set_exception(error)


def _ended() -> ModelUnavailable:
    return ModelUnavailable("the server is stopping")
