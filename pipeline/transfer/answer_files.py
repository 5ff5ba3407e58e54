"""Answers as rows of Parquet: what became of each row that was embedded away from the database.

One row an answer, with all of its parts or with the code of why there are none, so that no answer
is ever half there. Each says which space's model made it: whatever wrote the file, and however its
rows were mixed, vectors of two models are never taken for one another's.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import (
    ROW_ERROR_CODES,
    ConfigurationError,
    PermanentRowError,
    RowError,
    TransientRowError,
)
from pipeline.jobs import ClaimedJob, EmbeddedItem, FinishedJob

if TYPE_CHECKING:
    import pyarrow.parquet


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a row.

    Attributes:
        version: of the row as it was embedded.
        items: its parts in order, without metadata of the row; none where there is an error.
    """

    fingerprint: str
    source_id: int
    version: int
    items: Sequence[EmbeddedItem]
    error: RowError | None


def answer_schema(dimensions: int) -> "pyarrow.Schema":
    """That of answers with vectors of so many dimensions."""
    import pyarrow

    item = pyarrow.struct(
        [
            ("content_ref", pyarrow.string()),
            ("notes", pyarrow.string()),
            ("content_sha256", pyarrow.binary()),
            ("embedding", pyarrow.list_(pyarrow.float32(), dimensions)),
        ]
    )
    return pyarrow.schema(
        [
            ("fingerprint", pyarrow.string()),
            ("source_id", pyarrow.int64()),
            ("version", pyarrow.int64()),
            ("modality", pyarrow.string()),
            ("items", pyarrow.list_(item)),
            ("code", pyarrow.string()),
            ("message", pyarrow.string()),
            ("of_content", pyarrow.bool_()),
        ]
    )


def finished_row(fingerprint: str, done: FinishedJob) -> dict[str, Any]:
    """The answer of a row that was embedded."""
    items = [
        {
            "content_ref": item.content_ref,
            "notes": json.dumps(dict(item.notes)),
            "content_sha256": item.content_sha256,
            "embedding": item.vector.astype(np.float32),
        }
        for item in done.items
    ]
    return _row(fingerprint, done.job) | {"items": items}


def failed_row(fingerprint: str, job: ClaimedJob, error: RowError) -> dict[str, Any]:
    """The answer of a row that cannot be embedded, now or ever."""
    told = {"code": error.code, "message": error.message, "of_content": error.of_content}
    return _row(fingerprint, job) | told


def _row(fingerprint: str, job: ClaimedJob) -> dict[str, Any]:
    return {
        "fingerprint": fingerprint,
        "source_id": job.source_id,
        "version": job.version,
        "modality": job.modality,
        "items": [],
        "code": None,
        "message": None,
        "of_content": False,
    }


def answer_files(folder: Path) -> list[Path]:
    """The Parquet files in a folder, in order.

    Raises:
        ConfigurationError: it is no folder, or has none.
    """
    found = sorted(folder.glob("*.parquet")) if folder.is_dir() else []
    if not found:
        raise ConfigurationError(f"{folder} is no folder with .parquet files of answers in it")
    return found


def read_answers(
    path: Path, file: "pyarrow.parquet.ParquetFile", batch: int
) -> Iterator[list[Answer]]:
    """The answers of an open file, so many at a time.

    Raises:
        ConfigurationError: it is no file of answers.
    """
    missing = [f.name for f in answer_schema(1) if f.name not in file.schema_arrow.names]
    if missing:
        raise ConfigurationError(
            f"{path} holds no answers: it has no column {', '.join(missing)}; see "
            "pipeline.integrations.ray"
        )
    for records in file.iter_batches(batch_size=batch):
        yield [_answer(path, record) for record in records.to_pylist()]


def _answer(path: Path, record: Mapping[str, Any]) -> Answer:
    try:
        return Answer(
            str(record["fingerprint"]),
            int(record["source_id"]),
            int(record["version"]),
            [_item(part, told) for part, told in enumerate(record["items"] or ())],
            _error(record),
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise ConfigurationError(
            f"{path}: the answer for source item {record.get('source_id')} cannot be read: {exc}"
        ) from exc


def _item(part: int, told: Mapping[str, Any]) -> EmbeddedItem:
    notes = json.loads(told["notes"])
    if not isinstance(notes, dict):
        raise ValueError("its notes are no JSON object")
    vector = np.asarray(told["embedding"], dtype=np.float32)
    return EmbeddedItem(
        part, str(told["content_ref"]), "{}", notes, bytes(told["content_sha256"]), vector
    )


def _error(record: Mapping[str, Any]) -> RowError | None:
    code = record["code"]
    if code is None:
        return None
    kind = PermanentRowError if ROW_ERROR_CODES.get(code) else TransientRowError
    error = kind(code, str(record["message"]))
    error.of_content = bool(record["of_content"])
    return error
