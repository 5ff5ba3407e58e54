"""From claimed jobs to the model's input: content loaded, decoded, cut into parts, prepared."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from pipeline.errors import PermanentRowError, RowError
from pipeline.ingest.known_vectors import LookUp
from pipeline.ingest.parts import Failure, PreparedPart
from pipeline.jobs import OF_FILE, ClaimedJob
from pipeline.modalities import Reader, at_least_one
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
        parts, failures = self._prepare(reader, [job for job in jobs if not job.is_too_long])
        return parts, failures + [(job, _too_long(reader, job)) for job in jobs if job.is_too_long]

    def _prepare(
        self, reader: Reader, jobs: Sequence[ClaimedJob]
    ) -> tuple[list[PreparedPart], list[Failure]]:
        if reader.modality.inline:
            with self._timed("prepare"):
                return self._prepare_inline(reader, jobs)
        return self._prepare_loaded(reader, jobs)

    def _prepare_inline(
        self, reader: Reader, jobs: Sequence[ClaimedJob]
    ) -> tuple[list[PreparedPart], list[Failure]]:
        parts: list[PreparedPart] = []
        failures: list[Failure] = []
        for job in jobs:
            data = job.content_ref.encode("utf-8", "surrogatepass")
            try:
                parts += self._cut(reader, job, data)
            except RowError as exc:
                failures.append((job, exc))
        self._give_vectors(reader, parts)
        unprepared = self._give_input(reader, parts)
        if unprepared:
            lost = {job.source_id for job, _ in unprepared}
            parts = [part for part in parts if part.job.source_id not in lost]
        failures += unprepared
        for _, error in failures:
            error.of_content = True
        return parts, failures

    def _prepare_loaded(
        self, reader: Reader, jobs: Sequence[ClaimedJob]
    ) -> tuple[list[PreparedPart], list[Failure]]:
        parts: list[PreparedPart] = []
        failures: list[Failure] = []
        for job in jobs:
            try:
                with self._timed("load"):
                    content = self._load(job.content_ref)
            except RowError as exc:
                failures.append((job, exc))
                continue
            try:
                with self._timed("prepare"):
                    parts += self._of_content(reader, job, content)
            except RowError as exc:
                exc.of_content = True
                failures.append((job, exc))
        return parts, failures

    def _of_content(self, reader: Reader, job: ClaimedJob, content: Content) -> list[PreparedPart]:
        name = reader.modality.name
        known = self._known_vectors(name, [content.sha256]).get(content.sha256)
        kept = None if known is None else reader.kept_notes(known.notes)
        if known is not None and kept is not None:
            shown, notes = pointer(job.content_ref), {**content.notes, **kept}
            return [PreparedPart(job, 0, 1, shown, notes, content.sha256, None, known.vector)]
        parts = self._cut(reader, job, content.data, content.sha256, content.notes)
        for part in parts:
            if part.content_sha256 != content.sha256:
                # The part has a sum of its own; that of the file tells it when it has moved.
                part.notes = {**part.notes, OF_FILE: content.sha256.hex()}
            elif known is not None:
                part.vector, part.input = known.vector, None
        self._give_vectors(reader, [p for p in parts if p.content_sha256 != content.sha256])
        for _, error in self._give_input(reader, parts):
            raise error
        return parts

    @staticmethod
    def _cut(
        reader: Reader,
        job: ClaimedJob,
        data: bytes,
        digest: bytes = b"",
        notes: Mapping[str, Any] | None = None,
    ) -> list[PreparedPart]:
        """The parts of decoded content, each with its content as input. Raises RowError."""
        parts = at_least_one(reader.parts(reader.decode(data)))
        prepared = []
        for number, part in enumerate(parts):
            if part.sha256 is None:
                digest = digest or hashlib.sha256(data).digest()
            prepared.append(
                PreparedPart(
                    job,
                    number,
                    len(parts),
                    pointer(job.content_ref) if part.shown is None else part.shown,
                    {**notes, **part.notes} if notes else part.notes,
                    part.sha256 or digest,
                    part.content,
                )
            )
        return prepared

    def _give_vectors(self, reader: Reader, parts: Sequence[PreparedPart]) -> None:
        """To those whose vector the space has, so that they need no input."""
        if not parts:
            return
        known = self._known_vectors(
            reader.modality.name, list({part.content_sha256 for part in parts})
        )
        for part in parts if known else ():
            if (found := known.get(part.content_sha256)) is not None:
                part.vector, part.input = found.vector, None

    @staticmethod
    def _give_input(reader: Reader, parts: Sequence[PreparedPart]) -> list[Failure]:
        """Prepare what no vector is known of, at once; where that fails, job by job."""
        wanted = [part for part in parts if part.vector is None]
        if not wanted:
            return []
        try:
            inputs = reader.encoder.prepare([part.input for part in wanted])
        except RowError as exc:
            jobs = {part.job.source_id: part.job for part in wanted}
            if len(jobs) == 1:
                return [(job, exc) for job in jobs.values()]
            failures = []
            for source_id in jobs:
                own = [part for part in wanted if part.job.source_id == source_id]
                failures += Preparer._give_input(reader, own)
            return failures
        for part, prepared in zip(wanted, inputs, strict=True):
            part.input = prepared
        return []


def _too_long(reader: Reader, job: ClaimedJob) -> PermanentRowError:
    expected = f"{job.size:,} bytes; expected at most {job.most:,}"
    if reader.modality.inline:
        what = f"a {reader.modality.name} of {expected} (PIPELINE_MAX_TEXT_BYTES)"
    else:
        what = f"a reference of {expected}, which follows from PIPELINE_MAX_BYTES"
    return PermanentRowError("too_large", what)
