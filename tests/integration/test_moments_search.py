"""Films and documents are found as one hit each, by the best of their moments or pages."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.errors import ModelError
from pipeline.jobs import NOTES
from pipeline.postgres.connections import Connection, connect
from pipeline.search.moments import moment_of
from pipeline.search.results import MultimodalDocument
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.unified_index import UnifiedIndex
from tests.helpers.attached import attach
from tests.helpers.databases import login_url, role
from tests.helpers.fakes import FakeEmbedder, vector_of
from tests.helpers.media import film, scene, sound, tone
from tests.helpers.moments import add, embed, media, pages_of, two_shots
from tests.helpers.query_cache import remember

pytest.importorskip("av", reason="needs the extra [video]")
pytest.importorskip("pypdfium2", reason="needs the extra [documents]")


@pytest.fixture
def shots(connection: Connection, settings: Settings, space: Space, media: Path) -> int:
    """The source item of a film of two shots; another film, a document and a text are there too."""
    source_id = add(connection, "video", media / "shots.mp4", '{"title": "harbour"}')
    add(connection, "video", media / "other.mp4", '{"title": "mountain"}')
    add(connection, "document", media / "pages.pdf", '{"title": "handbook"}')
    embed(settings, space)
    connection.execute("SELECT FROM refresh_space_statistics()")
    return source_id


def vector(connection: Connection, source_id: int, part: int) -> str:
    row = connection.execute(
        "SELECT embedding::text FROM multimodal_items WHERE (source_id, part) = (%s, %s)",
        (source_id, part),
    ).fetchone()
    assert row is not None
    return str(row[0])


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("among", [None, ["video"], ["video", "document"]])
def test_search_items_gives_a_film_once_by_its_best_moment(
    connection: Connection, shots: int, part: int, among: list[str] | None
) -> None:
    rows = connection.execute(
        "SELECT source_id, part, modality FROM search_items(embedding => %s, modality => %s, "
        "query_modality => 'video') ORDER BY rank",
        (vector(connection, shots, part), among),
    ).fetchall()
    assert rows[0] == (shots, part, "video")
    assert len(rows) == len({source_id for source_id, *_ in rows})
    assert sum(modality == "video" for *_, modality in rows) == 2


def test_a_film_of_many_moments_hides_no_other(
    connection: Connection, settings: Settings, space: Space, media: Path
) -> None:
    """More of its parts are near than are looked at first."""
    add(connection, "video", media / "shots.mp4")
    embed(settings, space)
    probe = vector_of(b"asked")
    near = "[" + ",".join(map(str, probe)) + "]"
    connection.execute(
        f"INSERT INTO multimodal_items_video_s{space.id} (source_id, part, modality, content_ref, "
        "space_id, content_sha256, embedding) SELECT 1000, n, 'video', 'long', %s, '', %s::halfvec "
        "FROM generate_series(0, 299) AS n".encode(), (space.id, near),
    )  # fmt: skip
    rows = connection.execute(
        "SELECT content_ref FROM search_items(embedding => %s, modality => '{video}', k => 2) "
        "ORDER BY rank", (near,),
    ).fetchall()  # fmt: skip
    assert rows == [("long",), (str(media / "shots.mp4"),)]


def test_search_rows_gives_a_row_by_the_best_moment_of_its_film(
    shop: Connection, connection: Connection, settings: Settings, space: Space, media: Path
) -> None:
    contents = {
        "title": {"modality": "text", "content": "title"},
        "clip": {"modality": "video", "content": "description"},
    }
    attach(shop, contents=contents)
    shop.cursor().executemany(
        "INSERT INTO shop.products (id, title, description, price) VALUES (%s, %s, %s, 1)",
        [(1, "a bike", str(media / "shots.mp4")), (2, "a boat", str(media / "other.mp4"))],
    )
    embed(settings, space)
    (own,) = connection.execute(
        "SELECT id FROM source_items WHERE source = 'products.clip' AND row_key = '1'"
    ).fetchone() or (0,)
    for part in (0, 1):
        rows = connection.execute(
            "SELECT row_key, content, part FROM search_rows('products', embedding => %s, "
            "content => '{clip}') ORDER BY rank",
            (vector(connection, own, part),),
        ).fetchall()
        assert rows[0] == ("1", "clip", part)
        assert [key for key, *_ in rows] == ["1", "2"]


def test_hybrid_search_finds_a_film_by_its_words_and_shows_its_best_moment(
    connection: Connection, space: Space, shots: int
) -> None:
    remember(connection, space, "mountain", vector(connection, shots, 1))
    rows = connection.execute(
        "SELECT metadata ->> 'title', part, text_rank FROM hybrid_search('mountain') ORDER BY rank"
    ).fetchall()
    by_title = {title: (part, text_rank) for title, part, text_rank in rows}
    assert len(rows) == len(by_title) == 3
    assert rows[0][0] == "mountain"
    assert by_title["mountain"][1] == 1
    assert by_title["harbour"] == (1, None)


def test_the_view_tells_pages_and_seconds_and_nothing_that_is_none(
    connection: Connection, settings: Settings, space: Space, shots: int, url: str
) -> None:
    columns = "modality, part, page, start_seconds, end_seconds"
    query = f"SELECT {columns} FROM item_moments WHERE source = 'test' ORDER BY 1, source_id, 2"
    rows = connection.execute(query.encode()).fetchall()
    assert rows[:3] == [("document", n - 1, n, None, None) for n in (1, 2, 3)]
    assert [row[2:4] for row in rows[3:]] == [(None, 0), (None, 3), (None, 0), (None, 3)]
    assert all(end > start for *_, start, end in rows[3:])
    strange = [
        {"page": "x"}, {"page": 1.5}, {"page": 0}, {"page": 1e300}, {"start": 1}, [],
        {"start": 3, "end": 3}, {"start": -1, "end": 3}, {"start": 1, "end": 1e300},
        {"start": "0", "end": "1"}, "page 1", None,
    ]  # fmt: skip
    for told in strange:
        metadata = json.dumps({NOTES: told})
        connection.execute("UPDATE multimodal_items SET metadata = %s", (metadata,))
        assert connection.execute("SELECT FROM item_moments").rowcount == 0, told
        assert moment_of(MultimodalDocument(1, "video", "x", None, {NOTES: told})) is None, told


def test_the_view_shows_what_its_reader_may_see(
    connection: Connection, shots: int, url: str
) -> None:
    connection.execute(
        "ALTER TABLE multimodal_items ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY harbour ON multimodal_items TO pipeline_analyst "
        "USING (metadata ->> 'title' = 'harbour')"
    )
    with (
        role(connection, "moments_reader", "LOGIN IN ROLE pipeline_analyst"),
        role(connection, "moments_stranger", "LOGIN"),
    ):
        with connect(login_url(url, "moments_reader")) as reader:
            rows = reader.execute("SELECT DISTINCT source_id FROM item_moments").fetchall()
            assert rows == [(shots,)]
        with (
            connect(login_url(url, "moments_stranger")) as stranger,
            pytest.raises(Exception, match="permission denied"),
        ):
            stranger.execute("SELECT FROM item_moments")


def test_windows_of_a_text_are_no_moments(
    connection: Connection, settings: Settings, space: Space
) -> None:
    """Their start and end are characters."""
    text = "a long text " * 400
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "VALUES ('t', 't', 'text', %s)", (text,),
    )  # fmt: skip
    embed(settings, space)
    rows = connection.execute("SELECT metadata FROM multimodal_items").fetchall()
    assert len(rows) > 1
    assert rows[1][0][NOTES]["start"] > 0
    assert connection.execute("SELECT FROM item_moments").rowcount == 0
    assert moment_of(MultimodalDocument(1, "text", text, None, rows[1][0])) is None


@pytest.mark.parametrize(
    ("notes", "shown"),
    [
        ({"page": 3, "pages": 9}, "page 3"),
        ({"start": 0.0, "end": 3.0}, "0:00 to 0:03"),
        ({"start": 59.96, "end": 61}, "0:59 to 1:01"),
        ({"start": 3723.5, "end": 3730}, "1:02:03 to 1:02:10"),
    ],
)
def test_a_moment_is_written_as_players_do(notes: dict[str, Any], shown: str) -> None:
    assert str(moment_of(MultimodalDocument(1, "video", "x", None, {NOTES: notes}))) == shown


@pytest.fixture
def index(settings: Settings, shots: int) -> Any:
    with UnifiedIndex(settings, FakeEmbedder()) as index:
        yield index


def test_a_film_is_a_query(index: UnifiedIndex, media: Path, shots: int) -> None:
    """One vector for all of it: that of a film of one shot is its frame's."""
    (media / "one.mp4").write_bytes(film([scene(2)] * 30))
    for told in (None, "video"):
        found = index.retrieve_cross_modal(media / "one.mp4", 3, "video", query_modality=told)
        assert {neighbour.source_id for neighbour in found} >= {shots}
        assert all(moment_of(neighbour.document) for neighbour in found)
    by_page = index.retrieve_cross_modal(pages_of(4), 1, "document")
    assert by_page[0].similarity == pytest.approx(1, abs=1e-3)
    assert str(moment_of(by_page[0].document)) == "page 2"


def test_a_sound_is_refused_where_nobody_hears_whatever_it_is_called(
    index: UnifiedIndex, media: Path
) -> None:
    (media / "a.wav").write_bytes(sound(tone(16_000, 0.2), 16_000))
    says = "no encoder for audio queries; it has: text, image, video, document"
    for told in (None, "audio"):
        with pytest.raises(ModelError, match=says):
            index.retrieve_cross_modal(media / "a.wav", query_modality=told)
    with pytest.raises(ModelError, match=says):  # the sound of a film
        index.retrieve_cross_modal(two_shots(), query_modality="audio")


def test_the_command_shows_the_moment_and_the_page(
    connection: Connection, shots: int, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    rows = connection.execute("SELECT id FROM item_moments ORDER BY modality, part").fetchall()
    done = CliRunner().invoke(app, ["search", "--item", str(rows[0][0])], terminal_width=200)
    assert done.exit_code == 0, done.stderr
    assert "shots.mp4 (0:0" in done.stdout
    done = CliRunner().invoke(app, ["search", "--item", str(rows[-1][0])])
    assert "pages.pdf (page " in done.stdout


def test_the_command_takes_one_query_alone(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    for more in (["a text"], ["--image", "b.png"], ["--audio", "c.wav"], ["--item", "1"]):
        done = CliRunner().invoke(app, ["search", "--video", "a.mp4", *more])
        assert done.exit_code == 2
        assert "--video" in done.stderr


__all__ = ["media"]  # a fixture
