"""Rows that wait, as Parquet: to be embedded by machines that do not reach the database.

A folder of files, so that many readers share it. Each file's own metadata holds the space, with all
that opening its model takes. Nothing is claimed: a worker may be quicker, and then the answer of
whoever embedded the row elsewhere is not needed any more (see ``answers.py``).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigurationError
from pipeline.postgres.connections import Connection
from pipeline.queue.bounds import ClaimBounds
from pipeline.spaces import Space
from pipeline.spaces.portable import PortableSpace
from pipeline.transfer.readers import open_parquet, pyarrow_parquet

if TYPE_CHECKING:
    import pyarrow

# Under this key of a file's metadata stands the space.
SPACE = "pipeline.pending"
# Rows a file: what one reader takes at a time, and loses when it is killed.
BATCH = 2_000

# What a worker fails without looking at it (too long), and what may kill it (suspects), is left
# to workers.
_PAGE = """
SELECT j.source_id, j.version, s.modality, s.content_ref
FROM ingest_jobs AS j JOIN source_items AS s ON s.id = j.source_id
LEFT JOIN known_modalities AS k ON k.name = s.modality
WHERE j.space_id = %(space)s AND j.source_id > %(after)s AND j.state = 'pending'
  AND j.run_after > 'epoch' AND j.run_after <= now() AND s.modality = ANY (%(modalities)s)
  AND octet_length(s.content_ref)
      <= CASE WHEN k.inline THEN %(most_text)s ELSE %(most_reference)s END
ORDER BY j.source_id LIMIT %(limit)s
"""


def export_pending(
    connection: Connection,
    space: Space,
    folder: Path,
    bounds: ClaimBounds,
    *,
    limit: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Write the rows that wait for the space into a new folder; returns how many.

    Columns: ``source_id``, ``version`` (new whenever the row changes), ``modality``,
    ``content_ref``. Read page by page, so that no snapshot is held for long; each file appears
    whole or not at all.

    Args:
        limit: at most so many.
        progress: told the number of rows after each file.

    Raises:
        ConfigurationError: the folder has something in it, cannot be written, or pyarrow is
            missing.
    """
    parquet = pyarrow_parquet()
    schema = pending_schema(PortableSpace.of(connection, space))
    count, after, page = 0, 0, 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigurationError(f"{folder} has something in it; name a folder that is new")
        while limit is None or count < limit:
            rows = connection.execute(
                _PAGE,
                {
                    "space": space.id,
                    "after": after,
                    "modalities": list(space.embeds),
                    "most_text": bounds.text_bytes,
                    "most_reference": bounds.reference_bytes,
                    "limit": BATCH if limit is None else min(BATCH, limit - count),
                },
            ).fetchall()
            if not rows:
                break
            path = folder / f"pending-{page:06}.parquet"
            partial = path.with_suffix(".partial")
            parquet.write_table(_table(rows, schema), partial, compression="zstd")
            partial.replace(path)
            count, after, page = count + len(rows), rows[-1][0], page + 1
            progress(count)
    except OSError as exc:
        raise ConfigurationError(f"{folder} cannot be written: {exc.strerror or exc}") from exc
    return count


def pending_schema(space: PortableSpace) -> "pyarrow.Schema":
    """That of a file of rows that wait."""
    import pyarrow

    return pyarrow.schema(
        [
            ("source_id", pyarrow.int64()),
            ("version", pyarrow.int64()),
            ("modality", pyarrow.string()),
            ("content_ref", pyarrow.string()),
        ],
        metadata={SPACE: json.dumps(space.to_json())},
    )


def space_of_pending(path: Path) -> PortableSpace:
    """The space that a file of rows that wait is of.

    Raises:
        ConfigurationError: it is no such file.
    """
    metadata = open_parquet(path).schema_arrow.metadata or {}
    told = metadata.get(SPACE.encode())
    if told is None:
        raise ConfigurationError(
            f"{path} does not say which space it is of; write it with "
            "`pipeline space export NAME FOLDER --pending`"
        )
    return PortableSpace.from_json(json.loads(told))


def _table(rows: list[Any], schema: "pyarrow.Schema") -> "pyarrow.Table":
    import pyarrow

    return pyarrow.table([list(column) for column in zip(*rows, strict=True)], schema=schema)
