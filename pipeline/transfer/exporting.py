"""Export: the items of a space as one Parquet file, which says which space it is of."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from psycopg import sql

from pipeline.errors import ConfigurationError
from pipeline.postgres.connections import Connection
from pipeline.postgres.vector_arrays import unpack_vector
from pipeline.spaces import Space
from pipeline.transfer.readers import CLAIM, pyarrow_parquet

BATCH = 5_000  # rows a row group


def export_parquet(
    connection: Connection, space: Space, path: Path, *, vectors: bool = True
) -> int:
    """Write every item, in the order of source and part; returns how many.

    The file appears whole or not at all. Its own metadata names the space and its fingerprint, so
    that an import can refuse to mix.

    Raises:
        ConfigurationError: the file cannot be written, or pyarrow is missing.
    """
    parquet = pyarrow_parquet()
    import pyarrow  # beside pyarrow.parquet, loaded above

    fields = [
        ("id", pyarrow.int64()),
        ("source", pyarrow.string()),
        ("source_key", pyarrow.string()),
        ("part", pyarrow.int32()),
        ("modality", pyarrow.string()),
        ("content_ref", pyarrow.string()),
        ("metadata", pyarrow.string()),
        ("content_sha256", pyarrow.binary()),
        ("embedded_at", pyarrow.timestamp("us", tz="UTC")),
    ]
    if vectors:
        fields.append(("embedding", pyarrow.list_(pyarrow.float32(), space.dimensions)))
    schema = pyarrow.schema(fields, metadata={CLAIM: json.dumps(claim_of(space))})
    partial = path.with_name(f".{path.name}.partial")
    count = 0
    try:
        with (
            parquet.ParquetWriter(partial, schema, compression="zstd") as writer,
            connection.transaction(),
            connection.cursor(name="export", binary=True) as cursor,
        ):
            cursor.execute(_query(space, vectors=vectors))
            while rows := cursor.fetchmany(BATCH):
                columns: list[Any] = [list(column) for column in zip(*rows, strict=True)]
                if vectors:
                    columns[-1] = pyarrow.FixedSizeListArray.from_arrays(
                        np.concatenate(
                            [unpack_vector(bytes(v), space.vector_type) for v in columns[-1]]
                        ),
                        space.dimensions,
                    )
                writer.write_table(pyarrow.table(columns, schema=schema))
                count += len(rows)
        partial.replace(path)
    except OSError as exc:
        raise ConfigurationError(f"{path} cannot be written: {exc.strerror or exc}") from exc
    finally:
        partial.unlink(missing_ok=True)
    return count


def claim_of(space: Space) -> dict[str, Any]:
    """What a file says of its vectors."""
    return {
        "space": space.name,
        "model": space.model,
        "dimensions": space.dimensions,
        "fingerprint": space.fingerprint,
        "description": space.description,
    }


def _query(space: Space, *, vectors: bool) -> sql.Composed:
    items = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT * FROM {} AS own").format(space.rows(modality))
        for modality in space.modalities
    )
    return sql.SQL(
        """
        SELECT i.id, s.source, s.source_key, i.part, i.modality, i.content_ref,
            i.metadata::text, i.content_sha256, i.embedded_at {embedding}
        FROM ({items}) AS i JOIN source_items AS s ON s.id = i.source_id
        ORDER BY s.id, i.part
        """
    ).format(embedding=sql.SQL(", i.embedding" if vectors else ""), items=items)
