"""From claimed jobs to the model's input: content loaded, decoded, cut into parts, prepared."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.errors import PermanentRowError, RowError
from pipeline.ingest.known_vectors import LookUp
from pipeline.ingest.parts import Failure, PreparedPart
from pipeline.jobs import ClaimedJob
from pipeline.modalities import Reader
from pipeline.references import pointer


class Content(Protocol):
    """Loaded bytes (``pipeline.loaders.LoadedContent``)."""

    @property
    def data(self) -> bytes: ...
    @property
    def sha256(self) -> bytes: ...
    @property
    def notes(self) -> Mapping[str, Any]: ...


Load = Callable[[str], Content]


@dataclass(slots=True)
class _Cut:
    """A part that still lacks the model's input, and what that is to be made of."""

    part: PreparedPart
    content: Any


class Preparer:
    """Turns jobs into parts. Thread-safe as far as what it is given is.

    Content whose vector the space has already is neither decoded nor embedded.

    Args:
        readers: by modality; those that the space has.
        load: from a reference to its content, raising ``RowError``.
        known_vectors: the vectors that the space has for content of these SHA-256 sums.
        timed: notes for the report how long the stages "load" and "prepare" take.
    """

    def __init__(
        self,
        readers: Mapping[str, Reader],
        load: Load,
        known_vectors: LookUp,
        timed: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self._readers = readers
        self._load = load
        self._known_vectors = known_vectors
        self._timed = timed

    def is_inline(self, modality: str) -> bool:
        """Whether nothing has to be loaded for it, so that many jobs are prepared together."""
        reader = self._readers.get(modality)
        return reader is not None and reader.modality.inline

    def prepare(
        self, modality: str, jobs: Sequence[ClaimedJob]
    ) -> tuple[list[PreparedPart], list[Failure]]:
        """The parts of these jobs, all of one modality, and the jobs that cannot be embedded."""
        reader = self._readers.get(modality)
        if reader is None:
            error = PermanentRowError(
                "unsupported_modality",
                f"the space's model has no encoder for the modality {modality!r}",
            )
            return [], [(job, error) for job in jobs]
        if reader.modality.inline:
            with self._timed("prepare"):
                return self._prepare_inline(reader, jobs)
        return self._prepare_loaded(reader, jobs)

    def _prepare_inline(
        self, reader: Reader, jobs: Sequence[ClaimedJob]
    ) -> tuple[list[PreparedPart], list[Failure]]:
        cuts: list[_Cut] = []
        failures: list[Failure] = []
        for job in jobs:
            data = job.content_ref.encode("utf-8", "surrogatepass")
            try:
                cuts += self._cut(reader, job, data, None, {})
            except RowError as exc:
                failures.append((job, exc))
        known = self._known_vectors(
            reader.modality.name, list({cut.part.content_sha256 for cut in cuts})
        )
        for cut in cuts:
            cut.part.vector = known.get(cut.part.content_sha256)
        failures += self._give_input(reader, cuts)
        return _without_failed(cuts, failures), failures

    def _prepare_loaded(
        self, reader: Reader, jobs: Sequence[ClaimedJob]
    ) -> tuple[list[PreparedPart], list[Failure]]:
        parts: list[PreparedPart] = []
        failures: list[Failure] = []
        for job in jobs:
            try:
                with self._timed("load"):
                    content = self._load(job.content_ref)
                with self._timed("prepare"):
                    parts += self._of_content(reader, job, content)
            except RowError as exc:
                failures.append((job, exc))
        return parts, failures

    def _of_content(self, reader: Reader, job: ClaimedJob, content: Content) -> list[PreparedPart]:
        name = reader.modality.name
        vector = self._known_vectors(name, [content.sha256]).get(content.sha256)
        if vector is not None:
            shown = pointer(job.content_ref)
            return [PreparedPart(job, 0, 1, shown, content.notes, content.sha256, None, vector)]
        cuts = self._cut(reader, job, content.data, content.sha256, content.notes)
        others = {c.part.content_sha256 for c in cuts} - {content.sha256}
        if others:
            known = self._known_vectors(name, list(others))
            for cut in cuts:
                cut.part.vector = known.get(cut.part.content_sha256)
        for _, error in self._give_input(reader, cuts):
            raise error
        return [cut.part for cut in cuts]

    @staticmethod
    def _cut(
        reader: Reader,
        job: ClaimedJob,
        data: bytes,
        digest: bytes | None,
        notes: Mapping[str, Any],
    ) -> list[_Cut]:
        """The parts of decoded content. Raises RowError."""
        parts = reader.parts(reader.decode(data))
        if digest is None and any(part.sha256 is None for part in parts):
            digest = hashlib.sha256(data).digest()
        return [
            _Cut(
                PreparedPart(
                    job,
                    number,
                    len(parts),
                    pointer(job.content_ref) if part.shown is None else part.shown,
                    {**notes, **part.notes} if notes else part.notes,
                    part.sha256 or digest or b"",
                    None,
                ),
                part.content,
            )
            for number, part in enumerate(parts)
        ]

    @staticmethod
    def _give_input(reader: Reader, cuts: Sequence[_Cut]) -> list[Failure]:
        """Prepare what no vector is known of, at once; where that fails, job by job."""
        wanted = [cut for cut in cuts if cut.part.vector is None]
        if not wanted:
            return []
        try:
            _prepare(reader, wanted)
        except RowError as exc:
            jobs = {cut.part.job.source_id: cut.part.job for cut in wanted}
            if len(jobs) == 1:
                return [(job, exc) for job in jobs.values()]
            failures = []
            for source_id in jobs:
                own = [cut for cut in wanted if cut.part.job.source_id == source_id]
                failures += Preparer._give_input(reader, own)
            return failures
        return []


def _prepare(reader: Reader, cuts: Sequence[_Cut]) -> None:
    inputs = reader.encoder.prepare([cut.content for cut in cuts])
    for cut, prepared in zip(cuts, inputs, strict=True):
        cut.part.input = prepared


def _without_failed(cuts: Sequence[_Cut], failures: Sequence[Failure]) -> list[PreparedPart]:
    failed = {job.source_id for job, _ in failures}
    return [cut.part for cut in cuts if cut.part.job.source_id not in failed]
