"""Rows embedded away from the database and its queue: each becomes vectors, or the code of why not.

The stages are the worker's own, loading, decoding, cutting, embedding, one batch after another and
without what takes a database: no vector is known beforehand, and nothing is claimed or written.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import attrgetter
from types import TracebackType
from typing import Self

from pipeline.embedders import Embedder
from pipeline.embedders.derived import all_encoders
from pipeline.embedders.isolation import embed_isolating, most_inputs
from pipeline.errors import TransientRowError
from pipeline.ingest.assembly import Assembly
from pipeline.ingest.parts import Batch, Failure, Outcome, PreparedPart, Result
from pipeline.ingest.preparing import Load, Preparer
from pipeline.ingest.reading import open_readers
from pipeline.jobs import ClaimedJob
from pipeline.loaders import Loader, LoadOptions
from pipeline.modalities import Reader
from pipeline.settings import Settings
from pipeline.spaces.portable import PortableSpace


class OfflineEmbedder:
    """Embeds rows that are handed to it. One thread at a time.

    Args:
        embedder: the space's model.
        readers: by modality.
        load: from a reference to its content, raising ``RowError``.
        load_workers: references that are loaded at the same time.
    """

    def __init__(
        self, embedder: Embedder, readers: Mapping[str, Reader], load: Load, load_workers: int
    ) -> None:
        self._encoders = all_encoders(embedder)
        self._preparer = Preparer(
            readers, load, lambda _modality, _hashes: {}, lambda _stage: contextlib.nullcontext()
        )
        self._threads = ThreadPoolExecutor(load_workers, "load")
        self._open = contextlib.ExitStack()
        self._open.callback(self._threads.shutdown, wait=False, cancel_futures=True)

    @classmethod
    def of(cls, space: PortableSpace, settings: Settings) -> Self:
        """With the space's own model and what reads its content.

        Raises:
            ModelError: it cannot be loaded, is another one, or gives other vectors.
        """
        embedder = space.open_model(device=settings.device, batch_size=settings.batch_size)
        with contextlib.ExitStack() as stack:
            loader = stack.enter_context(Loader(LoadOptions.of(settings), space.media_roots))
            readers = stack.enter_context(open_readers(space.space, embedder, settings))
            own = cls(embedder, readers, loader.load, settings.load_workers)
            own._open.enter_context(stack.pop_all())
        return own

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close what reads the content, and its processes."""
        self._open.close()

    def embed(self, jobs: Sequence[ClaimedJob]) -> Batch:
        """What became of each of these rows: finished with all of its parts, or failed.

        Raises:
            ModelError: the model breaks down, which is no row's fault.
        """
        outcomes: list[Outcome] = []
        waiting: dict[str, list[PreparedPart]] = {}
        for modality, parts, failures in self._prepared(jobs):
            outcomes.append(Outcome(failures=failures))
            waiting.setdefault(modality, []).extend(parts)
        for modality, parts in waiting.items():
            outcomes.append(Outcome(embedded=self._embed(modality, parts)))
        return Assembly().take(outcomes)

    def _prepared(
        self, jobs: Sequence[ClaimedJob]
    ) -> Iterator[tuple[str, list[PreparedPart], list[Failure]]]:
        by_modality = attrgetter("modality")
        for modality, same in groupby(sorted(jobs, key=by_modality), key=by_modality):
            of_modality = list(same)
            together = self._preparer.is_inline(modality)
            groups = [of_modality] if together else [[job] for job in of_modality]
            for parts, failures in self._threads.map(
                lambda group, modality=modality: self._prepare(modality, group), groups
            ):
                yield modality, parts, failures

    def _prepare(
        self, modality: str, jobs: Sequence[ClaimedJob]
    ) -> tuple[list[PreparedPart], list[Failure]]:
        try:
            return self._preparer.prepare(modality, jobs)
        except Exception as exc:  # of ours or of a library: as in a worker, it costs these rows
            error = TransientRowError("internal", f"{type(exc).__name__}: {exc}")
            return [], [(job, error) for job in jobs]

    def _embed(
        self, modality: str, parts: Sequence[PreparedPart]
    ) -> list[tuple[PreparedPart, Result]]:
        if not parts:
            return []
        encoder = self._encoders[modality]
        results: list[Result] = []
        while len(results) < len(parts):
            most = most_inputs(encoder)  # each time: less fits after a lack of memory
            some = parts[len(results) : len(results) + most]
            results += embed_isolating(encoder.embed, [part.input for part in some])
        return list(zip(parts, results, strict=True))
