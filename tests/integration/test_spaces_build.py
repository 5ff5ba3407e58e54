"""Building a space: shared with other workers, stopped, killed, resumed, indexed."""

import threading
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest

from pipeline import spaces, transfer
from pipeline.errors import SpaceError
from pipeline.ingest.space_build import BuildListener, SpaceBuild
from pipeline.postgres.connections import Connection, connect
from pipeline.quality import recall
from pipeline.quality.projection import project
from pipeline.queue import claims, status
from pipeline.settings import Settings
from pipeline.spaces import IndexProgress, Space
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.spaces import fake_ingest, fill, second_space

ROWS = 300


@pytest.fixture
def second(connection: Connection, space: Space) -> Space:
    """A space of 12 dimensions with a job per row, nothing embedded."""
    add_texts(connection, [f"text number {n}" for n in range(ROWS)])
    return second_space(connection)


def test_a_build_fills_indexes_and_measures_the_space(
    settings: Settings, connection: Connection, second: Space
) -> None:
    heard: list[int] = []
    listener = BuildListener(embedded=lambda report: heard.append(report.done))
    report = SpaceBuild(
        settings, "second", run_ingest=fake_ingest(FakeEmbedder(12)), listener=listener
    ).run()
    assert (report.coverage.share, report.items, report.embedded) == (1.0, ROWS, ROWS)
    assert heard[-1] == ROWS
    assert spaces.missing_indexes(connection, second) == []
    rows = connection.execute(
        "SELECT modality, item_count, mean IS NOT NULL FROM space_modalities "
        "WHERE space_id = %s ORDER BY modality",
        (second.id,),
    ).fetchall()
    assert rows == [("image", 0, False), ("text", ROWS, True)]
    assert spaces.activate(connection, second).state == "active"


def test_a_second_build_embeds_nothing(
    settings: Settings, connection: Connection, second: Space
) -> None:
    embedder = FakeEmbedder(12)
    for expected in (ROWS, ROWS):
        SpaceBuild(settings, "second", run_ingest=fake_ingest(embedder)).run()
        assert embedder.embedded == expected


def test_a_build_that_is_stopped_goes_on_where_it_was(
    settings: Settings, connection: Connection, second: Space
) -> None:
    holder: list[SpaceBuild] = []

    def stop_soon(contents: Sequence[bytes]) -> None:
        if embedder.embedded > 50:
            holder[0].stop()

    embedder = FakeEmbedder(12, before=stop_soon)
    holder.append(SpaceBuild(settings, "second", run_ingest=fake_ingest(embedder)))
    report = holder[0].run()
    assert report.stopped
    assert 0 < report.coverage.done < ROWS
    assert spaces.missing_indexes(connection, second) == ["text", "image"]
    assert status.counts(connection, second.id).running == 0
    resumed = FakeEmbedder(12)
    report = SpaceBuild(settings, "second", run_ingest=fake_ingest(resumed)).run()
    assert report.coverage.share == 1.0
    assert resumed.embedded + embedder.embedded <= ROWS + 2 * settings.batch_size


def test_a_build_waits_for_the_rows_that_another_worker_holds(
    settings: Settings, connection: Connection, second: Space
) -> None:
    held = claims.claim(connection, second.id, "other", 20, 60)
    waiting = threading.Event()
    report = []
    building = SpaceBuild(
        settings,
        "second",
        run_ingest=fake_ingest(FakeEmbedder(12)),
        listener=BuildListener(waiting=lambda jobs: waiting.set()),
    )
    thread = threading.Thread(target=lambda: report.append(building.run()), daemon=True)
    thread.start()
    assert waiting.wait(60)
    assert spaces.missing_indexes(connection, second) == ["text", "image"]
    assert claims.release(connection, second.id, "other") == len(held) == 20
    thread.join(60)
    assert report[0].coverage.share == 1.0


def test_a_build_ends_though_new_rows_keep_coming(
    settings: Settings, connection: Connection, second: Space
) -> None:
    """Beside a steady stream; what came after it had begun is embedded by whoever works next."""
    most = 100
    added: list[str] = []

    def one_more(_: Sequence[bytes]) -> None:
        if len(added) < most:
            added.append(f"added while the model worked, {len(added)}")
            add_texts(connection, added[-1:], source=f"stream {len(added)}")

    embedder = FakeEmbedder(12, before=one_more)
    report = SpaceBuild(settings, "second", run_ingest=fake_ingest(embedder)).run()
    assert ROWS <= report.embedded < ROWS + most
    assert status.counts(connection, second.id).due == ROWS + len(added) - report.embedded
    assert spaces.missing_indexes(connection, second) == []


def test_a_build_waits_for_the_next_attempt_of_a_row_that_it_found(
    settings: Settings, connection: Connection, second: Space
) -> None:
    """Though that is due later than the build began, as what came since is."""
    held = claims.claim(connection, second.id, "other", 20, 60)
    put_off = list[int]()

    def fail_them(_: int) -> None:
        if not put_off:
            put_off.append(
                connection.execute(
                    "UPDATE ingest_jobs SET state = 'pending', worker = NULL, leased_until = NULL, "
                    "run_after = now() + interval '1 s' WHERE worker = 'other'"
                ).rowcount
            )

    report = SpaceBuild(
        settings,
        "second",
        run_ingest=fake_ingest(FakeEmbedder(12)),
        listener=BuildListener(waiting=fail_them),
    ).run()
    assert put_off == [len(held)]
    assert report.coverage.share == 1.0


def wait_for_index_entry(connection: Connection, space: Space, thread: threading.Thread) -> None:
    """Until the building index stands in the catalogue, so its first transaction is through."""
    for _ in range(1000):
        if spaces.index_is_valid(connection, space, "text") is not None:
            return
        thread.join(0.01)
    raise AssertionError("the build waits for a lock before it has begun")


def test_an_index_build_that_is_killed_leaves_a_broken_index_that_is_replaced(
    url: str, settings: Settings, connection: Connection, second: Space
) -> None:
    fill(settings, second, FakeEmbedder(12))
    with connect(url) as other, other.transaction():
        # CREATE INDEX CONCURRENTLY waits for this transaction, having made its catalogue entry.
        other.execute("SELECT txid_current(), (SELECT count(*) FROM multimodal_items)")
        other.execute(f"LOCK TABLE {second.table_name('text')} IN ROW EXCLUSIVE MODE")
        victim = connect(url)
        errors: list[Exception] = []

        def build() -> None:
            try:
                spaces.build_indexes(victim, second)
            except psycopg.Error as exc:
                errors.append(exc)

        thread = threading.Thread(target=build, daemon=True)
        thread.start()
        wait_for_index_entry(connection, second, thread)
        progress = spaces.index_progress(connection, second)
        assert progress is None or isinstance(progress, IndexProgress)
        connection.execute("SELECT pg_terminate_backend(%s)", (victim.info.backend_pid,))
        thread.join(60)
        assert isinstance(errors[0], psycopg.OperationalError)
    assert spaces.index_is_valid(connection, second, "text") is False
    report = SpaceBuild(settings, "second", embed=False).run()
    assert report.embedded == 0
    assert spaces.missing_indexes(connection, second) == []


def test_source_rows_can_be_deleted_while_the_index_is_built(
    url: str, settings: Settings, connection: Connection, second: Space
) -> None:
    fill(settings, second, FakeEmbedder(12))
    with connect(url) as holder, connect(url) as own:
        holder.execute("BEGIN")
        # What the build waits for after it has begun.
        holder.execute(f"LOCK TABLE {second.table_name('text')} IN ROW EXCLUSIVE MODE")
        thread = threading.Thread(target=lambda: spaces.build_indexes(own, second), daemon=True)
        thread.start()
        wait_for_index_entry(connection, second, thread)
        connection.execute("SET lock_timeout = '10s'")
        connection.execute("DELETE FROM source_items WHERE source_key = '1'")
        assert thread.is_alive()
        holder.execute("ROLLBACK")
        thread.join(60)
    assert spaces.missing_indexes(connection, second) == []
    assert spaces.item_count(connection, second) == ROWS - 1


def test_building_a_space_that_nothing_was_embedded_into_says_so(
    settings: Settings, connection: Connection, second: Space
) -> None:
    with pytest.raises(SpaceError, match="nothing is embedded into the space 'second'"):
        SpaceBuild(settings, "second", embed=False).run()
    with pytest.raises(SpaceError, match="no space 'third'; there are: fake, second"):
        SpaceBuild(settings, "third").run()


def test_settings_of_an_index_build_do_not_outlive_it(
    settings: Settings, connection: Connection, second: Space
) -> None:
    query = (
        "SELECT current_setting('maintenance_work_mem'), "
        "current_setting('max_parallel_maintenance_workers')"
    )
    before = connection.execute(query).fetchone()
    fill(settings, second, FakeEmbedder(12))
    spaces.build_indexes(connection, second, maintenance_memory="16MB", parallel_workers=0)
    assert connection.execute(query).fetchone() == before
    assert spaces.missing_indexes(connection, second) == []


def test_vectors_too_long_to_stay_inline_are_stored_uncompressed(
    connection: Connection, space: Space
) -> None:
    for dimensions, storage in ((768, "p"), (1024, "e")):
        made = second_space(connection, dimensions)
        row = connection.execute(
            "SELECT attstorage::text FROM pg_attribute WHERE attrelid = %s::regclass "
            "AND attname = 'embedding'",
            (made.table_name("text"),),
        ).fetchone()
        assert row == (storage,)
        spaces.drop(connection, made)


def test_a_space_of_type_vector_lives_as_one_of_type_halfvec_does(
    settings: Settings, connection: Connection, space: Space, tmp_path: Path
) -> None:
    add_texts(connection, [f"text number {n}" for n in range(ROWS)])
    fill(settings, space, FakeEmbedder())
    second = second_space(connection, vector_type="vector")
    SpaceBuild(settings, "second", run_ingest=fake_ingest(FakeEmbedder(12))).run()
    assert min(r.recall for r in recall.measure(connection, second, sample=10)) > 0.9
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(
            f"UPDATE {second.table_name('text')} SET embedding = embedding + embedding"
        )
    spaces.activate(connection, second)
    row = connection.execute(
        "SELECT count(*), min(pg_typeof(embedding)::text) FROM multimodal_items"
    ).fetchone()
    assert row == (ROWS, "vector")
    path = tmp_path / "items.parquet"
    assert transfer.export_parquet(connection, second, path) == ROWS
    rows = transfer.from_parquet(path, {})
    assert transfer.import_items(connection, second, "test", rows).items == ROWS
    assert project(connection, second, 50).before.shape == (50, 2)
    assert spaces.rollback(connection).vector_type == "halfvec"
