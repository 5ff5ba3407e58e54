"""The pipeline without a model, against COPY BINARY: `python -m benchmarks.plumbing`.

One worker takes captions through claim, prepare, write and finish with an embedder that costs
nothing. Beside it stands COPY BINARY of the same rows and vectors into the same kind of table (its
keys, hash and GIN indexes and CHECKs, not HNSW), from memory, already packed: the time that
PostgreSQL alone needs. ``--index`` does it with the HNSW index live as well.
"""

import argparse
import hashlib
import json
import statistics
import struct
import time
from typing import Any

from psycopg import sql

from benchmarks.harness import (
    FreeEmbedder,
    add_items,
    captions,
    database,
    make_space,
    say,
    work,
)
from pipeline.postgres.connections import connect
from pipeline.spaces import Space
from pipeline.vectors import Vectors

BLOCK = 1 << 20


def packed(space: Space, texts: list[str], vectors: Vectors) -> list[bytes]:
    """The rows as COPY BINARY wants them, in blocks of about a megabyte."""
    dimensions = vectors.shape[1]
    halves = vectors.astype(">f2")
    vector_head = struct.pack(">ihh", 4 + 2 * dimensions, dimensions, 0)
    blocks, block = [], bytearray(b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0))
    for number, text in enumerate(texts, 1):
        ref = text.encode()
        digest = hashlib.sha256(ref).digest()
        block += struct.pack(">hiqiii", 8, 8, number, 4, 0, 4) + b"text"
        block += struct.pack(">i", len(ref)) + ref + struct.pack(">ib", 3, 1) + b"{}"
        block += struct.pack(">iii", 4, space.id, len(digest)) + digest
        block += vector_head + halves[(number - 1) % len(halves)].tobytes()
        if len(block) >= BLOCK:
            blocks.append(bytes(block))
            block = bytearray()
    return [*blocks, bytes(block) + struct.pack(">h", -1)]


def copy(url: str, space: Space, blocks: list[bytes]) -> float:
    """Seconds of a COPY into a table like the space's own, without HNSW."""
    with connect(url) as connection:
        connection.execute("DROP TABLE IF EXISTS copied")
        connection.execute(
            sql.SQL("CREATE TABLE copied (LIKE {} INCLUDING ALL)").format(space.table("text"))
        )
        row = connection.execute(
            "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class c ON c.oid = indexrelid "
            "JOIN pg_am a ON a.oid = c.relam WHERE indrelid = 'copied'::regclass "
            "AND amname = 'hnsw'"
        ).fetchone()
        if row is not None:
            connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(row[0])))
        began = time.perf_counter()
        with connection.cursor().copy(
            "COPY copied (source_id, part, modality, content_ref, metadata, space_id, "
            "content_sha256, embedding) FROM STDIN (FORMAT binary)"
        ) as stream:
            for block in blocks:
                stream.write(block)
        seconds = time.perf_counter() - began
        row = connection.execute("SELECT count(*) FROM copied").fetchone()
        assert row is not None
        return seconds


def measure(rows: int, *, index: bool = False) -> dict[str, Any]:
    """Rows per second of both, and the ratio."""
    texts = captions(rows)
    embedder = FreeEmbedder(table=rows if index else 65_536)
    with database() as url:
        space = make_space(url, active=index)
        blocks = packed(space, texts, embedder.vectors)
        before = copy(url, space, blocks)
        add_items(url, "text", texts)
        report = work(url, space, embedder)
        assert report.done == rows, report
        after = copy(url, space, blocks)
    alone = statistics.mean([before, after])
    return {
        "rows": rows,
        "index": index,
        "copy_rows_per_second": round(rows / alone),
        "rows_per_second": round(report.rows_per_second),
        "ratio": round(alone / report.seconds, 3),
        "report": report.as_dict(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--index", action="store_true", help="with the HNSW index live")
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    for number in range(arguments.rounds):
        say(f"round {number + 1} of {arguments.rounds}")
        print(json.dumps(measure(arguments.rows, index=arguments.index)), flush=True)


if __name__ == "__main__":
    main()
