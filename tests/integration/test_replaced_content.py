"""What an item says is what its source item says now, or the item is not there."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.errors import PermanentRowError, TransientRowError
from pipeline.loaders import Loader, LoadOptions
from pipeline.postgres.connections import Connection, connect
from pipeline.queue import claims, failures
from pipeline.queue.backoff import Backoff
from pipeline.queue.sweep import sweep
from pipeline.settings import Settings
from pipeline.sources.removal import Brake
from pipeline.sources.rescan import rescan
from pipeline.spaces import Space
from tests.helpers.fakes import WINDOW, FakeEmbedder, add_texts
from tests.helpers.spaces import add_images, second_space
from tests.helpers.workers import load_file, work

OLD = '{"tenant": "a"}'


def shown(connection: Connection, table: str = "multimodal_items") -> list[Any]:
    """By file or text what the items show, and their metadata but for our notes."""
    rows = connection.execute(
        f"SELECT content_ref, metadata - '_pipeline' FROM {table} ORDER BY source_id, part"  # type: ignore[arg-type]
    ).fetchall()
    return [(Path(ref).name, metadata) for ref, metadata in rows]


def set_all(connection: Connection, **columns: str) -> None:
    for column, value in columns.items():
        connection.execute(f"UPDATE source_items SET {column} = %s", (value,))  # type: ignore[arg-type]


def failing(*_: Any) -> Any:
    raise TransientRowError("unreachable", "the host is down")


def refuse(_: Sequence[bytes]) -> None:
    raise RuntimeError("the kernel says no")


@pytest.fixture
def once(settings: Settings) -> Settings:
    """The first failure is the last."""
    return settings.model_copy(update={"max_attempts": 1})


@pytest.fixture
def text(settings: Settings, space: Space, connection: Connection) -> None:
    add_texts(connection, ["the old text"])
    work(settings, space)
    assert shown(connection) == [("the old text", {})]


@pytest.fixture
def image(settings: Settings, space: Space, connection: Connection, tmp_path: Path) -> Path:
    add_images(connection, tmp_path, 1)
    work(settings, space, load=load_file)
    assert shown(connection) == [("1.png", {})]
    return tmp_path / "1.png"


def failed(connection: Connection) -> list[Any]:
    return connection.execute("SELECT state, error_code FROM ingest_jobs").fetchall()


@pytest.mark.parametrize(("replaced", "code"), [("", "empty_text"), (" \n", "empty_text")])
def test_a_text_that_cannot_be_embedded_takes_the_old_one_with_it(
    settings: Settings,
    space: Space,
    connection: Connection,
    text: None,
    replaced: str,
    code: str,
) -> None:
    set_all(connection, content_ref=replaced)
    work(settings, space)
    assert failed(connection) == [("failed", code)]
    assert shown(connection) == []


def test_every_window_of_the_old_text_goes(
    settings: Settings, space: Space, connection: Connection
) -> None:
    add_texts(connection, ["x" * (3 * WINDOW), "another"])
    work(settings, space)
    assert len(shown(connection)) == 4
    connection.execute("UPDATE source_items SET content_ref = '' WHERE source_key = '1'")
    work(settings, space)
    assert shown(connection) == [("another", {})]


@pytest.mark.parametrize(
    ("reference", "code"),
    [("/nowhere/at/all.png", "forbidden_path"), ("{folder}/missing.png", "not_found")],
)
def test_a_reference_that_cannot_be_read_takes_the_old_image_with_it(
    settings: Settings,
    space: Space,
    connection: Connection,
    image: Path,
    reference: str,
    code: str,
) -> None:
    set_all(connection, content_ref=reference.format(folder=image.parent))
    with Loader(LoadOptions.of(settings)) as loader:
        work(settings, space, load=loader.load)
    assert failed(connection) == [("failed", code)]
    assert shown(connection) == []


def test_the_old_item_stays_while_it_is_tried_again_and_goes_when_that_ends(
    settings: Settings, space: Space, connection: Connection, image: Path
) -> None:
    settings = settings.model_copy(update={"max_attempts": 2})
    set_all(connection, content_ref=str(image.with_name("new.png")))
    work(settings, space, load=failing, limit=1)
    assert failed(connection) == [("pending", "unreachable")]
    assert shown(connection) == [("1.png", {})]
    connection.execute("UPDATE ingest_jobs SET run_after = now()")
    work(settings, space, load=failing, limit=1)
    assert failed(connection) == [("failed", "unreachable")]
    assert shown(connection) == []


def test_what_did_not_change_outlasts_a_host_that_is_down(
    once: Settings, space: Space, connection: Connection, image: Path
) -> None:
    connection.execute("SELECT enqueue_source_items(array_agg(id)) FROM source_items")
    work(once, space, load=failing)
    assert failed(connection) == [("failed", "unreachable")]
    assert shown(connection) == [("1.png", {})]


def test_an_unchanged_reference_to_what_is_gone_leaves_it_to_rescan(
    settings: Settings, space: Space, connection: Connection, image: Path
) -> None:
    """A disk that is not mounted is no reason to forget what is on it."""
    connection.execute("SELECT enqueue_source_items(array_agg(id)) FROM source_items")
    image.rename(image.with_suffix(".away"))
    with Loader(LoadOptions.of(settings)) as loader:
        work(settings, space, load=loader.load)
    assert failed(connection) == [("failed", "not_found")]
    assert shown(connection) == [("1.png", {})]


def test_other_bytes_behind_the_same_reference_take_the_old_image_with_them(
    settings: Settings, space: Space, connection: Connection, image: Path
) -> None:
    """In every stage after the load it is known that the old item is of other bytes."""
    image.write_bytes(b"<html>not found</html>")
    connection.execute("SELECT enqueue_source_items(array_agg(id)) FROM source_items")

    def decode(data: bytes) -> Any:
        raise PermanentRowError("not_an_image", "HTML")

    work(settings, space, load=load_file, decode=decode)
    assert failed(connection) == [("failed", "not_an_image")]
    assert shown(connection) == []


def test_what_the_model_refuses_takes_the_old_image_with_it(
    once: Settings, space: Space, connection: Connection, image: Path
) -> None:
    Image.new("RGB", (8, 8), "yellow").save(image)
    connection.execute("SELECT enqueue_source_items(array_agg(id)) FROM source_items")
    work(once, space, FakeEmbedder(before=refuse), load=load_file)
    assert failed(connection) == [("failed", "embed_failed")]
    assert shown(connection) == []


def test_what_grew_beyond_the_cap_takes_the_old_image_with_it(
    settings: Settings, space: Space, connection: Connection, image: Path
) -> None:
    """It is refused before it is read; but rescan has seen that it is another file."""
    with Loader(LoadOptions.of(settings)) as loader:
        connection.execute("SELECT enqueue_source_items(array_agg(id)) FROM source_items")
        work(settings, space, load=loader.load)  # with the notes of the loader
        image.write_bytes(bytes(2_000_000))
        assert rescan(connection, loader.stat, Brake(0.1)).changed == 1
    with Loader(LoadOptions.of(settings.model_copy(update={"max_bytes": 10_000}))) as loader:
        work(settings, space, load=loader.load)
    assert failed(connection) == [("failed", "too_large")]
    assert shown(connection) == []


def test_what_the_database_refuses_to_write_takes_the_old_text_with_it(
    once: Settings, space: Space, connection: Connection, text: None
) -> None:
    connection.execute(
        f"ALTER TABLE {space.table_name('text')} ADD CHECK (content_ref <> 'forbidden')"  # type: ignore[arg-type]
    )
    set_all(connection, content_ref="forbidden")
    work(once, space)
    assert failed(connection) == [("failed", "internal")]
    assert shown(connection) == []


def test_a_row_whose_worker_is_lost_for_good_takes_the_old_text_with_it(
    space: Space, connection: Connection, text: None
) -> None:
    set_all(connection, content_ref="what kills")
    claims.claim(connection, space.id, "w", 1, 60)
    connection.execute("UPDATE ingest_jobs SET leased_until = 'epoch', run_after = 'epoch'")
    sweep(connection, 5)
    assert failed(connection) == [("pending", "worker_lost")]
    assert shown(connection) == [("the old text", {})]
    connection.execute(
        "UPDATE ingest_jobs SET state = 'running', worker = 'w', leased_until = 'epoch', "
        "attempts = 5"
    )
    sweep(connection, 5)
    assert failed(connection) == [("failed", "worker_lost")]
    assert shown(connection) == []


def test_another_modality_that_cannot_be_embedded_takes_the_old_items_with_it(
    settings: Settings, space: Space, connection: Connection, text: None
) -> None:
    connection.execute("UPDATE source_items SET modality = 'image', content_ref = '/no/image'")
    with Loader(LoadOptions.of(settings)) as loader:
        work(settings, space, load=loader.load)
    assert failed(connection) == [("failed", "forbidden_path")]
    assert shown(connection) == []


def test_a_failure_in_one_space_touches_no_other(
    once: Settings, space: Space, connection: Connection, text: None
) -> None:
    other = second_space(connection)
    work(once, other, FakeEmbedder(12))
    set_all(connection, content_ref="the new text")
    table = other.table_name("text")
    work(once, space, FakeEmbedder(before=refuse))
    assert shown(connection) == []
    assert shown(connection, table) == [("the old text", {})]
    work(once, other, FakeEmbedder(12))
    assert shown(connection, table) == [("the new text", {})]


def test_a_failure_while_a_space_is_built_leaves_the_active_one(
    once: Settings, space: Space, connection: Connection, text: None
) -> None:
    other = second_space(connection)
    work(once, other, FakeEmbedder(12))
    set_all(connection, content_ref="the new text")
    work(once, other, FakeEmbedder(12, before=refuse))
    assert shown(connection, other.table_name("text")) == []
    assert shown(connection) == [("the old text", {})]


def test_retry_brings_it_back(
    once: Settings, space: Space, connection: Connection, text: None
) -> None:
    set_all(connection, content_ref="the new text")
    work(once, space, FakeEmbedder(before=refuse))
    assert shown(connection) == []
    assert failures.retry(connection) == 1
    work(once, space)
    assert shown(connection) == [("the new text", {})]
    assert failed(connection) == []


def test_items_go_in_the_transaction_that_records_the_failure(
    url: str, connection: Connection, space: Space, text: None
) -> None:
    """Whoever sees the failure sees no old item; a failure that is taken back takes none."""
    set_all(connection, content_ref="")
    (job,) = claims.claim(connection, space.id, "w", 1, 60)
    error = PermanentRowError("empty_text", "nothing to embed")
    with connect(url) as worker:
        with worker.transaction(force_rollback=True):
            claims.fail(
                worker, space.id, "w", [(job, error)], max_attempts=5, backoff=Backoff(1, 2)
            )
            assert shown(worker) == []
        assert shown(worker) == [("the old text", {})]
        claims.fail(worker, space.id, "w", [(job, error)], max_attempts=5, backoff=Backoff(1, 2))
    assert shown(connection) == []


def test_a_failure_of_a_claim_that_no_longer_holds_takes_nothing(
    connection: Connection, space: Space, text: None
) -> None:
    set_all(connection, content_ref="")
    (job,) = claims.claim(connection, space.id, "w", 1, 60)
    set_all(connection, content_ref="changed again")
    error = PermanentRowError("empty_text", "nothing to embed")
    claims.fail(connection, space.id, "w", [(job, error)], max_attempts=5, backoff=Backoff(1, 2))
    assert shown(connection) == [("the old text", {})]


# A change of metadata alone.


def test_metadata_is_there_at_once_in_every_space_without_a_worker(
    settings: Settings, space: Space, connection: Connection, image: Path
) -> None:
    other = second_space(connection)
    work(settings, other, FakeEmbedder(12), load=load_file)
    before = connection.execute(
        "SELECT id, embedding::text, embedded_at FROM multimodal_items"
    ).fetchall()
    with connection.transaction():
        set_all(connection, metadata=OLD)
        assert shown(connection) == [("1.png", {"tenant": "a"})]
    assert shown(connection, other.table_name("image")) == [("1.png", {"tenant": "a"})]
    assert failed(connection) == []  # no job: the file need not be there
    after = connection.execute("SELECT id, embedding::text, embedded_at FROM multimodal_items")
    assert after.fetchall() == before


def test_metadata_of_a_great_many_rows_is_left_to_the_worker(
    settings: Settings, space: Space, connection: Connection
) -> None:
    """Or an application would wait for as many insertions into the index."""
    embedder = FakeEmbedder()
    for rows, by_the_worker in ((1000, 0), (1001, 1001)):
        connection.execute("TRUNCATE source_items")
        add_texts(connection, [f"text {n}" for n in range(rows)])
        work(settings, space, embedder)
        asked = embedder.embedded
        set_all(connection, metadata=OLD)
        jobs = connection.execute("SELECT count(*) FROM ingest_jobs").fetchone()
        assert jobs == (by_the_worker,)
        work(settings, space, embedder)
        of_it = "SELECT count(*) FROM multimodal_items WHERE metadata @> %s"
        assert connection.execute(of_it, (OLD,)).fetchone() == (rows,)
        assert embedder.embedded == asked


def test_nor_does_one_that_waits_keep_it_among_a_great_many(
    settings: Settings, space: Space, connection: Connection
) -> None:
    add_texts(connection, [f"text {n}" for n in range(1001)])
    work(settings, space, FakeEmbedder())
    connection.execute("UPDATE source_items SET content_ref = 'new' WHERE content_ref = 'text 7'")
    set_all(connection, metadata=OLD)
    found = connection.execute("SELECT content_ref FROM multimodal_items").fetchall()
    assert len(found) == 1000
    assert ("text 7",) not in found


def test_other_metadata_takes_the_old_item_of_a_row_that_waits(
    settings: Settings, space: Space, connection: Connection, image: Path
) -> None:
    """A tenant that may no longer see it does not, nor one that never might."""
    set_all(connection, content_ref="/not/yet/there.png")
    work(settings, space, load=failing, limit=1)
    set_all(connection, metadata=OLD)
    assert shown(connection) == []
    assert failed(connection) == [("pending", "unreachable")]


def test_an_item_is_of_one_version_of_its_row(
    settings: Settings, space: Space, connection: Connection, text: None
) -> None:
    """Else the new tenant would find what the old one's row said."""
    before = shown(connection)
    connection.execute("UPDATE source_items SET content_ref = 'new', metadata = %s", (OLD,))
    assert shown(connection) == before
    work(settings, space)
    assert shown(connection) == [("new", {"tenant": "a"})]


def test_a_claim_from_before_does_not_bring_the_old_metadata_back(
    settings: Settings, space: Space, connection: Connection, text: None
) -> None:
    set_all(connection, content_ref="new")
    changed = threading.Event()

    def change(_: Sequence[bytes]) -> None:
        if not changed.is_set():
            changed.set()
            set_all(connection, metadata=OLD)

    work(settings, space, FakeEmbedder(before=change))
    assert shown(connection) == [("new", {"tenant": "a"})]
    assert failed(connection) == []


def test_the_notes_of_the_intake_outlast_a_change_of_metadata(
    settings: Settings, space: Space, connection: Connection
) -> None:
    add_texts(connection, ["x" * (2 * WINDOW)])
    work(settings, space)
    notes = "SELECT metadata -> '_pipeline' FROM multimodal_items ORDER BY part"
    before = connection.execute(notes).fetchall()
    assert before[0][0]
    set_all(connection, metadata=OLD)
    assert connection.execute(notes).fetchall() == before
    set_all(connection, metadata='["no object"]')
    set_all(connection, metadata=OLD)
    work(settings, space)  # notes that an array had no place for are taken again
    assert connection.execute(notes).fetchall() == before


def test_what_a_user_wrote_where_notes_stand_changes_with_the_rest(
    settings: Settings, space: Space, connection: Connection, text: None
) -> None:
    for written in ('{"_pipeline": {"mine": 1}}', '{"_pipeline": {"mine": 2}}', OLD):
        set_all(connection, metadata=written)
        rows = connection.execute("SELECT metadata = %s FROM multimodal_items", (written,))
        assert rows.fetchall() == [(True,)]


def test_a_row_that_failed_stays_failed_when_its_metadata_changes(
    settings: Settings, space: Space, connection: Connection
) -> None:
    add_texts(connection, [""])
    work(settings, space)
    set_all(connection, metadata=OLD)
    assert failed(connection) == [("failed", "empty_text")]


def test_an_application_that_changes_metadata_the_other_way_never_loses(
    url: str, connection: Connection, settings: Settings, space: Space
) -> None:
    """It locks items, which a worker's finish writes: so nobody may work on such a row."""
    add_texts(connection, ["one", "two"])
    work(settings, space)
    with connect(url) as application, connect(url) as own:
        with application.transaction():
            application.execute("UPDATE source_items SET metadata = %s WHERE id = 2", (OLD,))
            thread = threading.Thread(
                target=lambda: own.execute("SELECT enqueue_source_items(ARRAY[2])")
            )
            thread.start()
            report = work(settings, space)  # nothing to claim while it waits
            application.execute("UPDATE source_items SET metadata = %s WHERE id = 1", (OLD,))
        thread.join(60)
    assert not thread.is_alive()
    assert report.done == 0
    work(settings, space)
    assert shown(connection) == [("one", {"tenant": "a"}), ("two", {"tenant": "a"})]
