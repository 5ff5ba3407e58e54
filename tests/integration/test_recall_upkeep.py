"""Recall that holds by itself: whoever ingests measures what was built or has grown."""

import logging
import threading

import psycopg
import pytest

from pipeline.ingest.run import IngestListener, ingest
from pipeline.ingest.space_build import SpaceBuild
from pipeline.ingest.worker import Worker
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.database import Database
from pipeline.postgres.rights import EMBED
from pipeline.quality import comparison, tunings
from pipeline.quality.comparison import Budget
from pipeline.quality.upkeep import RECALL_LOCK, RecallUpkeep
from pipeline.settings import Settings
from pipeline.spaces import get_space
from tests.helpers.databases import as_login, login_url, role
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.growing import TARGET, Growing, make_growing
from tests.helpers.processes import wait_until
from tests.helpers.spaces import fake_ingest

SMALL, LARGE = 1_000, 10_000


@pytest.fixture
def growing(connection: Connection) -> Growing:
    return make_growing(connection)


@pytest.fixture
def small(connection: Connection, growing: Growing) -> Growing:
    growing.grow(SMALL)
    connection.execute("SELECT refresh_space_statistics()")
    return growing


def measured(growing: Growing) -> dict[tuple[str, str], int | None]:
    """Among how many items each pair was measured."""
    return {
        (one.query_modality, one.item_modality): one.items
        for one in tunings.stored(growing.connection, growing.space)
    }


BOTH = {("text", "image"): SMALL, ("image", "image"): SMALL}  # of 200 texts nobody need know


def test_after_a_table_grew_tenfold_its_recall_is_what_it_was(
    settings: Settings, growing: Growing
) -> None:
    growing.grow(SMALL)
    ingest(settings)  # with nothing due
    assert growing.recall() >= TARGET
    growing.grow(LARGE)
    assert growing.recall() < TARGET - 0.05  # or it would show nothing
    add_texts(growing.connection, ["one job"])
    assert ingest(settings).done == 1
    assert growing.recall() >= TARGET


def test_what_grew_by_less_than_a_half_is_left(settings: Settings, small: Growing) -> None:
    assert ingest(settings).seconds_measuring > 0
    assert measured(small) == BOTH
    small.grow(SMALL * 7 // 5)
    assert ingest(settings).seconds_measuring == 0
    assert measured(small) == BOTH
    small.grow(SMALL * 3 // 2)
    ingest(settings)
    assert measured(small) == dict.fromkeys(BOTH, SMALL * 3 // 2)


def test_a_new_graph_and_a_new_target_are_measured(
    connection: Connection, settings: Settings, small: Growing
) -> None:
    ingest(settings)
    assert tunings.due(connection, small.space) == []
    connection.execute(f"REINDEX INDEX {small.space.index_name('image')}".encode())
    assert tunings.due(connection, small.space) == ["image"]
    ingest(settings)
    assert tunings.due(connection, small.space) == []
    space = tunings.set_target(connection, small.space, 0.99)
    assert tunings.due(connection, space) == ["image"]
    ingest(settings)
    assert {one.target for one in tunings.stored(connection, space)} == {0.99}


def test_a_worker_that_watches_measures(settings: Settings, small: Growing) -> None:
    workers: list[Worker] = []
    listener = IngestListener(starting=lambda worker, _: workers.append(worker))
    watching = threading.Thread(
        target=lambda: ingest(settings, once=False, listener=listener), daemon=True
    )
    watching.start()
    try:
        wait_until(lambda: measured(small) == BOTH, "the first look")
    finally:
        wait_until(lambda: bool(workers), "the worker")
        workers[0].stop()
        watching.join(30)
    assert not watching.is_alive()


def test_a_build_ends_with_a_measurement(
    settings: Settings, connection: Connection, small: Growing
) -> None:
    connection.execute("DROP INDEX multimodal_items_embedding")
    build = SpaceBuild(settings, small.space.name, run_ingest=fake_ingest(FakeEmbedder()))
    report = build.run()
    assert report.seconds_measuring > 0
    assert measured(small) == BOTH


def test_a_space_that_is_not_active_is_measured_when_it_is_built(
    settings: Settings, connection: Connection, small: Growing
) -> None:
    connection.execute("UPDATE embedding_spaces SET state = 'building' WHERE name = 'grows'")
    upkeep = RecallUpkeep(Database.of(settings), get_space(connection, "grows"))
    assert len(upkeep.run()) == 2


def test_while_one_measures_another_does_not(url: str, small: Growing, settings: Settings) -> None:
    with connect(url) as other, other.transaction():
        key = (RECALL_LOCK << 32) + small.space.id
        other.execute("SELECT pg_advisory_xact_lock(%s::bigint)", (key,))
        assert ingest(settings).done == 0
        assert measured(small) == {}
    ingest(settings)
    assert measured(small) == BOTH


def test_nobody_waits_for_it(url: str, small: Growing, settings: Settings) -> None:
    """Not even who wants the table alone: between two queries no lock is held."""
    asked: list[str] = []

    def write(what: str) -> None:
        asked.append(what)
        with connect(url) as writer, writer.transaction(force_rollback=True):
            writer.execute("LOCK TABLE multimodal_items IN ACCESS EXCLUSIVE MODE NOWAIT")
            writer.execute("DELETE FROM source_items")

    upkeep = RecallUpkeep(Database.of(settings), small.space, progress=write)
    assert len(upkeep.run()) == 2
    assert asked[:2] == ["text -> image, exact search", "text -> image, ef_search 10"]


def test_it_stops_with_the_query_in_hand_and_stores_nothing(
    small: Growing, settings: Settings
) -> None:
    upkeep = RecallUpkeep(
        Database.of(settings), small.space, progress=lambda what: "ef_" in what and upkeep.stop()
    )
    assert upkeep.run() == []
    assert measured(small) == {}


def test_the_scans_end_when_their_time_is_over(small: Growing, connection: Connection) -> None:
    queries = comparison.sample_queries(connection, small.space, "text", 50)

    def made(budget: Budget) -> int:
        truth = comparison.exact(connection, small.space, "image", queries, 10, "none", budget)
        return len(truth)

    assert made(Budget()) == 50
    assert made(Budget(seconds=0.0)) == 20
    assert made(Budget(seconds=0.0, most_seconds=0.0)) == 1
    stopped = Budget()
    stopped.stop.set()
    assert made(stopped) == 0
    few = comparison.exact(
        connection, small.space, "image", queries, 10, "none", Budget(seconds=0.0)
    )
    found = comparison.search(
        connection, small.space, "text", "image", queries, few, 10, 100, "none"
    )
    assert found.queries == 20


def test_who_may_ingest_may_measure(
    url: str, connection: Connection, small: Growing, settings: Settings
) -> None:
    with role(connection, "loader", "LOGIN IN ROLE pipeline_ingest") as loader:
        ingest(Settings.load(database_url=login_url(url, loader)))
    assert measured(small) == BOTH


def test_who_may_not_ingests_all_the_same(
    url: str, connection: Connection, small: Growing, caplog: pytest.LogCaptureFixture
) -> None:
    with as_login(connection, url, "loader", "LOGIN IN ROLE pipeline_ingest"):
        connection.execute("REVOKE UPDATE ON space_tunings FROM pipeline_ingest")
        try:
            with caplog.at_level(logging.WARNING):
                assert ingest(Settings.load(database_url=login_url(url, "loader"))).done == 0
        finally:
            connection.execute("GRANT UPDATE ON space_tunings TO pipeline_ingest")
    assert measured(small) == {}
    assert caplog.records == []


def test_a_login_with_the_rights_of_a_worker_alone_goes_on(
    url: str, connection: Connection, small: Growing, caplog: pytest.LogCaptureFixture
) -> None:
    with as_login(connection, url, "bare"):
        for table, rights in EMBED.privileges.items():
            connection.execute(f"GRANT {', '.join(rights)} ON {table} TO bare".encode())
        connection.execute("GRANT SELECT ON source_items, pipeline_alembic_version TO bare")
        connection.execute("GRANT SELECT ON known_modalities TO bare")
        for modality in small.space.modalities:
            connection.execute(
                f"GRANT SELECT ON {small.space.table_name(modality)} TO bare".encode()
            )
        with caplog.at_level(logging.WARNING, "pipeline.quality"):
            assert ingest(Settings.load(database_url=login_url(url, "bare"))).done == 0
    assert measured(small) == {}
    assert [record.getMessage() for record in caplog.records] == []


def test_what_keeps_it_from_measuring_ends_no_ingest(
    connection: Connection, small: Growing, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    connection.execute(
        "CREATE RULE nothing AS ON INSERT TO space_tunings DO INSTEAD "
        "UPDATE embedding_spaces SET target_recall = 2"
    )
    with caplog.at_level(logging.WARNING):
        assert ingest(settings).done == 0
    assert any("recall was not measured" in record.getMessage() for record in caplog.records)


def test_what_is_small_is_not_measured(
    settings: Settings, connection: Connection, growing: Growing
) -> None:
    growing.grow(tunings.LEAST_ITEMS - 1)
    ingest(settings)
    assert measured(growing) == {}
    assert growing.recall() >= TARGET  # by the ef_search that nobody chose


def test_a_target_is_a_share(connection: Connection, growing: Growing) -> None:
    for target in (0, 1.01):
        with pytest.raises(psycopg.errors.CheckViolation):
            tunings.set_target(connection, growing.space, target)
