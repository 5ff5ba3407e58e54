"""Where foreign vectors come from: Parquet, ``.npy`` with keys beside it, a PostgreSQL table."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql

from pipeline.errors import ConfigurationError, MissingExtra
from pipeline.postgres.connections import Connection
from pipeline.transfer.importing import ForeignItem

if TYPE_CHECKING:
    import pyarrow.parquet

# What is read, under which name unless told otherwise; the last two may be missing.
FIELDS = ("source_key", "modality", "content_ref", "embedding", "metadata")
CLAIM = "pipeline.space"  # the key of a Parquet file's metadata under which export writes it


def columns_of(renamed: Mapping[str, str]) -> dict[str, str]:
    """Every field's column.

    Raises:
        ConfigurationError: a field that there is not.
    """
    for field in renamed:
        if field not in FIELDS:
            raise ConfigurationError(
                f"there is no field {field!r} to map a column to; there are: {', '.join(FIELDS)}"
            )
    return {field: renamed.get(field, field) for field in FIELDS}


def from_parquet(path: Path, renamed: Mapping[str, str]) -> Iterator[ForeignItem]:
    """The rows of a Parquet file; ``embedding`` is a list of numbers.

    Raises:
        ConfigurationError: no such file, no Parquet, or a column is missing.
    """
    columns = columns_of(renamed)
    file = open_parquet(path)
    names = set(file.schema_arrow.names)
    missing = [columns[f] for f in FIELDS[:4] if columns[f] not in names]
    if missing:
        raise ConfigurationError(
            f"{path} has no column {', '.join(missing)}; there are: {', '.join(sorted(names))} "
            "(name others with --column FIELD=COLUMN)"
        )
    wanted = [column for column in columns.values() if column in names]
    number = 0
    for batch in file.iter_batches(columns=wanted):
        for record in batch.to_pylist():
            number += 1
            yield _item(f"{path.name} row {number}", record, columns)


def parquet_claim(path: Path) -> dict[str, Any]:
    """What the file says of the space its vectors are of; empty if it says nothing."""
    metadata = open_parquet(path).schema_arrow.metadata or {}
    claim: dict[str, Any] = json.loads(metadata.get(CLAIM.encode(), b"{}"))
    return claim


def from_npy(path: Path, ids: Path, connection: Connection, source: str) -> Iterator[ForeignItem]:
    """The rows of a matrix (n, D) and, line by line, the keys of source rows that are there.

    Needs a connection of its own: that of the import is busy copying.

    Raises:
        ConfigurationError: the file is no plain matrix, the counts differ, or a key is unknown.
    """
    try:
        matrix: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as exc:
        raise ConfigurationError(f"{path} is no .npy file with a matrix: {exc}") from exc
    try:
        keys = ids.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{ids} cannot be read as lines of UTF-8: {exc}") from exc
    if matrix.ndim != 2 or not np.issubdtype(matrix.dtype, np.number):
        raise ConfigurationError(f"{path} has shape {matrix.shape}; a matrix (n, D) is expected")
    if len(keys) != len(matrix):
        raise ConfigurationError(f"{path} has {len(matrix)} rows and {ids} {len(keys)} lines")
    for start in range(0, len(keys), 1000):
        chunk = keys[start : start + 1000]
        known = _source_rows(connection, source, chunk)
        for number, key in enumerate(chunk, start):
            if key not in known:
                raise ConfigurationError(
                    f"{ids}:{number + 1}: the source {source!r} has no row with the key {key!r}; "
                    "add the rows first with `pipeline add`, or import Parquet, which has them"
                )
            modality, content_ref, metadata = known[key]
            yield ForeignItem(
                f"{path.name} row {number + 1}",
                key,
                modality,
                content_ref,
                metadata,
                matrix[number],
            )


def from_table(
    connection: Connection, table: str, renamed: Mapping[str, str]
) -> Iterator[ForeignItem]:
    """The rows of a table or view, ``schema.table`` or ``table``; read with a cursor.

    Raises:
        ConfigurationError: no such table, or a column is missing.
    """
    columns = columns_of(renamed)
    name = sql.Identifier(*table.split(".", 1))
    # In a transaction of its own session: an import holds another.
    with connection.transaction():
        try:
            found = connection.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(name))
        except psycopg.Error as exc:
            raise ConfigurationError(
                f"the table {table!r} cannot be read: {exc.diag.message_primary or exc}"
            ) from exc
        assert found.description is not None
        there = [column.name for column in found.description]
        missing = [columns[f] for f in FIELDS[:4] if columns[f] not in there]
        if missing:
            raise ConfigurationError(
                f"the table {table} has no column {', '.join(missing)}; there are: "
                f"{', '.join(there)} (name others with --column FIELD=COLUMN)"
            )
        wanted = [column for column in columns.values() if column in there]
        query = sql.SQL("SELECT {} FROM {}").format(
            sql.SQL(", ").join(
                # pgvector's types, and arrays of numbers alike.
                sql.SQL("{}::real[]" if column == columns["embedding"] else "{}::text").format(
                    sql.Identifier(column)
                )
                for column in wanted
            ),
            name,
        )
        with connection.cursor(name="import") as cursor:
            cursor.itersize = 1000
            cursor.execute(query)
            for number, row in enumerate(cursor, 1):
                yield _item(f"{table} row {number}", dict(zip(wanted, row, strict=True)), columns)


def _item(where: str, record: Mapping[str, Any], columns: Mapping[str, str]) -> ForeignItem:
    values = {field: record.get(column) for field, column in columns.items()}
    for field in FIELDS[:4]:
        if values[field] is None:
            raise ConfigurationError(f"{where}: {columns[field]} is null; nothing was imported")
    try:
        vector = np.asarray(values["embedding"], dtype=np.float64)
        metadata = values["metadata"]
        if isinstance(metadata, str):
            metadata = json.loads(metadata)
        metadata = {} if metadata is None else metadata
        if not isinstance(metadata, dict):
            raise ValueError("the metadata is no JSON object")
    except (TypeError, ValueError) as exc:
        raise ConfigurationError(f"{where}: {exc}; nothing was imported") from exc
    return ForeignItem(
        where,
        str(values["source_key"]),
        str(values["modality"]),
        str(values["content_ref"]),
        metadata,
        vector,
    )


def _source_rows(
    connection: Connection, source: str, keys: list[str]
) -> dict[str, tuple[str, str, dict[str, Any]]]:
    rows = connection.execute(
        "SELECT source_key, modality, content_ref, metadata FROM source_items "
        "WHERE source = %s AND source_key = ANY (%s)",
        (source, keys),
    ).fetchall()
    return {key: (modality, content_ref, metadata) for key, modality, content_ref, metadata in rows}


def open_parquet(path: Path) -> "pyarrow.parquet.ParquetFile":
    """The file, to be read.

    Raises:
        ConfigurationError: it cannot be read, or pyarrow is missing.
    """
    parquet = pyarrow_parquet()
    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError) as exc:  # pyarrow's own errors are ValueErrors
        reason = str(exc).splitlines()[0]
        raise ConfigurationError(f"{path} cannot be read as Parquet: {reason}") from exc


def pyarrow_parquet() -> Any:
    """``pyarrow.parquet``, an optional extra that takes a second to load.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import pyarrow.parquet as parquet
    except ImportError as exc:
        raise MissingExtra("Parquet", "parquet") from exc
    return parquet
