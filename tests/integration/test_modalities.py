"""What a source item may be is data: known names, a job in every space that has the modality."""

import json
import threading
import time
from pathlib import Path

import psycopg
import pytest
import typer
from psycopg import sql
from typer.testing import CliRunner

from pipeline import spaces
from pipeline.cli.queue import status
from pipeline.doctor.examination import examine
from pipeline.errors import SpaceError
from pipeline.postgres.connections import Connection, connect
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.spaces import add_images, fill, second_space

ADD = """
    INSERT INTO source_items (source, source_key, modality, content_ref)
    VALUES ('test', %s, %s, %s)
"""


def jobs(connection: Connection) -> list[tuple[int, str]]:
    """Space and key of every job."""
    return connection.execute(
        "SELECT j.space_id, s.source_key FROM ingest_jobs AS j JOIN source_items AS s "
        "ON s.id = j.source_id ORDER BY 1, 2"
    ).fetchall()


def items(connection: Connection, space: Space, modality: str = "text") -> list[str]:
    rows = connection.execute(
        sql.SQL("SELECT content_ref FROM {} ORDER BY source_id").format(space.table(modality))
    ).fetchall()
    return [ref for (ref,) in rows]


def texts_alone() -> FakeEmbedder:
    """A model that knows no images."""
    embedder = FakeEmbedder(12)
    del embedder.encoders["image"]
    return embedder


def without_images(connection: Connection, space: Space) -> Space:
    """The space as if its model knew no images."""
    connection.execute(
        "DELETE FROM space_modalities WHERE space_id = %s AND modality = 'image'", (space.id,)
    )
    return space


@pytest.fixture
def texts_only(connection: Connection, space: Space) -> Space:
    """A second space, whose model knows no images."""
    return spaces.create(connection, "texts_only", texts_alone())


def test_the_eight_modalities_are_known_and_a_row_allows_another(connection: Connection) -> None:
    found = connection.execute("SELECT name, media, inline FROM known_modalities ORDER BY name")
    assert found.fetchall() == [
        ("audio", "audio", False),
        ("depth", "image", False),
        ("document", "application", False),
        ("image", "image", False),
        ("imu", "application", False),
        ("text", "text", True),
        ("thermal", "image", False),
        ("video", "video", False),
    ]
    connection.execute(
        "INSERT INTO known_modalities VALUES ('radar', 'application', false, 'Echoes.')"
    )
    connection.execute(ADD, ("r", "radar", "/r"))


def test_a_job_is_made_for_every_space_that_has_the_modality(
    connection: Connection, space: Space, texts_only: Space
) -> None:
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "SELECT 'test', m || n, m, 'x' FROM unnest(ARRAY['text', 'image', 'audio']) AS m, "
        "generate_series(1, 2) AS n"
    )
    of_both = [(space.id, "text1"), (space.id, "text2")]
    images = [(space.id, "image1"), (space.id, "image2")]
    second = [(texts_only.id, "text1"), (texts_only.id, "text2")]
    assert jobs(connection) == images + of_both + second
    connection.execute("DELETE FROM ingest_jobs")
    row = connection.execute(
        "SELECT enqueue_source_items(array_agg(id) || 999999::bigint) FROM source_items"
    ).fetchone()
    assert row == (6,)
    assert jobs(connection) == images + of_both + second
    connection.execute("DELETE FROM ingest_jobs")
    connection.execute("""UPDATE source_items SET metadata = '{"a": 1}'""")
    assert jobs(connection) == images + of_both + second


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE source_items SET modality = 'vidoe'",
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "VALUES ('test', 'v', 'vidoe', '/v.mp4'), ('test', 't', 'text', 'fine')",
    ],
    ids=["update", "insert"],
)
def test_an_unknown_modality_is_refused_with_those_there_are(
    connection: Connection, space: Space, statement: str
) -> None:
    add_texts(connection, ["one"])
    with pytest.raises(psycopg.errors.CheckViolation, match="no modality 'vidoe'") as caught:
        connection.execute(statement.encode())
    said = caught.value.diag
    assert said.message_detail == (
        "There are: audio, depth, document, image, imu, text, thermal, video."
    )
    assert (said.constraint_name, said.table_name) == (
        "source_items_modality_known",
        "source_items",
    )
    found = connection.execute("SELECT modality FROM source_items").fetchall()
    assert found == [("text",)]


def test_a_row_that_becomes_what_a_space_lacks_leaves_that_space(
    connection: Connection, settings: Settings, space: Space, texts_only: Space
) -> None:
    add_texts(connection, ["one", "two", "three"])
    fill(settings, space, FakeEmbedder())
    fill(settings, texts_only, FakeEmbedder(12))
    connection.execute("UPDATE source_items SET content_ref = 'drei' WHERE source_key = '3'")
    assert jobs(connection) == [(space.id, "3"), (texts_only.id, "3")]
    # To one that only the first space has: there its old item stays until the job is done.
    connection.execute("UPDATE source_items SET modality = 'image' WHERE source_key IN ('1', '3')")
    assert jobs(connection) == [(space.id, "1"), (space.id, "3")]
    assert items(connection, texts_only) == ["two"]
    assert items(connection, space) == ["one", "two", "three"]
    # To one that neither has.
    connection.execute("UPDATE source_items SET modality = 'audio'")
    assert jobs(connection) == []
    assert items(connection, texts_only) == items(connection, space) == []
    # And back.
    connection.execute("UPDATE source_items SET modality = 'text' WHERE source_key = '2'")
    assert jobs(connection) == [(space.id, "2"), (texts_only.id, "2")]


def test_a_content_that_changes_with_an_unsupported_modality_makes_no_job(
    connection: Connection, space: Space
) -> None:
    connection.execute(ADD, ("a", "audio", "/a.wav"))
    connection.execute("UPDATE source_items SET content_ref = '/b.wav'")
    assert jobs(connection) == []
    connection.execute("DELETE FROM source_items")


def test_a_change_of_modality_locks_jobs_by_ascending_key(
    url: str, connection: Connection, space: Space
) -> None:
    """The one that goes before the one that is re-opened, like whoever retries them all."""
    second = second_space(connection)
    without_images(connection, space)
    add_texts(connection, ["one"])
    with connect(url) as retrying, connect(url) as changing:
        change = threading.Thread(
            target=changing.execute, args=("UPDATE source_items SET modality = 'image'",)
        )
        with retrying.transaction():
            retrying.execute("SELECT FROM ingest_jobs WHERE space_id = %s FOR UPDATE", (space.id,))
            change.start()
            waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = %s"
            until = time.monotonic() + 20
            while connection.execute(waits, (changing.info.backend_pid,)).fetchone() != (1,):
                assert time.monotonic() < until
                time.sleep(0.01)
            retrying.execute(
                "SELECT FROM ingest_jobs WHERE space_id = %s FOR UPDATE NOWAIT", (second.id,)
            )
        change.join(20)
    assert jobs(connection) == [(second.id, "1")]


def test_rows_that_no_space_can_embed_are_counted(
    url: str,
    connection: Connection,
    settings: Settings,
    space: Space,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the view, by `pipeline status` and by the doctor."""
    add_texts(connection, ["one"])
    for number in range(3):
        connection.execute(ADD, (f"a{number}", "audio", "/a.wav"))
    connection.execute(ADD, ("d", "depth", "/d.png"))
    view = "SELECT modality, source_items FROM unsupported_source_items ORDER BY 1"
    assert connection.execute(view).fetchall() == [("audio", 3), ("depth", 1)]

    monkeypatch.setenv("DATABASE_URL", url)
    app = typer.Typer()
    app.command()(status)
    shown = CliRunner().invoke(app).stdout
    assert "audio: 3 source items that no space in use can embed\n" in shown
    told = json.loads(CliRunner().invoke(app, ["--json"]).stdout)
    of_space = {"space": "fake", "state": "active", "model": "fake"}
    nowhere = {"space": None, "state": None, "model": None}
    counts = dict.fromkeys(("items", "pending", "running", "failed", "unsupported"), 0)
    counts |= {"paused": None, "standby": None}
    assert told == [
        {**of_space, "modality": "image", **counts},
        {**of_space, "modality": "text", **counts, "pending": 1},
        {**nowhere, "modality": "audio", **counts, "unsupported": 3},
        {**nowhere, "modality": "depth", **counts, "unsupported": 1},
    ]

    found = {check.name: check for check in examine(settings)}
    assert not found["unsupported audio"].ok
    assert found["unsupported audio"].found == "3 source items that no space in use can embed"
    assert "of a model that has audio" in found["unsupported audio"].fix
    connection.execute(found["unsupported audio"].fix.rpartition("; or ")[2].encode())
    assert connection.execute(view).fetchall() == [("depth", 1)]


def test_a_retired_space_is_not_in_use_but_gets_its_jobs(
    connection: Connection, space: Space
) -> None:
    add_texts(connection, ["one"])
    second = second_space(connection)
    connection.execute("UPDATE embedding_spaces SET state = 'retired' WHERE id = %s", (second.id,))
    without_images(connection, space)
    connection.execute(ADD, ("p", "image", "/p.png"))
    assert (second.id, "p") in jobs(connection)
    rows = connection.execute("SELECT * FROM unsupported_source_items").fetchall()
    assert rows == [("image", 1)]
    assert spaces.find_active(connection) is not None


def test_the_catalogue_shows_by_what_a_modality_is(connection: Connection, space: Space) -> None:
    """Known by the table alone: what is inline is a text, what is of media image can be shown."""
    connection.execute("CREATE TABLE others PARTITION OF multimodal_items DEFAULT")
    unit = str([1.0] + [0.0] * 7)
    for number, modality in enumerate(("text", "thermal", "audio")):
        connection.execute(
            "INSERT INTO multimodal_items (source_id, modality, content_ref, space_id, "
            "content_sha256, embedding) VALUES (%s, %s, 'https://example.org/x', %s, '', "
            "%s::halfvec)",
            (number, modality, space.id, unit),
        )
    rows = connection.execute(
        "SELECT modality, text, picture FROM item_catalog ORDER BY source_id"
    ).fetchall()
    address = "https://example.org/x"
    assert rows == [("text", address, None), ("thermal", None, address), ("audio", None, None)]


def test_a_model_without_a_modality_of_the_active_space_is_not_activated_unasked(
    connection: Connection, settings: Settings, space: Space, tmp_path: Path
) -> None:
    add_texts(connection, ["one", "two"])
    add_images(connection, tmp_path, 3)
    fill(settings, space, FakeEmbedder())
    other = spaces.create(connection, "texts_only", texts_alone())
    assert other.modalities == ("text",)
    assert fill(settings, other, texts_alone()).done == 2
    found = spaces.coverage(connection, other)
    assert (found.done, found.foreign, found.source_items, found.share) == (2, 3, 5, 0.4)
    assert "3 of a modality that its model lacks" in str(found)
    spaces.build_indexes(connection, other)
    with pytest.raises(SpaceError, match="3 of a modality that its model lacks"):
        spaces.activate(connection, other)
    spaces.activate(connection, other, min_coverage=0.4)
    rows = connection.execute("SELECT DISTINCT modality FROM multimodal_items").fetchall()
    assert rows == [("text",)]
    spaces.rollback(connection)
    assert spaces.coverage(connection, spaces.active_space(connection)).share == 1.0
    # What the active space gives up is not held against another one.
    assert spaces.coverage(connection, space).foreign == 0
