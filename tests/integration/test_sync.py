"""Changes that no trigger saw are found, and mended: inserts, updates and deletes."""

import base64
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from pipeline import spaces
from pipeline.doctor.examination import examine
from pipeline.loaders import Loader, LoadOptions
from pipeline.postgres.connections import Connection, connect
from pipeline.settings import Settings
from pipeline.sources import sync as sync_module
from pipeline.sources.sync import SyncReport, sync
from pipeline.spaces import Space
from tests.helpers.command import pipeline
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.workers import work
from tests.integration.test_serve import WITHIN, wait_until


@contextmanager
def no_triggers(connection: Connection) -> Iterator[None]:
    """As where logical replication applies what was done elsewhere."""
    connection.execute("SET session_replication_role = replica")
    try:
        yield
    finally:
        connection.execute("RESET session_replication_role")


def stored(connection: Connection) -> list[str]:
    rows = connection.execute("SELECT content_ref FROM multimodal_items ORDER BY 1").fetchall()
    return [ref for (ref,) in rows]


def found(connection: Connection, settings: Settings) -> tuple[SyncReport, list[bool]]:
    checks = [c.ok for c in examine(settings) if c.name == "missed changes"]
    return sync(connection, mend=False), checks


def embed(settings: Settings, space: Space) -> None:
    with Loader(LoadOptions(), settings.media_roots) as loader:
        work(settings, space, FakeEmbedder(space.dimensions), load=loader.load)


# Of every kind: what is kept as it is, cleaned, cut into windows, or held by its own reference.
LONG = " ".join(f"word{n}" for n in range(200))
ODD = "  cafe\N{COMBINING ACUTE ACCENT}\n and\tmore "


def data_uri(colour: str) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture
def filled(connection: Connection, settings: Settings, space: Space, tmp_path: Path) -> Settings:
    add_texts(connection, ["one", "two", ODD, LONG, "   "])
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref, metadata) VALUES "
        "('files', 'a', 'image', %s, '{\"tenant\": 1}'), ('data', 'a', 'image', %s, '[1]')",
        (str(tmp_path / "a.png"), data_uri("green")),
    )
    embed(settings, space)
    return settings


def test_where_triggers_saw_all_of_it_nothing_is_found(
    connection: Connection, filled: Settings
) -> None:
    assert connection.execute("SELECT count(*) FROM multimodal_items WHERE part > 0").fetchone() > (
        0,
    )
    add_texts(connection, ["waits"], source="later")
    assert found(connection, filled) == (SyncReport(8), [True])


@pytest.mark.parametrize(
    ("what", "change", "report"),
    [
        ("insert", "INSERT INTO source_items (source, source_key, modality, content_ref) "
         "VALUES ('r', '1', 'text', 'three')", SyncReport(8, new=1)),
        ("update", "UPDATE source_items SET content_ref = 'uno' WHERE content_ref = 'one'",
         SyncReport(7, changed=1)),
        ("a cleaned text", "UPDATE source_items SET content_ref = content_ref || 'x' "
         "WHERE content_ref LIKE '  caf%'", SyncReport(7, changed=1)),
        ("the end of a long text", "UPDATE source_items SET content_ref = content_ref || '.' "
         "WHERE content_ref LIKE 'word0%'", SyncReport(7, changed=1)),
        ("the middle of a long text", "UPDATE source_items SET content_ref = "
         "replace(content_ref, 'word150', 'Word150') WHERE content_ref LIKE 'word0%'",
         SyncReport(7, changed=1)),
        ("metadata", "UPDATE source_items SET metadata = '{\"tenant\": 2}' WHERE source = 'files'",
         SyncReport(7, changed=1)),
        ("content within its reference", "UPDATE source_items SET content_ref = "
         f"'{data_uri('blue')}' WHERE source = 'data'", SyncReport(7, changed=1)),
        ("modality", "UPDATE source_items SET modality = 'text' WHERE source = 'files'",
         SyncReport(7, changed=1)),
        ("delete", "DELETE FROM source_items WHERE content_ref IN ('one', 'two')",
         SyncReport(5, gone=2)),
        ("delete of a row that failed", "DELETE FROM source_items WHERE content_ref = '   '",
         SyncReport(6, gone=1)),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 else "",
)  # fmt: skip
def test_what_was_missed_is_found_and_mended(
    connection: Connection, filled: Settings, space: Space, what: str, change: str,
    report: SyncReport,
) -> None:  # fmt: skip
    with no_triggers(connection):
        connection.execute(change.encode())
    assert found(connection, filled) == (report, [False])
    assert sync(connection) == report
    embed(filled, space)
    assert found(connection, filled) == (SyncReport(report.checked), [True])
    leftover = connection.execute(
        "SELECT count(*) FROM multimodal_items AS i WHERE NOT EXISTS ("
        "SELECT FROM source_items AS s WHERE (s.id, s.modality) = (i.source_id, i.modality))"
    ).fetchone()
    assert leftover == (0,)
    (expected,) = connection.execute("SELECT count(*) FROM source_items").fetchone() or (0,)
    (items,) = connection.execute("SELECT count(DISTINCT source_id) FROM multimodal_items"
                                  ).fetchone() or (0,)  # fmt: skip
    (failed,) = connection.execute("SELECT count(*) FROM ingest_jobs").fetchone() or (0,)
    assert items + failed == expected


def test_in_every_space_also_one_that_was_retired(
    connection: Connection, filled: Settings, space: Space
) -> None:
    wider = spaces.create(connection, "wider", FakeEmbedder(16))
    embed(filled, wider)
    connection.execute("UPDATE embedding_spaces SET state = 'retired' WHERE id = %s", (wider.id,))
    with no_triggers(connection):
        connection.execute("DELETE FROM source_items WHERE content_ref = 'one'")
    assert sync(connection) == SyncReport(6, gone=1)
    for table in ("multimodal_items", f"multimodal_items_text_s{wider.id}"):
        rows = connection.execute(f"SELECT content_ref FROM {table}".encode()).fetchall()
        assert ("two",) in rows
        assert ("one",) not in rows


def test_page_by_page(
    connection: Connection, filled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_module, "PAGE", 2)
    with no_triggers(connection):
        connection.execute("DELETE FROM source_items WHERE content_ref IN ('one', 'two')")
        add_texts(connection, ["three", "four", "five"], source="r")
    pages: list[int] = []
    report = sync(connection, progress=lambda r: pages.append(r.checked))
    assert report == SyncReport(8, new=3, gone=2)
    assert pages == [2, 4, 6, 8, 8]


def test_the_command(connection: Connection, url: str, filled: Settings, tmp_path: Path) -> None:
    with no_triggers(connection):
        connection.execute("DELETE FROM source_items WHERE content_ref = 'one'")
        add_texts(connection, ["three"], source="r")
    looked = pipeline(tmp_path, "sync", "--dry-run", DATABASE_URL=url)
    assert looked.stdout == "7 checked: 1 new, 0 changed, 1 gone\n"
    assert "nothing was changed" in looked.stderr
    assert "one" in stored(connection)
    done = pipeline(tmp_path, "sync", DATABASE_URL=url)
    assert done.stdout == looked.stdout
    assert "next: pipeline ingest" in done.stderr
    assert "one" not in stored(connection)
    again = pipeline(tmp_path, "sync", "--json", DATABASE_URL=url)
    assert '"new": 0' in again.stdout


def test_an_application_that_goes_the_other_way_never_loses(
    url: str, connection: Connection, filled: Settings
) -> None:
    with no_triggers(connection):
        connection.execute("UPDATE source_items SET metadata = '{\"a\": 1}' WHERE id IN (1, 2)")
    change = "UPDATE source_items SET metadata = metadata || '{\"b\": 2}' WHERE id = %s"
    with connect(url) as application, connect(url) as own:
        with application.transaction():
            application.execute(change, (2,))
            thread = threading.Thread(target=sync, args=(own,))
            thread.start()
            wait_until(
                connection,
                "SELECT count(*) = 1 FROM ingest_jobs WHERE source_id = 1",
            )  # which is not delayed by the other
            application.execute(change, (1,))
        thread.join(WITHIN)
    jobs = connection.execute("SELECT source_id FROM ingest_jobs WHERE state = 'pending'")
    assert sorted(jobs.fetchall()) == [(1,), (2,)]


def test_what_has_come_back_meanwhile_is_not_removed(
    connection: Connection, filled: Settings
) -> None:
    before = stored(connection)
    connection.execute("SELECT remove_gone(array_agg(id)) FROM source_items")
    assert stored(connection) == before
