"""What `benchmarks.filters` searches: an attached table of products, each with a photo and a title.

A product's rank is a permutation of its number, and every filter is a bound on it: as a price, as a
day, as labels in the metadata, as what a policy shows. So they all leave the same products, which
have nothing to do with what is searched for.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from psycopg import sql

from benchmarks.copying import HEADER
from benchmarks.harness import FreeDescription, FreeEmbedder, say
from benchmarks.index_growth import stored
from pipeline import spaces
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect, fetch_one
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.vectors import Vectors
from tests.helpers.power_law import PowerLaw

Ids = npt.NDArray[np.int64]

SHARES = {"all": 1.0, "tenth": 0.1, "hundredth": 0.01, "thousandth": 1e-3, "ten_thousandth": 1e-4}
MOST = 500  # the largest k
LAST_DAY = "2026-11-27"
CONTENTS = {
    "photo": {"modality": "image", "content": "photo"},
    "title": {"modality": "text", "content": "title"},
}
TABLE = """
CREATE TABLE products (id bigint PRIMARY KEY, title text, photo text, price numeric, added date,
    labels jsonb);
INSERT INTO products
SELECT id, 'product ' || id, '/photos/' || id || '.jpg', rank, date '{last}' - rank,
    jsonb_build_object('number', id, 'all', true)
    || CASE WHEN rank < 0.1 * {rows} THEN '{{"tenth": true}}' ELSE '{{}}' END::jsonb
    || CASE WHEN rank < 0.01 * {rows} THEN '{{"hundredth": true}}' ELSE '{{}}' END::jsonb
    || CASE WHEN rank < 0.001 * {rows} THEN '{{"thousandth": true}}' ELSE '{{}}' END::jsonb
    || CASE WHEN rank < 0.0001 * {rows} THEN '{{"ten_thousandth": true}}' ELSE '{{}}' END::jsonb
FROM (SELECT id, (id * 7919 % {rows})::integer AS rank
      FROM generate_series(0, {rows} - 1) AS id) AS ranked;
CREATE INDEX ON products (price);
CREATE INDEX ON products (added);
VACUUM ANALYZE products;
"""
INTO_SPACE = """
INSERT INTO {items} (source_id, modality, content_ref, metadata, space_id, content_sha256,
    embedding)
SELECT s.id, s.modality, s.content_ref, s.metadata, {space},
    sha256(convert_to(s.content_ref, 'UTF8')), v.embedding
FROM staged AS v JOIN source_items AS s ON s.source = {source} AND s.row_key = v.id::text
ORDER BY v.id
"""
POLICY = """
ALTER TABLE multimodal_items ENABLE ROW LEVEL SECURITY;
CREATE POLICY labelled ON multimodal_items FOR SELECT TO tenant
    USING (metadata @> jsonb_build_object(current_setting('bench.label'), true));
"""


def ranks(rows: int) -> Ids:
    """Of each product, as the table has them."""
    found: Ids = np.arange(rows, dtype=np.int64) * 7919 % rows
    return found


def copied(connection: Connection, chunks: Iterator[Vectors], dimensions: int) -> None:
    """Vectors (n, D) into the table ``staged``, numbered from 0, by COPY BINARY."""
    row = np.dtype(
        [
            ("fields", ">i2"),
            ("id_bytes", ">i4"),
            ("id", ">i8"),
            ("vector_bytes", ">i4"),
            ("dimensions", ">i2"),
            ("unused", ">i2"),
            ("vector", ">f2", dimensions),
        ]
    )
    connection.execute("DROP TABLE IF EXISTS staged")
    connection.execute(
        sql.SQL("CREATE UNLOGGED TABLE staged (id bigint, embedding halfvec({}))").format(
            sql.Literal(dimensions)
        )
    )
    first = 0
    with connection.cursor().copy("COPY staged FROM STDIN (FORMAT binary)") as copy:
        copy.write(HEADER)
        for chunk in chunks:
            packed = np.zeros(len(chunk), row)
            packed["fields"], packed["id_bytes"] = 2, 8
            packed["id"] = np.arange(first, first + len(chunk))
            packed["vector_bytes"], packed["dimensions"] = 4 + 2 * dimensions, dimensions
            packed["vector"] = chunk
            copy.write(packed.tobytes())
            first += len(chunk)
        copy.write(b"\xff\xff")
    connection.execute("ANALYZE staged")


def fill(connection: Connection, rows: int, dimensions: int) -> None:
    """All of it, in a migrated database."""
    say(f"{rows:,} products, attached")
    for trigger in ("source_items_inserted", "source_items_updated"):  # no jobs: nobody embeds
        connection.execute(
            sql.SQL("DROP TRIGGER IF EXISTS {} ON source_items").format(sql.Identifier(trigger))
        )
    for statement in TABLE.format(rows=rows, last=LAST_DAY).split(";\n"):
        if statement.strip():
            connection.execute(statement.encode())
    embedder = FreeEmbedder(dimensions=dimensions, table=1)
    embedder.description = FreeDescription(
        model="free",
        dimensions=dimensions,
        precision="float32",
        weights_sha256="free",
        context_length=77,
    )
    space = spaces.create(connection, "free", embedder)
    connection.execute(
        "SELECT attach_source('products', %s, metadata => 'labels')", (json.dumps(CONTENTS),)
    )
    connection.execute("CALL backfill_source('products')")
    connection.execute("DELETE FROM ingest_jobs")
    made = PowerLaw(dimensions)
    for modality, content, chunks in (
        ("image", "photo", made.images(rows)),
        ("text", "title", made.texts(rows)),
    ):
        say(f"{rows:,} vectors of {modality}s")
        copied(connection, chunks, dimensions)
        connection.execute(
            sql.SQL(INTO_SPACE).format(
                items=space.table(modality),
                space=sql.Literal(space.id),
                source=sql.Literal(f"products.{content}"),
            )
        )
    connection.execute("DROP TABLE staged")
    say("building HNSW")
    connection.execute("SET maintenance_work_mem = '2GB'")
    spaces.build_indexes(connection, space)
    # Its own view of items depends on the type of the vectors, which is another one from now on.
    spaces.activate(connection, space, min_coverage=0, recreate=True)
    connection.execute("SELECT FROM refresh_space_statistics()")
    if connection.execute("SELECT FROM pg_roles WHERE rolname = 'tenant'").fetchone() is None:
        connection.execute("CREATE ROLE tenant IN ROLE pipeline_analyst")
    for statement in POLICY.split(";\n"):
        if statement.strip():
            connection.execute(statement.encode())
    connection.execute("VACUUM ANALYZE")


def database(server: EmbeddedServer, rows: int, dimensions: int) -> str:
    """The URL of the filled database, made anew unless it is there already."""
    name = f"filters_{rows}_{dimensions}"
    server_url = server.start()
    url = server_url.replace("/pipeline?", f"/{name}?")
    with connect(server_url, schema=None) as admin:
        ready = admin.execute(
            "SELECT FROM pg_database AS d WHERE d.datname = %s "
            "AND shobj_description(d.oid, 'pg_database') = 'filled'",
            (name,),
        ).fetchone()
        if ready is None:
            database_name = sql.Identifier(name)
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(database_name))
            admin.execute(sql.SQL("CREATE DATABASE {}").format(database_name))
            migrate.upgrade(url)
            with connect(url) as connection:
                fill(connection, rows, dimensions)
            admin.execute(sql.SQL("COMMENT ON DATABASE {} IS 'filled'").format(database_name))
    migrate.upgrade(url)  # the functions as they are now
    return url


@dataclass(frozen=True)
class Truth:
    """The products nearest to each query, by modality and share: (queries, <= MOST), best first."""

    nearest: dict[tuple[str, str], list[Ids]]

    @classmethod
    def of(cls, connection: Connection, rows: int, queries: Vectors) -> "Truth":
        """By NumPy. Over both modalities calibrated, a product's photo being its number, its title
        that and ``rows``."""
        means: dict[str, list[float]] = dict(
            connection.execute(
                "SELECT m.modality, m.mean::real[] FROM space_modalities AS m "
                "JOIN embedding_spaces AS s ON s.id = m.space_id WHERE s.state = 'active'"
            ).fetchall()
        )
        made = PowerLaw(queries.shape[1])
        centred = queries - np.asarray(means["text"], np.float32)
        best: dict[tuple[str, str], tuple[Vectors, Ids]] = {}
        rank = ranks(rows)
        for modality, chunks in (("image", made.images(rows)), ("text", made.texts(rows))):
            first = 0
            for chunk in map(stored, chunks):
                number = np.arange(first, first + len(chunk))
                less = chunk - np.asarray(means[modality], np.float32)
                less /= np.linalg.norm(less, axis=1, keepdims=True)
                of_both = number + (rows if modality == "text" else 0)
                for share, part in SHARES.items():
                    kept = rank[number] < part * rows
                    for name, scores, ids in (
                        (modality, queries @ chunk[kept].T, number[kept]),
                        ("both", centred @ less[kept].T, of_both[kept]),
                    ):
                        best[name, share] = merged(best.get((name, share)), scores, ids)
                first += len(chunk)
        return cls({key: list(ids) for key, (_, ids) in best.items()})


def merged(best: tuple[Vectors, Ids] | None, scores: Vectors, ids: Ids) -> tuple[Vectors, Ids]:
    """The MOST best of those so far and of the new ones, best first."""
    numbers = np.broadcast_to(ids, scores.shape)
    if best is not None:
        scores, numbers = np.hstack([best[0], scores]), np.hstack([best[1], numbers])
    order = np.argsort(-scores, axis=1, kind="stable")[:, :MOST]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(numbers, order, axis=1)


def products_of(connection: Connection, rows: int) -> Ids:
    """By the number of a source item: its product, and ``rows`` more where it is the title."""
    (most,) = fetch_one(connection.execute("SELECT max(id) FROM source_items"))
    found = np.full(most + 1, -1, np.int64)
    for source_id, product in connection.execute(
        "SELECT id, row_key::bigint + CASE source WHEN 'products.title' THEN %s ELSE 0 END "
        "FROM source_items",
        (rows,),
    ):
        found[source_id] = product
    return found
