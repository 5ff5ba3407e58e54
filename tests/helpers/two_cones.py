"""Vectors with a modality gap, as CLIP-family models give them: texts and images in two cones.

The figures are those of a real model: cosines between a text and a picture stay under 0.4, two
texts have one of some 0.56 on average, and yet the picture that belongs to a text is the nearest
picture to it.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from psycopg import sql

from pipeline import spaces
from pipeline.postgres.arrays import allow_packed
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.vector_arrays import pack_vectors
from pipeline.search import query_vectors
from pipeline.spaces import Space
from pipeline.vectors import Vectors, unit_rows
from tests.helpers.fakes import FakeEmbedder

CATEGORIES = ("bicycles", "boats", "cats", "houses", "trees")
SHARES = {"all": 1, "tenth": 10, "hundredth": 100, "thousandth": 1000}


@dataclass(frozen=True)
class TwoCones:
    """``texts[i]`` and ``images[i]`` say the same; so do ``queries[i]`` and both of them."""

    texts: Vectors
    images: Vectors
    queries: Vectors


def two_cones(
    count: int,
    dimensions: int = 512,
    *,
    latent: int = 32,
    queries: int = 200,
    topics: int = 400,
    seed: int = 6,
) -> TwoCones:
    """``count`` pairs, and ``queries`` texts of which the i-th means the i-th pair."""
    random = np.random.default_rng(seed)

    # What vectors mean, and the details of their own, lie in some 32 dimensions each, as the
    # vectors of trained models do: in all 512 no two would be near, and no index would help.
    basis = np.linalg.qr(random.normal(size=(dimensions, 2 + 3 * latent)))[0].T
    shared, of_texts, of_images = np.split(basis[2:], 3)
    # The cones' axes have a cosine of 0.1.
    text_axis, image_axis = basis[0], 0.1 * basis[0] + np.sqrt(1 - 0.1**2) * basis[1]

    def directions(n: int, within: Vectors) -> Vectors:
        return unit_rows(random.normal(size=(n, len(within))) @ within)

    topic = directions(topics, shared)[random.integers(topics, size=count)]
    meaning = unit_rows(0.75 * topic + directions(count, shared))

    def embed(axis: Vectors, details: Vectors, weight: float, meant: Vectors) -> Vectors:
        residue = unit_rows(meant + weight * directions(len(meant), details))
        return unit_rows(0.75 * axis + 0.665 * residue)

    return TwoCones(
        texts=embed(text_axis, of_texts, 0.35, meaning),
        images=embed(image_axis, of_images, 0.8, meaning),
        queries=embed(text_axis, of_texts, 0.5, meaning[:queries]),
    )


def metadata_of(number: int) -> dict[str, object]:
    """``{"tenth": true}`` is in that of every tenth item, and so on."""
    shares = {name: True for name, each in SHARES.items() if number % each == 0}
    return shares | {"number": number, "category": CATEGORIES[number % len(CATEGORIES)]}


def store(
    connection: Connection,
    space: Space,
    modality: str,
    vectors: Vectors,
    *,
    first_source_id: int,
    names: Sequence[str] | None = None,
) -> None:
    """Write the vectors as items, without the queue; item i has source id first_source_id + i."""
    row = connection.execute("SELECT %s::regtype::oid", (space.vector_type,)).fetchone()
    assert row is not None
    for start in range(0, len(vectors), 2000):
        part = vectors[start : start + 2000]
        numbers = range(start, start + len(part))
        cursor = allow_packed(connection.cursor())
        cursor.execute(
            sql.SQL(
                """
                INSERT INTO {} (source_id, modality, content_ref, metadata, space_id,
                    content_sha256, embedding)
                SELECT v.source_id, {}, v.ref, v.metadata, {}, sha256(convert_to(v.ref, 'UTF8')),
                    v.embedding
                FROM unnest(%s::bigint[], %s::text[], %s::jsonb[], %s::{}[])
                    AS v (source_id, ref, metadata, embedding)
                """
            ).format(
                space.table(modality),
                sql.Literal(modality),
                sql.Literal(space.id),
                sql.SQL(space.vector_type),  # type: ignore[arg-type]
            ),
            (
                [first_source_id + n for n in numbers],
                [names[n] if names else f"{modality} {n}" for n in numbers],
                [json.dumps(metadata_of(n)) for n in numbers],
                pack_vectors(part, space.vector_type, row[0]),
            ),
        )


def store_queries(connection: Connection, space: Space, queries: Vectors) -> None:
    """Cache the vector of 'query 0', 'query 1', ... as if they had been searched for before."""
    for number, vector in enumerate(queries):
        query_vectors.store(connection, space.id, f"query {number}", vector)


def as_stored(vectors: Vectors) -> Vectors:
    """What halfvec keeps of them, for comparison with exact results."""
    return vectors.astype(np.float16).astype(np.float32)


COUNT = 10_000  # of each modality
FIRST_IMAGE = 1_000_001  # source id of image 0; that of text 0 is 1


@functools.cache
def cones(count: int = COUNT) -> TwoCones:
    """The full set, once per run, as the database stores it."""
    made = two_cones(count)
    return TwoCones(as_stored(made.texts), as_stored(made.images), as_stored(made.queries))


@functools.cache
def cones_url(server_url: str, template: str, count: int = COUNT) -> str:
    """A database with the full set, its indexes and cached queries; built once per run, so tests
    change it only inside a transaction that they roll back."""
    with connect(server_url) as admin:
        admin.execute(sql.SQL("CREATE DATABASE cones TEMPLATE {}").format(sql.Identifier(template)))
        admin.execute("ALTER DATABASE cones SET hnsw.iterative_scan = 'relaxed_order'")
        admin.execute("ALTER DATABASE cones SET hnsw.ef_search = '100'")
    url = server_url.replace("/pipeline?", "/cones?")
    with connect(url) as connection:
        connection.execute("DROP TRIGGER source_items_inserted ON source_items")  # no jobs
        space = spaces.create(connection, "cones", FakeEmbedder(512))
        connection.execute(
            """
            INSERT INTO source_items (id, source, source_key, modality, content_ref, metadata)
            OVERRIDING SYSTEM VALUE
            SELECT n + 1, 'texts', n::text, 'text', 'text ' || n, '{}'
            FROM generate_series(0, %(last)s) AS n
            UNION ALL
            SELECT n + %(first)s, 'images', n::text, 'image', '/pictures/' || n || '.jpg',
                jsonb_build_object('caption', 'picture number ' || n)
            FROM generate_series(0, %(last)s) AS n
            """,
            {"last": count - 1, "first": FIRST_IMAGE},
        )
        made = cones(count)
        store(connection, space, "text", made.texts, first_source_id=1)
        store(connection, space, "image", made.images, first_source_id=FIRST_IMAGE)
        spaces.build_indexes(connection, space)
        spaces.activate(connection, space, min_coverage=0)
        store_queries(connection, space, made.queries)
        connection.execute("SELECT FROM refresh_space_statistics()")
        connection.execute("VACUUM ANALYZE")
    return url
