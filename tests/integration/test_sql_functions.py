"""The functions beside the search itself: blends, labels, duplicates, words; and refusals."""

from typing import Any

import numpy as np
import psycopg
import pytest

from pipeline import spaces
from pipeline.postgres.connections import Connection
from pipeline.postgres.vector_arrays import unpack_vector
from pipeline.spaces import Space
from pipeline.vectors import Vectors, unit_rows
from tests.helpers.fakes import vector_of
from tests.helpers.spaces import described
from tests.helpers.two_cones import FIRST_IMAGE, store


def literal(vector: Vectors) -> str:
    return str(vector.tolist())


def cache(connection: Connection, space: Space, query: str, vector: Vectors | None = None) -> None:
    """The text's vector as if it had been searched for before."""
    connection.execute(
        """
        INSERT INTO query_embeddings (space_id, query_sha256, query, embedding, embedded_at)
        VALUES (%s, query_key(%s), %s, %s::halfvec, now())
        """,
        (
            space.id,
            query,
            query,
            literal(vector_of(query.encode()) if vector is None else vector),
        ),
    )


def rows(connection: Connection, query: str, *values: Any) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode(), values).fetchall()


def vector(connection: Connection, query: str, *values: Any) -> Vectors:
    row = connection.execute(query.encode(), values, binary=True).fetchone()
    assert row is not None
    return unpack_vector(bytes(row[0]), "halfvec")


@pytest.fixture
def axes(connection: Connection, space: Space) -> Vectors:
    """Eight texts and eight images: the axes of the space, and images a little off them."""
    texts = np.eye(8, dtype=np.float32)
    store(connection, space, "text", texts, first_source_id=1)
    images = unit_rows(texts + 0.3 * np.roll(texts, 1, axis=1))
    store(connection, space, "image", images, first_source_id=FIRST_IMAGE)
    return texts


def test_a_blend_is_the_direction_of_the_weighted_sum(
    connection: Connection, axes: Vectors
) -> None:
    blend = "SELECT blend_embeddings(ARRAY[item_embedding(1), item_embedding(2)], %s::real[])"
    for weights, expected in (
        (None, axes[0] + axes[1]),
        ([1.0, -0.5], axes[0] - 0.5 * axes[1]),
        ([2.0, 2.0], axes[0] + axes[1]),
    ):
        found = vector(connection, blend, weights)
        np.testing.assert_allclose(found, unit_rows([expected])[0], atol=1e-3)
    for weights, says in (([1.0], "need as many weights"), ([0.0, 0.0], "has no direction")):
        with pytest.raises(psycopg.Error, match=says):
            connection.execute(blend, (weights,))


def test_an_item_that_is_not_there_is_said(connection: Connection, axes: Vectors) -> None:
    for call in ("item_embedding(999)", "search_items(like_item => 999)"):
        with pytest.raises(psycopg.errors.NoDataFound, match="there is no item 999"):
            connection.execute(f"SELECT {call}")


def test_like_item_leaves_the_item_itself_out(connection: Connection, axes: Vectors) -> None:
    found = rows(
        connection, "SELECT id FROM search_items(like_item => 1, modality => '{text}', k => 100)"
    )
    assert sorted(found) == [(n,) for n in range(2, 9)]


def test_labels_are_the_softmax_with_the_models_own_temperature(
    connection: Connection, space: Space, axes: Vectors
) -> None:
    cache(connection, space, "a photo of a one", axes[0])
    cache(connection, space, "a photo of a two", unit_rows([axes[0] + 0.2 * axes[1]])[0])
    found = rows(
        connection,
        "SELECT label, probability, similarity, rank FROM classify_items('{one,two}', items => "
        "ARRAY[9]) ORDER BY rank",
    )
    image = unit_rows([axes[0] + 0.3 * axes[1]])[0]
    similarities = {"one": image[0], "two": (image[0] + 0.2 * image[1]) / np.sqrt(1.04)}
    logits = {name: 100 * value for name, value in similarities.items()}  # the fake's scale
    total = sum(np.exp(value - logits["two"]) for value in logits.values())
    assert [(label, rank) for label, _, _, rank in found] == [("two", 1), ("one", 2)]
    for label, probability, similarity, _ in found:
        assert similarity == pytest.approx(similarities[label], abs=2e-3)
        assert probability == pytest.approx(np.exp(logits[label] - logits["two"]) / total, abs=0.03)
    everything = rows(connection, "SELECT id FROM classify_items('{one,two}') WHERE rank = 1")
    assert sorted(everything) == [(n,) for n in range(9, 17)]
    with pytest.raises(psycopg.Error, match=r"has no \{\} for the label"):
        connection.execute("SELECT classify_items('{one}', template => 'a photo')")


def test_near_duplicates_are_all_pairs_above_the_threshold_once(
    connection: Connection, space: Space
) -> None:
    random = np.random.default_rng(1)
    vectors = unit_rows(random.normal(size=(40, 8)))
    vectors[20:25] = unit_rows(vectors[:5] + 0.05 * random.normal(size=(5, 8)))
    store(connection, space, "image", vectors, first_source_id=1)
    cosines = vectors @ vectors.T
    expected = {(i + 1, j + 1) for i in range(40) for j in range(i + 1, 40) if cosines[i, j] > 0.9}
    found = rows(connection, "SELECT id, other_id FROM near_duplicates(0.9, 'image')")
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert len(expected) >= 5


def test_hybrid_search_joins_the_ranks_of_words_and_vectors(
    connection: Connection, space: Space
) -> None:
    texts = ["a red bicycle", "model XJ-900 manual", "a boat", "a house"]
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "SELECT 'test', t, 'text', t FROM unnest(%s::text[]) AS t",
        (texts,),
    )
    store(
        connection,
        space,
        "text",
        np.stack([vector_of(text.encode()) for text in texts]),
        first_source_id=1,
        names=texts,
    )
    cache(connection, space, "XJ-900", vector_of(b"a boat"))
    found = rows(
        connection,
        "SELECT content_ref, vector_rank, text_rank, score FROM hybrid_search('XJ-900', k => 2)",
    )
    assert {row[0] for row in found} == {"model XJ-900 manual", "a boat"}
    by_words = next(row for row in found if row[0] == "model XJ-900 manual")
    assert by_words[2] == 1
    assert by_words[3] == pytest.approx(1 / 61 + 1 / (60 + by_words[1]), abs=1e-6)
    only_words = rows(
        connection, "SELECT content_ref FROM hybrid_search('XJ-900', k => 1, vector_weight => 0)"
    )
    assert only_words == [("model XJ-900 manual",)]


def test_words_are_looked_for_in_the_modalities_and_the_metadata_that_are_asked_for(
    connection: Connection, space: Space, axes: Vectors
) -> None:
    """The nearest eight by vectors are others, so what is found here is found by its words."""
    connection.execute(
        """
        INSERT INTO source_items (source, source_key, modality, content_ref, metadata)
        SELECT 'test', n::text, m, 'x', jsonb_build_object('n', n % 2, 'title', 'XJ-900')
        FROM generate_series(1, 6) AS n, LATERAL (
            VALUES (CASE WHEN n <= 3 THEN 'text' ELSE 'image' END)) AS v (m)
        ORDER BY n
        """
    )
    connection.execute(
        "UPDATE multimodal_items AS i SET source_id = s.id, metadata = s.metadata "
        "FROM source_items AS s WHERE i.modality = s.modality AND i.source_id = "
        "s.id + CASE WHEN s.modality = 'text' THEN 0 ELSE %s - 4 END",
        (FIRST_IMAGE,),
    )
    cache(connection, space, "XJ-900", axes[7])
    search = (
        "SELECT source_id FROM hybrid_search('XJ-900', vector_weight => 0, {}) "
        "WHERE text_rank IS NOT NULL ORDER BY 1"
    )
    for arguments, expected in (
        ("k => 10", [1, 2, 3, 4, 5, 6]),
        ("modality => '{text}'", [1, 2, 3]),
        ("modality => '{image}'", [4, 5, 6]),
        ("filter => '{\"n\": 1}'", [1, 3, 5]),
        ("filter => '{\"n\": 0}', modality => '{image}'", [4, 6]),
    ):
        found = rows(connection, search.format(arguments))
        assert found == [(n,) for n in expected], arguments


def test_parts_of_one_source_are_one_row_and_do_not_cost_others_their_place(
    connection: Connection, space: Space
) -> None:
    base = np.eye(8, dtype=np.float32)
    for source in range(1, 4):  # each with 20 windows, all nearer than the next source's
        vectors = unit_rows(base[[0] * 20] + 0.2 * source * base[[source] * 20])
        store(connection, space, "text", vectors, first_source_id=1000 * source)
        connection.execute(
            "UPDATE multimodal_items SET source_id = %s, part = source_id - %s "
            "WHERE source_id >= %s AND source_id < %s",
            (source, 1000 * source, 1000 * source, 1000 * source + 1000),
        )
    found = rows(
        connection,
        "SELECT rank, source_id FROM search_items(embedding => %s::halfvec, k => 3, "
        "modality => '{text}')",
        literal(base[0]),
    )
    assert found == [(1, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize(
    ("arguments", "count", "says"),
    [
        ("k => 100", 16, "only 16 of the 100 asked for: there are no other items"),
        (
            """k => 5, filter => '{"thousandth": true}'""",
            2,
            "only 2 of the 5 asked for: no other item matches the filter",
        ),
        (
            "min_similarity => 0.9, ranking => 'raw'",
            2,
            "only 2 of the 10 asked for: no other item has a similarity of at least 0.9",
        ),
        ("k => 16", 16, None),
    ],
)
def test_a_notice_says_why_k_was_not_reached(
    connection: Connection, axes: Vectors, arguments: str, count: int, says: str | None
) -> None:
    connection.execute("SELECT FROM refresh_space_statistics()")
    notices: list[str] = []
    connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    found = connection.execute(
        f"SELECT id FROM search_items(embedding => item_embedding(1), {arguments})".encode()
    ).fetchall()
    assert len(found) == count
    assert notices == ([says] if says else [])


def test_calibrated_ranking_works_before_statistics_were_taken_and_says_so(
    connection: Connection, axes: Vectors
) -> None:
    notices: list[str] = []
    connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    query = "SELECT id FROM search_items(embedding => item_embedding(1), k => 16)"
    before = rows(connection, query)
    assert notices == ["the modalities' means were taken from a sample"]
    connection.execute("SELECT FROM refresh_space_statistics()")
    assert rows(connection, query) == before
    assert len(notices) == 1


def test_statistics_are_the_exact_count_and_mean(connection: Connection, axes: Vectors) -> None:
    assert rows(connection, "SELECT * FROM refresh_space_statistics('fake')") == [
        ("fake", "image", 8),
        ("fake", "text", 8),
    ]
    mean = vector(connection, "SELECT mean FROM space_modalities WHERE modality = 'text'")
    np.testing.assert_allclose(mean, axes.mean(axis=0), atol=1e-3)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("search_items()", "exactly one of query, embedding and like_item"),
        ("search_items('a', like_item => 1)", "exactly one of"),
        ("search_items(like_item => 1, k => 0)", "k is 0"),
        ("search_items(like_item => 1, ranking => 'best')", "there is no ranking 'best'"),
        ("search_items(like_item => 1, filter => '[1]')", "must be a JSON object"),
        ("search_items(like_item => 1, modality => '{audio}')", "there is no modality {audio}"),
        ("search_items(embedding => '[1,2]')", "has 2 dimensions, the active space 8"),
        ("search_items(embedding => '[0,0,0,0,0,0,0,0]')", "is zero, and has no direction"),
        ("near_duplicates(2)", "between 0 and 1"),
        ("near_duplicates(modality => 'nope')", "there is no modality 'nope'"),
        ("near_duplicates(modality => 'video')", "there is no modality 'video'"),
        ("near_duplicates(modality => NULL)", "there is no modality NULL"),
        ("near_duplicates(filter => '[1]')", "must be a JSON object"),
        ("near_duplicates(filter => NULL)", "must be a JSON object"),
        ("near_duplicates(neighbours => 0)", "neighbours is 0"),
        ("near_duplicates(neighbours => NULL)", "neighbours is null"),
        ("classify_items('{}')", "at least one label"),
        ("classify_items('{one}', modality => 'nope')", "there is no modality 'nope'"),
        ("classify_items('{one}', modality => NULL)", "there is no modality NULL"),
        ("classify_items('{one}', filter => '[1]')", "must be a JSON object"),
        ("hybrid_search('one', modality => '{nope}')", "there is no modality {nope}"),
    ],
)
def test_wrong_arguments_are_refused_in_words(
    connection: Connection, space: Space, axes: Vectors, call: str, says: str
) -> None:
    cache(connection, space, "one")
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(f"SELECT {call}".encode())
    assert says in str(caught.value)


def test_spaces_of_type_vector_are_searched_alike(connection: Connection, axes: Vectors) -> None:
    query = "SELECT source_id, round(score::numeric, 2) FROM search_items(like_item => {}, k => 9)"
    expected = rows(connection, query.format(1))
    space = spaces.create(
        connection, "full", described(weights_sha256="other"), vector_type="vector"
    )
    images = unit_rows(axes + 0.3 * np.roll(axes, 1, axis=1))
    store(connection, space, "text", axes, first_source_id=1)
    store(connection, space, "image", images, first_source_id=FIRST_IMAGE)
    spaces.build_indexes(connection, space)
    spaces.activate(connection, space, min_coverage=0)
    connection.execute("SELECT FROM refresh_space_statistics()")
    (first,) = rows(connection, "SELECT id FROM multimodal_items WHERE source_id = 1")[0]
    assert sorted(rows(connection, query.format(first))) == sorted(expected)
    connection.execute("SELECT FROM near_duplicates(0.9)")
    found = rows(
        connection,
        f"SELECT id FROM multimodal_items WHERE modality = 'text' "
        f"ORDER BY embedding <=> item_embedding({first}) LIMIT 1",
    )
    assert found == [(first,)]


@pytest.mark.parametrize("images", [1, 2])
def test_an_image_that_is_the_mean_of_all_images_has_a_score(
    connection: Connection, space: Space, images: int
) -> None:
    """Less their mean nothing is left of it; not a number would come before all others."""
    texts = np.eye(8, dtype=np.float32)[:3]
    store(connection, space, "text", texts, first_source_id=1)
    same = np.repeat(np.eye(8, dtype=np.float32)[7:], images, axis=0)
    store(connection, space, "image", same, first_source_id=FIRST_IMAGE)
    connection.execute("SELECT refresh_space_statistics()")
    found = rows(
        connection,
        "SELECT source_id, score FROM search_items(embedding => %s::halfvec, "
        "query_modality => 'text') ORDER BY rank",
        literal(texts[1]),
    )
    assert len(found) == 3 + images
    assert all(np.isfinite(score) for _, score in found)
    assert found[0][0] == 2
