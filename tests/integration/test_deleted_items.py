"""What somebody deletes from multimodal_items alone does not come back by itself."""

import pytest
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from pipeline import spaces
from pipeline.models import MultimodalItem
from pipeline.postgres.connections import Connection
from pipeline.postgres.engines import create_engine
from pipeline.settings import Settings
from pipeline.sources.sync import sync
from pipeline.spaces import Space
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.workers import work


def texts(connection: Connection, space: Space | None = None) -> list[str]:
    table = "multimodal_items" if space is None else space.table_name("text")
    rows = connection.execute(f"SELECT content_ref FROM {table} ORDER BY 1").fetchall()  # type: ignore[arg-type]
    return [text for (text,) in rows]


@pytest.fixture
def filled(connection: Connection, settings: Settings, space: Space) -> Settings:
    add_texts(connection, ["one", "two", "three"])
    work(settings, space, FakeEmbedder())
    return settings


def forget(connection: Connection, text: str) -> None:
    """As the delete() of a vector store over the table."""
    connection.execute("DELETE FROM multimodal_items WHERE content_ref = %s", (text,))


def test_neither_sync_nor_the_doctor_misses_it(
    connection: Connection, filled: Settings, space: Space
) -> None:
    forget(connection, "two")
    assert not sync(connection, mend=False)
    assert not sync(connection)
    work(filled, space, FakeEmbedder())
    assert texts(connection) == ["one", "three"]


def test_one_that_the_orm_deletes_is_deleted(
    url: str, connection: Connection, filled: Settings, space: Space
) -> None:
    engine = create_engine(url)
    with Session(engine) as session:
        session.delete(
            session.scalars(select(MultimodalItem).where(MultimodalItem.content_ref == "one")).one()
        )
        session.execute(delete(MultimodalItem).where(MultimodalItem.content_ref == "two"))
        session.commit()
    engine.dispose()
    sync(connection)
    work(filled, space, FakeEmbedder())
    assert texts(connection) == ["three"]


def test_a_new_space_does_not_bring_it_back(connection: Connection, filled: Settings) -> None:
    forget(connection, "two")
    new = spaces.create(connection, "new", FakeEmbedder(12))
    work(filled, new, FakeEmbedder(12))
    assert texts(connection, new) == ["one", "three"]


def test_other_metadata_does_not_bring_it_back(
    connection: Connection, filled: Settings, space: Space
) -> None:
    forget(connection, "two")
    connection.execute("UPDATE source_items SET metadata = '{\"a\": 1}'")
    work(filled, space, FakeEmbedder())
    assert texts(connection) == ["one", "three"]


def test_other_content_does(connection: Connection, filled: Settings, space: Space) -> None:
    forget(connection, "two")
    connection.execute("UPDATE source_items SET content_ref = 'deux' WHERE content_ref = 'two'")
    assert connection.execute("SELECT count(*) FROM deleted_items").fetchone() == (0,)
    work(filled, space, FakeEmbedder())
    assert texts(connection) == ["deux", "one", "three"]


def test_so_does_whoever_takes_the_note_away(
    connection: Connection, filled: Settings, space: Space
) -> None:
    forget(connection, "two")
    connection.execute("DELETE FROM deleted_items")
    assert sync(connection).new == 1
    work(filled, space, FakeEmbedder())
    assert texts(connection) == ["one", "three", "two"]


@pytest.mark.parametrize("how", ["DELETE FROM source_items", "TRUNCATE source_items"])
def test_nothing_is_noted_of_what_goes_with_its_source_item(
    connection: Connection, filled: Settings, how: str
) -> None:
    forget(connection, "two")
    connection.execute(how)  # type: ignore[arg-type]
    assert connection.execute("SELECT count(*) FROM deleted_items").fetchone() == (0,)


def test_the_worker_and_the_triggers_note_nothing(
    connection: Connection, filled: Settings, space: Space
) -> None:
    connection.execute("UPDATE source_items SET content_ref = repeat('a b ', 60)")
    work(filled, space, FakeEmbedder())
    connection.execute("UPDATE source_items SET content_ref = 'short'")  # parts go
    work(filled, space, FakeEmbedder())
    connection.execute("DELETE FROM source_items WHERE id = (SELECT min(id) FROM source_items)")
    assert connection.execute("SELECT count(*) FROM deleted_items").fetchone() == (0,)
    assert texts(connection) == ["short", "short"]
