"""What applications hand to the index: accepted where it is harmless, else refused by name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from pipeline import MultimodalItem
from pipeline.errors import ConfigurationError, ModelError
from pipeline.postgres.connections import Connection
from pipeline.postgres.engines import create_engine
from pipeline.search.select import nearest_to, similar_to
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.unified_index import UnifiedIndex, build_unified_index
from tests.helpers.fakes import FakeEmbedder, add_texts, vector_of
from tests.helpers.workers import work


@pytest.fixture
def index(settings: Settings, space: Space, connection: Connection) -> Iterator[UnifiedIndex]:
    add_texts(connection, ["ant", "bee", "cat"])
    work(settings, space)
    with UnifiedIndex(settings, FakeEmbedder()) as index:
        yield index


@pytest.mark.parametrize(
    ("texts", "images", "named"),
    [
        ("a string", [], "text_docs is a list, not one str"),
        ({"text": "x"}, [], "text_docs is a list, not one dict"),
        (5, [], "text_docs is a list, not one int"),
        ([], "photos/a.jpg", "image_paths is a list, not one str"),
        ([], Path("a.jpg"), "image_paths is a list, not one PosixPath"),
        (["fine", 5], [], r"text_docs\[1\] is 5"),
        (["nul\0"], [], r"text_docs\[0\]: the text has a NUL"),
        (["\udcff"], [], r"text_docs\[0\]: the text is not UTF-8"),
        ([{"text": "nul\0"}], [], r"text_docs\[0\]: the text has a NUL"),
        ([{"txt": "x"}], [], r"text_docs\[0\] needs a 'text'"),
        ([{"text": "x", "price": float("nan")}], [], r"text_docs\[0\]: a value is NaN"),
        ([{"text": "x", "id": "nul\0"}], [], r"text_docs\[0\]: .* NUL"),
        ([], [5], r"image_paths\[0\] is 5"),
        ([], [""], r"image_paths\[0\] is empty"),
        ([], ["nul\0.jpg"], r"image_paths\[0\]: the text has a NUL"),
        ([], [None], r"image_paths\[0\] is None"),
    ],
)
def test_a_document_that_is_none_is_named(
    settings: Settings, space: Space, texts: Any, images: Any, named: str
) -> None:
    with pytest.raises(ConfigurationError, match=named):
        build_unified_index(texts, images, settings=settings)


def test_a_path_that_goes_up_is_embedded(
    settings: Settings,
    space: Space,
    connection: Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with build_unified_index([], ["../a.png", Path("../a.png")], settings=settings) as index:
        assert index.failures == []
        assert len(index) == 1
    rows = connection.execute("SELECT content_ref FROM source_items").fetchall()
    assert rows == [(str(tmp_path / "a.png"),)]


def test_a_number_of_any_integer_type_is_a_number(index: UnifiedIndex) -> None:
    item = index.retrieve_cross_modal("cat", 1)[0].document.id
    expected = index.retrieve_cross_modal(item, 2)
    assert index.retrieve_cross_modal(np.int64(item), np.int32(2)) == expected  # type: ignore[arg-type]
    assert str(similar_to(np.int64(item))) == str(similar_to(item))  # type: ignore[arg-type]


@pytest.mark.parametrize("top_k", [2.5, "3", True, None, np.bool_(True), 0, 10_001, [1]])
def test_what_is_no_number_of_rows_is_refused(index: UnifiedIndex, top_k: Any) -> None:
    with pytest.raises(ConfigurationError, match="top_k is"):
        index.retrieve_cross_modal(vector_of(b"cat"), top_k)


@pytest.mark.parametrize("query", [True, np.bool_(True), None, ["a", "b"], object(), 2.5, b"cat"])
def test_what_is_no_query_is_refused(index: UnifiedIndex, query: Any) -> None:
    with pytest.raises(ConfigurationError):
        index.retrieve_cross_modal(query)
    with pytest.raises(ConfigurationError, match="an item is a whole number"):
        similar_to(True)


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**70])
def test_a_number_that_no_item_can_have_is_refused(index: UnifiedIndex, number: int) -> None:
    with pytest.raises(ConfigurationError, match=f"the number of an item .* 64 bits, not {number}"):
        index.retrieve_cross_modal(number)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=f"an item is a number of 64 bits, not {number}"):
        similar_to(number)


@pytest.mark.parametrize("modality", [None, "text", "image"])
@pytest.mark.parametrize("number", [0, -1, 2**63 - 1])
def test_an_item_that_is_not_stored_is_an_error(
    index: UnifiedIndex, url: str, number: int, modality: str | None
) -> None:
    """Of an empty partition too, where no row is compared with it."""
    engine = create_engine(url)
    with Session(engine) as session:
        for query in (similar_to(number, modality=modality), similar_to(number).limit(3)):
            with pytest.raises(DatabaseError, match=f"there is no item {number}"):
                session.execute(query).all()
            session.rollback()
    engine.dispose()


def test_an_object_that_is_not_stored_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="an item is a whole number, not None"):
        similar_to(MultimodalItem())


COMPLEX = [1 + 2j] * 8


@pytest.mark.parametrize(
    "vector",
    [COMPLEX, np.array(COMPLEX), np.array(COMPLEX, dtype=np.complex64),
     list(np.array(COMPLEX, dtype=np.complex64)), np.array(COMPLEX, dtype=object)],
    ids=["list", "array", "complex64", "NumPy's numbers", "objects"],
)  # fmt: skip
def test_complex_numbers_are_refused(index: UnifiedIndex, vector: Any) -> None:
    with pytest.raises(ConfigurationError, match="complex"):
        nearest_to(vector)
    with pytest.raises(ConfigurationError, match="complex"):
        index.retrieve_cross_modal(vector)


def test_a_file_that_the_model_has_no_encoder_for_is_refused_as_an_image_is(
    settings: Settings, space: Space, connection: Connection, tmp_path: Path
) -> None:
    blind = FakeEmbedder()
    del blind.encoders["image"]
    picture = Image.new("RGB", (4, 4))
    picture.save(tmp_path / "x.png")
    with UnifiedIndex(settings, blind) as index:
        for query in (picture, tmp_path / "x.png"):
            with pytest.raises(ModelError, match="no encoder for image queries; it has: text"):
                index.retrieve_cross_modal(query)
