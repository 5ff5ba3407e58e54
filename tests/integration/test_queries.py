"""Who searches from Python asks a running server: no model is loaded, whatever the query is."""

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from PIL import Image
from pydantic import SecretStr
from sqlalchemy import create_engine

from pipeline import spaces
from pipeline.client.query import query_like
from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.modalities import IMAGE, Decoded, Reader
from pipeline.postgres.connections import Connection
from pipeline.search import asking
from pipeline.settings import Settings
from pipeline.spaces import Space, probes
from pipeline.unified_index import UnifiedIndex
from pipeline.vectors import Vectors
from tests.helpers.databases import as_login
from tests.helpers.fakes import FAKE_FAMILY, FakeEmbedder, add_texts, vector_of
from tests.helpers.images import encode, sample
from tests.helpers.workers import work
from tests.integration.test_serve import WITHIN, serving, wait_until


class Loads:
    """What the fake's family opens, counted; ``forbidden`` while nobody may load a model."""

    def __init__(self) -> None:
        self.count = 0
        self.forbidden = True

    def __call__(self, dimensions: int) -> FakeEmbedder:
        assert not self.forbidden, "a model was loaded although somebody serves"
        self.count += 1
        return FakeEmbedder(dimensions)


@pytest.fixture
def loads() -> Iterator[Loads]:
    FAKE_FAMILY.make = made = Loads()
    yield made
    FAKE_FAMILY.make = FakeEmbedder


@pytest.fixture
def filled(settings: Settings, connection: Connection, space: Space) -> Settings:
    probes.store(connection, space, FakeEmbedder())
    add_texts(connection, ["a red bicycle", "a boat"])
    assert work(settings, space).done == 2
    return settings


def image_vector(image: Image.Image) -> Vectors:
    """What the fake gives an image that a decoder process has fitted."""
    from pipeline.search.query_encoding import embed_query

    return embed_query(FakeEmbedder(), IMAGE, Decoded(image))


def vector(index: UnifiedIndex, query: Any) -> Vectors:
    found = index._client.probe(query_like(query)).vector
    assert found is not None
    return found


def same(one: Vectors, other: Vectors) -> None:
    np.testing.assert_allclose(one, other, atol=2e-3)


@pytest.mark.parametrize("way", ["dblink", "no dblink", "analyst", "read-only role", "engine"])
def test_no_query_loads_a_model_while_somebody_serves(
    filled: Settings,
    url: str,
    connection: Connection,
    loads: Loads,
    tmp_path: Path,
    way: str,
) -> None:
    if way == "no dblink":
        connection.execute("DROP EXTENSION IF EXISTS dblink CASCADE")
    picture = sample(40, 40)
    file = tmp_path / "picture.png"
    file.write_bytes(encode(picture, "PNG"))
    role = "LOGIN IN ROLE pipeline_analyst"
    said: list[str] = []
    with as_login(connection, url, "ana", role) as ana, serving(url) as server:
        if way == "read-only role":
            connection.execute("ALTER ROLE ana SET default_transaction_read_only = on")
        if way in ("analyst", "read-only role"):
            name = f"postgresql://ana@/{ana.info.dbname}?host={ana.info.host}&port={ana.info.port}"
            filled = filled.model_copy(update={"database_url": SecretStr(name)})
        engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        given = {"engine": engine} if way == "engine" else {}
        with UnifiedIndex(filled, note=said.append, **given) as index:
            found = index.retrieve_cross_modal("a boat", 1)
            assert found[0].document.content_ref == "a boat"
            same(index.embed_query("a boat"), vector_of(b"a boat"))
            if way != "read-only role":  # which cannot leave the bytes anywhere
                same(vector(index, file), image_vector(picture))
                same(vector(index, picture), image_vector(picture))
                assert len(index.retrieve_cross_modal(file, 1)) == 1
        engine.dispose()
    assert (loads.count, said) == (0, [])
    assert server.report.answered == 1
    assert server.report.files == (0 if way == "read-only role" else 3)


def test_without_a_server_the_model_is_loaded_once_and_it_is_said(
    filled: Settings, connection: Connection, loads: Loads
) -> None:
    loads.forbidden = False
    said: list[str] = []
    with UnifiedIndex(filled, note=said.append) as index:
        threads = [threading.Thread(target=index.embed_query, args=(f"new {n}",)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WITHIN)
        assert len(vector(index, sample())) == 8
    assert loads.count == 1
    assert said == [
        "nobody serves the active embedding space, so a new text has no vector: loading the model "
        "here; `pipeline serve` would answer at once"
    ]
    # What was embedded here is kept for others.
    kept = connection.execute("SELECT count(*) FROM query_embeddings WHERE embedding IS NOT NULL")
    assert kept.fetchone() == (6,)


def test_a_text_that_is_kept_needs_neither(filled: Settings, url: str, loads: Loads) -> None:
    with serving(url), UnifiedIndex(filled) as index:
        index.embed_query("a boat")
    with UnifiedIndex(filled) as index:
        same(index.embed_query("a boat"), vector_of(b"a boat"))
    assert loads.count == 0


@pytest.mark.parametrize("query", ["a new text", sample()], ids=["text", "image"])
def test_a_server_that_ends_in_the_middle_leaves_it_to_us(
    filled: Settings,
    url: str,
    connection: Connection,
    loads: Loads,
    monkeypatch: pytest.MonkeyPatch,
    query: Any,
) -> None:
    """It took the question and never answered: it is asked again, and nobody is there."""
    monkeypatch.setattr(asking, "ASK_AGAIN_SECONDS", 0.2)
    loads.forbidden = False
    gate = threading.Event()
    found: list[Vectors] = []
    with (
        serving(url, FakeEmbedder(before=lambda _: bool(gate.wait(WITHIN)) and None)),
        UnifiedIndex(filled) as index,
    ):
        asker = threading.Thread(target=lambda: found.append(vector(index, query)))
        asker.start()
        try:
            wait_until(connection, "SELECT EXISTS (SELECT FROM query_embeddings) "
                                   "OR EXISTS (SELECT FROM query_files)")  # fmt: skip
            # As one that was killed, whose lock went with its session.
            connection.execute("DELETE FROM query_servers")
            asker.join(WITHIN)
            assert (len(found), loads.count) == (1, 1)
            assert connection.execute("SELECT count(*) FROM query_files").fetchone() == (0,)
        finally:
            gate.set()


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("empty.png", b"", "0 bytes"),
        ("text.png", b"not an image at all", "this is text"),
        ("cut.png", encode(sample(), "PNG")[:-60], "ends after"),
        ("bomb.png", encode(Image.new("1", (20_000, 20_000)), "PNG"), "pixels"),
    ],
)
def test_a_file_that_is_none_is_refused_by_name_and_the_server_goes_on(
    filled: Settings, url: str, loads: Loads, tmp_path: Path, name: str, data: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with serving(url), UnifiedIndex(filled) as index:
        with pytest.raises(ConfigurationError, match=f"(?is){name}.*({says})"):
            index.retrieve_cross_modal(tmp_path / name)
        same(vector(index, sample(30, 30)), image_vector(sample(30, 30)))
    assert loads.count == 0


def test_a_file_that_takes_its_decoders_time_holds_up_no_text(
    filled: Settings,
    url: str,
    connection: Connection,
    loads: Loads,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = threading.Event()

    class Slow(Reader):
        def decode(self, data: bytes) -> Decoded:
            gate.wait(WITHIN)
            return super().decode(data)

    monkeypatch.setattr(type(IMAGE), "reader", lambda self, e, o: Slow(self, e, o))
    with serving(url) as server, UnifiedIndex(filled) as index:
        found: list[Vectors] = []
        askers = [
            threading.Thread(target=lambda: found.append(vector(index, sample()))) for _ in range(4)
        ]
        for asker in askers:
            asker.start()
        try:
            wait_until(connection, "SELECT count(*) = 4 FROM query_files")
            same(index.embed_query("meanwhile"), vector_of(b"meanwhile"))
            assert server.report.files == 0
        finally:
            gate.set()
        for asker in askers:
            asker.join(WITHIN)
        assert len(found) == 4


def test_every_form_of_an_image_in_memory_gives_the_same_as_here(
    filled: Settings, url: str, loads: Loads
) -> None:
    forms = [sample(48, 48).convert(mode) for mode in ("RGB", "L", "1", "P", "CMYK")]
    with serving(url), UnifiedIndex(filled) as there:
        answers = [vector(there, image) for image in forms]
    with UnifiedIndex(filled, FakeEmbedder()) as here:
        for image, answer in zip(forms, answers, strict=True):
            assert vector(here, image) @ answer > 0.99, image.mode


def test_an_image_of_any_width_crosses_as_a_png(filled: Settings) -> None:
    image = sample(33, 21)
    data = IMAGE.to_bytes(Decoded(image))
    again = Image.open(io.BytesIO(data))
    assert (again.format, again.tobytes()) == ("PNG", image.tobytes())


def test_the_index_follows_the_active_space_and_loads_its_model(
    settings: Settings, connection: Connection, loads: Loads, space: Space
) -> None:
    loads.forbidden = False
    probes.store(connection, space, FakeEmbedder())
    with UnifiedIndex(settings) as index:
        assert len(index.embed_query("one")) == 8
        wider = spaces.create(connection, "wider", FakeEmbedder(16))
        probes.store(connection, wider, FakeEmbedder(16))
        spaces.build_indexes(connection, wider)
        spaces.activate(connection, wider, min_coverage=0)
        assert len(index.embed_query("one")) == 16


@pytest.mark.parametrize("setting", ["database", "role"])
def test_on_a_read_only_connection_nothing_is_written_and_nothing_fails(
    filled: Settings, url: str, connection: Connection, loads: Loads, setting: str
) -> None:
    loads.forbidden = False
    connection.execute("DROP EXTENSION IF EXISTS dblink CASCADE")
    database = connection.info.dbname
    what = {"database": f"DATABASE {database}", "role": "ROLE bob"}[setting]
    said: list[str] = []
    with as_login(connection, url, "bob", "LOGIN IN ROLE pipeline_owner") as bob:
        connection.execute(f"ALTER {what} SET default_transaction_read_only = on".encode())
        name = f"postgresql://bob@/{database}?host={bob.info.host}&port={bob.info.port}"
        as_bob = filled.model_copy(update={"database_url": SecretStr(name)})
        with UnifiedIndex(as_bob, note=said.append) as index:
            assert index.retrieve_cross_modal("a boat", 1)[0].document.content_ref == "a boat"
            assert len(index.retrieve_cross_modal(sample(), 1)) == 1
    assert connection.execute("SELECT count(*) FROM query_embeddings").fetchone() == (0,)
    assert said[-1].startswith("the text was embedded here, since the database takes no writes")


def test_a_long_text_is_embedded_here_and_not_kept(
    filled: Settings, url: str, connection: Connection, loads: Loads
) -> None:
    loads.forbidden = False
    with serving(url), UnifiedIndex(filled) as index:
        assert len(index.embed_query("word " * 4_000)) == 8
    assert loads.count == 1
    assert connection.execute("SELECT count(*) FROM query_embeddings").fetchone() == (0,)


def test_an_answer_that_does_not_come_is_an_error_that_says_so(
    filled: Settings,
    url: str,
    connection: Connection,
    loads: Loads,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asking, "WAIT_SECONDS", 0.3)
    gate = threading.Event()
    with serving(url, FakeEmbedder(before=lambda _: bool(gate.wait(WITHIN)) and None)):
        with UnifiedIndex(filled) as index:
            for query in ("a new text", sample()):
                with pytest.raises(DatabaseError, match="serve` runs but is busy"):
                    index.retrieve_cross_modal(query)
        # Whoever gave up took the bytes along.
        assert connection.execute("SELECT count(*) FROM query_files").fetchone() == (0,)
        gate.set()


def test_a_text_that_the_server_refused_can_be_asked_for_again(
    filled: Settings, url: str, loads: Loads
) -> None:
    refusing: list[Callable[[], None]] = [lambda: None]

    def refuse(contents: Any) -> None:
        if refusing and b"poison" in contents:
            raise RuntimeError("the kernel says no")

    with serving(url, FakeEmbedder(before=refuse)), UnifiedIndex(filled) as index:
        with pytest.raises(ConfigurationError, match="the kernel says no"):
            index.embed_query("poison")
        refusing.clear()
        same(index.embed_query("poison"), vector_of(b"poison"))


def test_whoever_may_not_ask_embeds_here(
    filled: Settings, url: str, connection: Connection, loads: Loads
) -> None:
    """A login with the rights to read, and no other: as before there was anybody to ask."""
    loads.forbidden = False
    with as_login(connection, url, "reader", "LOGIN") as own, serving(url):
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        connection.execute("REVOKE ALL ON query_embeddings, query_files FROM reader")
        connection.execute("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM reader")
        name = f"postgresql://reader@/{own.info.dbname}?host={own.info.host}&port={own.info.port}"
        as_reader = filled.model_copy(update={"database_url": SecretStr(name)})
        with UnifiedIndex(as_reader) as index:
            same(index.embed_query("a boat"), vector_of(b"a boat"))
            assert len(vector(index, sample())) == 8
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            own.execute("SELECT ask_for_file_embedding('x')")
    assert loads.count == 1
