"""What an attachment owns is written and removed by it alone, and a rescan knows it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pipeline import Attachment, attach, build_unified_index
from pipeline.errors import ConfigurationError
from pipeline.loaders import Loader, LoadOptions
from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.sources.attached_sync import sync
from pipeline.sources.attachments import Content, detach
from pipeline.sources.removal import Brake
from pipeline.sources.rescan import RescanReport, count_loaded, rescan
from pipeline.spaces import Space
from tests.helpers.command import Done, pipeline
from tests.helpers.fakes import FakeEmbedder
from tests.helpers.workers import work

Run = Callable[..., Done]


@pytest.fixture
def run(url: str, tmp_path: Path) -> Run:
    return lambda *arguments: pipeline(tmp_path, *arguments, DATABASE_URL=url)


@pytest.fixture
def shop(connection: Connection, tmp_path: Path) -> Connection:
    """A table with a text and a photo in each row, attached; and a file of nobody's."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("red", "green", "blue", "plain"):
        Image.new("RGB", (8, 8), name if name != "plain" else "white").save(folder / f"{name}.png")
    connection.execute("CREATE TABLE shop (id bigint PRIMARY KEY, title text, photo text)")
    for number, name in enumerate(("red", "green", "blue"), 1):
        connection.execute(
            "INSERT INTO shop VALUES (%s, %s, %s)", (number, name, str(folder / f"{name}.png"))
        )
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "VALUES ('files', %s, 'image', %s)",
        (str(folder / "plain.png"), str(folder / "plain.png")),
    )
    attach(
        connection,
        Attachment("shop", {"title": Content("text", "title"), "photo": Content("image", "photo")}),
    )
    sync(connection, "shop")
    return connection


def sources(connection: Connection) -> list[str]:
    rows = connection.execute("SELECT source FROM source_items ORDER BY source, source_key")
    return [source for (source,) in rows]


@pytest.mark.parametrize(
    "names", [("--source", "shop.photo"), ("1",), ("*",), ("1", "--source", "shop.title")]
)
@pytest.mark.parametrize("how", [("--yes",), ("--dry-run",)])
def test_remove_refuses_and_names_detach_and_filter(
    run: Run, shop: Connection, names: tuple[str, ...], how: tuple[str, ...]
) -> None:
    before = sources(shop)
    done = run("remove", *names, *how, "--allow-mass-delete")
    assert done.returncode == 1
    assert "`pipeline detach shop`" in done.stderr
    assert "filter" in done.stderr
    assert sources(shop) == before


def test_remove_takes_what_is_nobodys(run: Run, shop: Connection) -> None:
    done = run("remove", "--source", "files", "--yes", "--allow-mass-delete")
    assert done.returncode == 0, done.stderr
    assert "files" not in sources(shop)
    detach(shop, "shop", keep_items=True)
    done = run("remove", "--source", "shop.photo", "--yes", "--allow-mass-delete")
    assert done.returncode == 0, done.stderr
    assert "shop.photo" not in sources(shop)


def test_nobody_else_writes_into_an_attached_source(
    run: Run, shop: Connection, settings: Settings, tmp_path: Path
) -> None:
    before = sources(shop)
    for more in ((), ("--sync",)):
        done = run("add", "photos", "--source", "shop.photo", *more)
        assert done.returncode == 1, done.stdout
        assert "'shop.photo'" in done.stderr
    with pytest.raises(ConfigurationError, match="attached as 'shop'"):
        build_unified_index(["a text"], [], source="shop.title", settings=settings)
    assert sources(shop) == before
    assert run("add", "photos", "--source", "others").returncode == 0


def test_a_rescan_checks_the_references_of_a_table_and_removes_none_of_them(
    settings: Settings, space: Space, shop: Connection, tmp_path: Path
) -> None:
    def ingest() -> None:
        with Loader(LoadOptions.of(settings)) as loader:
            work(settings, space, FakeEmbedder(), load=loader.load)

    ingest()
    before = sources(shop)
    (tmp_path / "photos/red.png").unlink()
    (tmp_path / "photos/plain.png").rename(tmp_path / "photos/moved.png")
    (tmp_path / "photos/green.png").rename(tmp_path / "photos/renamed.png")
    Image.new("RGB", (9, 9), "yellow").save(tmp_path / "photos/blue.png")
    with Loader(LoadOptions.of(settings)) as loader:
        report = rescan(shop, loader.stat, Brake(0.1), [tmp_path / "photos"])
    assert report == RescanReport(checked=4, changed=1, moved=1, unreadable=2)
    assert sources(shop) == before
    refs = shop.execute("SELECT content_ref FROM source_items WHERE source = 'shop.photo'")
    assert {Path(ref).name for (ref,) in refs} == {"red.png", "green.png", "blue.png"}
    ingest()
    failed = shop.execute("SELECT source_key, error_code FROM ingest_failures ORDER BY 1")
    assert failed.fetchall() == [("1", "not_found"), ("2", "not_found")]


def test_a_rescan_leaves_an_attached_location_to_its_sync(
    settings: Settings, space: Space, connection: Connection, tmp_path: Path
) -> None:
    gone = str(tmp_path / "gone.png")
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref, row_key) VALUES "
        "('pictures', 'gone.png', 'image', %s, 'gone.png')",
        (gone,),
    )
    with Loader(LoadOptions.of(settings)) as loader:
        work(settings, space, FakeEmbedder(), load=loader.load)
        assert count_loaded(connection, None) == 1
        connection.execute(
            "INSERT INTO attached_sources (name, location, capture, sources, definition) "
            "VALUES ('pictures', %s, 'scan', '{pictures}', %s)",
            (str(tmp_path), json.dumps({})),
        )
        assert count_loaded(connection, None) == 0
        assert rescan(connection, loader.stat, Brake(1)) == RescanReport()
