"""Retrieval for applications: the select builders on the ORM, and the article's own words."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine, event, func, select
from sqlalchemy.orm import Session

from pipeline import (
    ModalityType,
    MultimodalItem,
    SourceItem,
    nearest_to,
    retrieve_cross_modal,
    similar_to,
)
from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.loaders import LoadedContent
from pipeline.postgres.connections import Connection
from pipeline.postgres.engines import create_engine
from pipeline.search.select import distance_to
from pipeline.settings import Settings
from pipeline.spaces import Space, active_space
from pipeline.unified_index import UnifiedIndex
from tests.helpers.databases import as_login
from tests.helpers.fakes import FakeEmbedder, add_texts, vector_of
from tests.helpers.workers import content, work

WORDS = ["ant", "bee", "cat", "dog", "eel", "fox"]


def load(reference: str) -> LoadedContent:
    """Its reference is its content."""
    return content(reference.encode())


def image_of(data: bytes) -> Image.Image:
    rng = np.random.default_rng(list(data))
    return Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))


@pytest.fixture
def filled(settings: Settings, space: Space, connection: Connection) -> Settings:
    """Six texts and six pictures."""
    add_texts(connection, WORDS)
    connection.execute(
        """
        INSERT INTO source_items (source, source_key, modality, content_ref, metadata)
        SELECT 'shop', w, 'image', '/' || w || '.png', jsonb_build_object('letters', length(w))
        FROM unnest(%s::text[]) AS w
        """,
        (WORDS,),
    )
    work(settings, space, load=load, decode=image_of)
    return settings


@pytest.fixture
def session(filled: Settings) -> Iterator[Session]:
    assert filled.database_url
    engine: Engine = create_engine(filled.database_url.get_secret_value())
    with Session(engine) as session:
        yield session
    engine.dispose()


def test_nearest_to_orders_by_cosine_and_says_it(session: Session) -> None:
    query = vector_of(b"cat")
    rows = session.execute(nearest_to(query, modality=ModalityType.TEXT).limit(6)).all()
    assert rows[0][0].content_ref == "cat"
    assert rows[0][1] == pytest.approx(1.0, abs=1e-3)
    expected = sorted(WORDS, key=lambda word: -float(vector_of(word.encode()) @ query))
    assert [item.content_ref for item, _ in rows] == expected


def test_nearest_to_composes_with_joins_and_filters(session: Session) -> None:
    query = (
        nearest_to(vector_of(b"cat"))
        .join(SourceItem, SourceItem.id == MultimodalItem.source_id)
        .where(SourceItem.source == "shop", MultimodalItem.metadata_.contains({"letters": 3}))
        .limit(4)
    )
    rows = session.scalars(query).all()
    assert [item.modality for item in rows] == ["image"] * 4


def test_similar_to_finds_the_other_modality_and_leaves_itself_out(session: Session) -> None:
    cat = session.scalars(
        select(MultimodalItem).where(
            MultimodalItem.modality == "text", MultimodalItem.content_ref == "cat"
        )
    ).one()
    images = session.execute(similar_to(cat, modality="image").limit(10)).all()
    assert {item.modality for item, _ in images} == {"image"}
    assert len(images) == 6
    texts = session.scalars(similar_to(cat.id, modality="text").limit(10)).all()
    assert "cat" not in {item.content_ref for item in texts}
    assert len(texts) == 5


@pytest.mark.parametrize("modality", ["text", "image"])
def test_hnsw_serves_both_builders(
    session: Session, settings: Settings, connection: Connection, modality: str
) -> None:
    # Enough rows that the planner has a choice, and its statistics.
    connection.execute(
        """
        INSERT INTO multimodal_items (source_id, part, modality, content_ref, space_id,
            content_sha256, embedding)
        SELECT n, 0, %s, 'x', 1, '', l2_normalize(
            (SELECT array_agg(random() - 0.5 + 0 * (g + n))
             FROM generate_series(1, 8) AS g)::real[]::halfvec)
        FROM generate_series(1000, 6000) AS n
        """,
        (modality,),
    )
    connection.execute("ANALYZE multimodal_items")
    item = session.scalars(select(func.min(MultimodalItem.id))).one()
    for query in (
        nearest_to(vector_of(b"x"), modality=modality),
        similar_to(item, modality=modality),
    ):
        with _explained(session) as plans:
            assert len(session.scalars(query.limit(3)).all()) == 3
        assert f"using multimodal_items_{modality}_s1_embedding" in plans[0], plans[0]


@contextmanager
def _explained(session: Session) -> Iterator[list[str]]:
    """The plan of each statement that the session runs meanwhile, for its real parameters."""
    plans: list[str] = []
    engine = session.get_bind()

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        with connection.connection.dbapi_connection.cursor() as own:
            own.execute("EXPLAIN " + statement, parameters)
            plans.append("\n".join(row[0] for row in own))

    event.listen(engine, "before_cursor_execute", explain)
    yield plans
    event.remove(engine, "before_cursor_execute", explain)


def test_the_items_source_is_one_step_away(session: Session) -> None:
    item = session.scalars(nearest_to(vector_of(b"dog"), modality="text").limit(1)).one()
    assert item.source_item.source_key == "4"
    assert item in item.source_item.items
    assert np.asarray(item.embedding).shape == (8,)


@pytest.mark.parametrize("vector", [np.zeros(8), [float("nan")] * 8, np.ones((2, 8))])
def test_a_vector_without_a_direction_is_refused(vector: object) -> None:
    with pytest.raises(ConfigurationError, match="a query vector is one row of finite numbers"):
        distance_to(vector)  # type: ignore[arg-type]


def test_an_unknown_modality_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"there is no modality 'smell'.*text, image"):
        nearest_to(vector_of(b"x"), modality="smell")


def test_the_index_answers_texts_pictures_vectors_and_items(
    filled: Settings, tmp_path: Path
) -> None:
    picture = image_of(b"/fox.png")
    picture.save(tmp_path / "fox.png")
    with UnifiedIndex(filled, FakeEmbedder()) as index:
        assert len(index) == 12
        by_text = index.retrieve_cross_modal("cat", 3, ModalityType.TEXT)
        assert [n.rank for n in by_text] == [1, 2, 3]
        assert by_text[0].document.content_ref == "cat"
        by_vector = index.retrieve_cross_modal(vector_of(b"cat"), 3, "text")
        assert [n.document.id for n in by_vector] == [n.document.id for n in by_text]
        for query in (picture, tmp_path / "fox.png"):
            nearest = index.retrieve_cross_modal(query, 1, "image")[0]
            assert nearest.document.content_ref == "/fox.png"
        by_item = index.retrieve_cross_modal(by_text[0].document.id, 5, "text")
        assert len(by_item) == 5
        both = index.retrieve_cross_modal("cat", 12)
        assert {n.document.modality for n in both} == {ModalityType.TEXT, ModalityType.IMAGE}


def test_the_vectors_come_along_when_they_are_asked_for(
    filled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with UnifiedIndex(filled, FakeEmbedder()) as index:
        without = index.retrieve_cross_modal("cat", 12)
        found = index.retrieve_cross_modal("cat", 12, with_embeddings=True)
    assert [n.document.embedding for n in without] == [None] * 12
    assert found == without  # the vector is no part of what a document is compared by
    query = vector_of(b"cat")
    for neighbour in found:
        vector = neighbour.document.embedding
        assert vector is not None
        assert (vector.dtype, vector.shape) == (np.float32, (8,))
        assert float(np.linalg.norm(vector)) == pytest.approx(1, abs=1e-6)
        assert float(vector @ query) == pytest.approx(neighbour.similarity, abs=1e-3)
    assert filled.database_url
    monkeypatch.setenv("DATABASE_URL", filled.database_url.get_secret_value())
    nearest = retrieve_cross_modal(query, 1, "text", with_embeddings=True)[0].document
    assert nearest.content_ref == "cat"
    assert nearest.embedding == pytest.approx(query, abs=1e-3)


def test_an_item_shows_what_it_is_without_its_vector(session: Session) -> None:
    item = session.scalars(nearest_to(vector_of(b"dog"), modality="text").limit(1)).one()
    np.asarray(item.embedding)  # loaded
    assert repr(item) == f"MultimodalItem(id={item.id}, modality='text', content_ref='dog')"
    source = item.source_item
    assert repr(source) == (
        f"SourceItem(id={source.id}, source={source.source!r}, source_key='4', modality='text')"
    )
    session.expunge_all()
    assert "dog" in repr(item)
    assert repr(SourceItem()) == "SourceItem()"


def test_a_query_text_is_embedded_once(filled: Settings) -> None:
    embedder = FakeEmbedder()
    with UnifiedIndex(filled, embedder) as index:
        first = index.retrieve_cross_modal("never seen", 2)
        assert embedder.embedded == 1
        assert index.retrieve_cross_modal("never seen", 2) == first
    assert embedder.embedded == 1


def test_a_query_of_the_wrong_size_or_a_bad_picture_says_what_is_wrong(
    filled: Settings, tmp_path: Path
) -> None:
    (tmp_path / "x.jpg").write_text("no picture")
    with UnifiedIndex(filled, FakeEmbedder()) as index:
        with pytest.raises(ConfigurationError, match="has 2 dimensions, the active space 8"):
            index.retrieve_cross_modal([1.0, 2.0])
        with pytest.raises(ConfigurationError, match=r"x\.jpg: "):
            index.retrieve_cross_modal(tmp_path / "x.jpg")
        with pytest.raises(ConfigurationError, match="top_k"):
            index.retrieve_cross_modal("cat", 0)


def test_what_the_database_refuses_is_an_error_of_ours(
    filled: Settings, connection: Connection
) -> None:
    with UnifiedIndex(filled, FakeEmbedder()) as index:
        with pytest.raises(ConfigurationError, match="there is no item 999999; Items have"):
            index.retrieve_cross_modal(999999)
        with pytest.raises(ConfigurationError, match="'best'; there are: calibrated, raw, quota"):
            index.retrieve_cross_modal("cat", ranking="best")
        connection.execute("ALTER TABLE multimodal_items RENAME TO items_of_before")
        with pytest.raises(DatabaseError):
            index.retrieve_cross_modal("cat")


def test_a_login_with_the_tables_of_an_older_release_alone_searches(
    url: str, connection: Connection, space: Space, settings: Settings
) -> None:
    """Granted by hand, before there was a view of what a space embeds."""
    add_texts(connection, ["a red bicycle", "two cats"])
    work(settings, space)
    connection.execute("SELECT FROM refresh_space_statistics()")
    with as_login(connection, url, "older") as theirs:
        connection.execute(
            "GRANT SELECT ON embedding_spaces, space_modalities, known_modalities, "
            "space_tunings, multimodal_items, source_items TO older"
        )
        rows = theirs.execute(
            "SELECT source_id FROM search_items(like_item => (SELECT min(id) FROM "
            "multimodal_items), modality => '{text}')"
        ).fetchall()
        assert len(rows) == 1
        assert active_space(theirs).derived == ("video", "document")
