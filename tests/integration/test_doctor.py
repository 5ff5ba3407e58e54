"""The doctor finds each planted illness and names its cure; in health it finds nothing."""

import pytest
from psycopg import sql

from pipeline import spaces
from pipeline.doctor.check import Check
from pipeline.doctor.examination import examine
from pipeline.embedders.openclip.embedder import MultimodalEmbedder
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.settings import Settings
from pipeline.spaces import Space, probes
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.spaces import fill


@pytest.fixture
def healthy(settings: Settings, connection: Connection, space: Space) -> Space:
    add_texts(connection, [f"text {n}" for n in range(50)])
    fill(settings, space, FakeEmbedder())
    probes.store(connection, space, FakeEmbedder())
    connection.execute("SELECT refresh_space_statistics()")
    connection.execute("ANALYZE")
    return space


def failing(settings: Settings) -> list[Check]:
    return [check for check in examine(settings) if not check.ok]


def the_only_one(settings: Settings) -> Check:
    found = failing(settings)
    assert len(found) == 1, found
    return found[0]


def test_a_healthy_database_has_nothing(settings: Settings, healthy: Space) -> None:
    results = examine(settings)
    assert [check for check in results if not check.ok] == []
    assert all(check.fix == "" for check in results)
    assert {"server", "migrations", "installed SQL", "space", "index text", "norms text"} <= {
        check.name for check in results
    }


def test_each_illness_is_found_alone_and_its_cure_works(
    settings: Settings, connection: Connection, healthy: Space
) -> None:
    """Statements named as cures are run as they are."""
    table = healthy.table_name("text")

    connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_unit_vector")
    check = the_only_one(settings)
    assert (check.name, check.found) == ("norms text", "the CHECK on unit vectors is gone")
    connection.execute(
        f"UPDATE {table} SET embedding = l2_normalize(embedding)::vector * "
        "array_fill(2, ARRAY[8])::vector WHERE part = 0 AND content_ref = 'text 1'"
    )
    check = the_only_one(settings)
    assert check.found.startswith("1 of 50 vectors are no unit vectors")
    connection.execute(check.fix)
    found = {check.name: check for check in failing(settings)}
    assert found["coverage"].fix == "pipeline space build fake"
    assert spaces.enqueue_missing(connection, healthy) == 1
    assert {c.name: c.fix for c in failing(settings)}["coverage"] == "pipeline ingest --once"
    fill(settings, healthy, FakeEmbedder())
    connection.execute(the_only_one(settings).fix)
    assert failing(settings) == []

    connection.execute("DELETE FROM space_probes")
    assert the_only_one(settings).found == "none stored"
    probes.verify(connection, healthy, FakeEmbedder())

    connection.execute("UPDATE space_modalities SET item_count = 10 WHERE modality = 'text'")
    check = the_only_one(settings)
    assert check.name == "statistics text"
    connection.execute(check.fix)
    assert failing(settings) == []

    connection.execute(
        "INSERT INTO ingest_jobs (space_id, source_id, state, error_code) "
        "SELECT %s, min(id), 'failed', 'embed_failed' FROM source_items",
        (healthy.id,),
    )
    check = the_only_one(settings)
    assert (check.name, check.fix) == ("coverage", "pipeline failures, then pipeline retry")
    assert "%" not in check.found
    assert " source items are embedded, " in check.found
    connection.execute("DELETE FROM ingest_jobs")

    connection.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass",
        (healthy.index_name("text"),),
    )
    check = the_only_one(settings)
    assert (check.name, check.found) == ("index text", "broken")
    assert check.fix == "pipeline space build --no-embed fake"


def test_functions_of_another_release_are_named_and_migrate_brings_this_ones(
    settings: Settings, connection: Connection, healthy: Space, url: str
) -> None:
    connection.execute("UPDATE installed_sql SET sha256 = 'of another text'")
    check = the_only_one(settings)
    assert (check.name, check.fix) == ("installed SQL", "pipeline migrate")
    migrate.upgrade(url)
    assert failing(settings) == []
    connection.execute("DELETE FROM installed_sql")
    assert the_only_one(settings).name == "installed SQL"
    migrate.upgrade(url)
    assert failing(settings) == []


def test_settings_of_the_database_are_looked_at_and_mended(
    settings: Settings, connection: Connection, healthy: Space
) -> None:
    name = sql.Identifier(connection.info.dbname)
    connection.execute(sql.SQL("ALTER DATABASE {} SET hnsw.iterative_scan = 'off'").format(name))
    check = the_only_one(settings)
    assert (check.name, check.found) == ("hnsw.iterative_scan", "off")
    connection.execute(check.fix)
    connection.execute(sql.SQL("ALTER DATABASE {} SET hnsw.ef_search = 40").format(name))
    check = the_only_one(settings)
    assert (check.name, check.found) == ("hnsw.ef_search", "40")
    connection.execute(check.fix)
    assert failing(settings) == []


def test_dead_rows_ask_for_a_vacuum(
    settings: Settings, connection: Connection, healthy: Space
) -> None:
    table = healthy.table_name("text")
    connection.execute(
        f"""
        INSERT INTO {table} (source_id, modality, content_ref, space_id, content_sha256, embedding)
        SELECT 10000 + n, 'text', 'x', space_id, '', embedding
        FROM (SELECT * FROM {table} LIMIT 1) AS one CROSS JOIN generate_series(1, 1100) AS n
        """
    )
    connection.execute(f"DELETE FROM {table} WHERE source_id > 10000")
    connection.execute("SELECT pg_stat_force_next_flush()")
    check = the_only_one(settings)
    assert check.fix == f"VACUUM {table}"
    connection.execute(check.fix)
    connection.execute("SELECT pg_stat_force_next_flush()")
    assert failing(settings) == []


def test_what_an_ingest_leaves_in_the_queue_is_no_finding(
    settings: Settings, connection: Connection, healthy: Space
) -> None:
    add_texts(connection, [f"more {n}" for n in range(1100)], source="more")
    connection.execute("DELETE FROM source_items WHERE source = 'more'")
    connection.execute("SELECT pg_stat_force_next_flush()")
    assert failing(settings) == []


def test_what_stands_in_the_way_of_everything_ends_the_examination(empty_url: str) -> None:
    settings = Settings.load(database_url=empty_url)
    (check,) = failing(settings)
    assert (check.name, check.fix) == ("migrations", "pipeline migrate")
    migrate.upgrade(empty_url)
    (check,) = failing(settings)
    assert (check.name, check.found) == ("space", "no space is active")
    with connect(empty_url) as connection:
        space = spaces.create(connection, "first", FakeEmbedder())
        spaces.activate(connection, space)
        probes.store(connection, space, FakeEmbedder())
    assert failing(settings) == []
    nowhere = Settings.load(database_url=empty_url.replace("/test_", "/no_test_"))
    (check,) = examine(nowhere)
    assert (check.name, check.ok) == ("server", False)
    assert "does not exist" in check.found


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16", "int8"])
def test_the_model_is_checked_for_what_it_computes_here(empty_url: str, precision: str) -> None:
    settings = Settings.load(database_url=empty_url, device="cpu")
    migrate.upgrade(empty_url)
    embedder = MultimodalEmbedder("demo", device="cpu", precision=precision)
    with connect(empty_url) as connection:
        space = spaces.create(connection, "demo", embedder)
        spaces.activate(connection, space)
        probes.store(connection, space, embedder)
        found = {check.name: check for check in examine(settings, model=True)}
        assert found["model probes"].ok, found["model probes"]
        assert found["model precision"].ok, found["model precision"]
        assert "of at least 0.999" in found["model precision"].found
        elsewhere = settings.model_copy(update={"device": "warp"})
        (check,) = [check for check in examine(elsewhere, model=True) if not check.ok]
        assert check.name == "model"
        assert "device 'warp' cannot be used" in check.found
        connection.execute("UPDATE space_probes SET embedding[1] = embedding[1] + 0.1")
        drifted = [check for check in examine(settings, model=True) if not check.ok]
        assert [check.name for check in drifted] == ["model probes"]
        connection.execute("UPDATE embedding_spaces SET fingerprint = 'another'")
        strange = [check for check in examine(settings, model=True) if not check.ok]
        assert [check.name for check in strange] == ["model"]
