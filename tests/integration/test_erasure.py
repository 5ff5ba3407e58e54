"""A deleted source item leaves nothing behind, wherever it had got to."""

from pathlib import Path

from pipeline import spaces
from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.spaces import fill

MARKER = "kaleidoscope"


def places(connection: Connection) -> set[str]:
    """The tables in which the marker stands, in whatever column."""
    tables = connection.execute(
        "SELECT oid::regclass::text FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    ).fetchall()
    assert len(tables) > 15
    return {
        table
        for (table,) in tables
        if connection.execute(
            f"SELECT FROM {table} AS t WHERE t::text LIKE '%{MARKER}%'".encode()
        ).rowcount
    }


def test_a_deleted_row_is_gone_from_every_space_the_queue_and_its_errors(
    connection: Connection, settings: Settings, space: Space, tmp_path: Path
) -> None:
    add_texts(connection, [f"a {MARKER}", f"{MARKER} {'long ' * 200}", "another"])
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) VALUES "
        "('files', 'gone', 'image', %s)", (str(tmp_path / f"{MARKER}.png"),))  # fmt: skip
    retired = spaces.create(connection, "retired", FakeEmbedder(12))
    fill(settings, retired, FakeEmbedder(12))
    connection.execute("UPDATE embedding_spaces SET state = 'retired' WHERE id = %s", (retired.id,))
    building = spaces.create(connection, "building", FakeEmbedder(16))
    fill(settings, space, FakeEmbedder())
    assert {
        "source_items",
        "ingest_jobs",
        f"multimodal_items_text_s{space.id}",
        f"multimodal_items_text_s{retired.id}",
    } <= places(connection)
    fill(settings, building, FakeEmbedder(16))
    assert f"multimodal_items_text_s{building.id}" in places(connection)

    connection.execute("DELETE FROM source_items WHERE content_ref <> 'another'")

    assert places(connection) == set()
    for of in (space, retired, building):
        rows = connection.execute(
            f"SELECT content_ref FROM multimodal_items_text_s{of.id}".encode()
        ).fetchall()
        assert rows == [("another",)]
