"""Who may do what: the roles, row-level security as docs/security.md shows it, and the views."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psycopg
import pytest
from PIL import Image

from pipeline.ingest.run import ingest
from pipeline.postgres.connections import Connection, connect
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.vectors import unit_rows
from tests.helpers.command import pipeline
from tests.helpers.fakes import add_texts, vector_of
from tests.helpers.two_cones import store
from tests.helpers.workers import work

SECURITY = Path(__file__).parents[2] / "docs" / "security.md"


@contextmanager
def acting_as(connection: Connection, role: str) -> Iterator[None]:
    connection.execute(f"SET ROLE {role}".encode())
    try:
        yield
    finally:
        connection.execute("RESET ROLE")


@pytest.mark.parametrize(
    ("role", "may_not"),
    [
        ("pipeline_analyst", "INSERT INTO source_items (source, source_key, modality, content_ref) "
         "VALUES ('a', 'b', 'text', 'c')"),
        ("pipeline_analyst", "DELETE FROM multimodal_items"),
        ("pipeline_analyst", "UPDATE ingest_jobs SET attempts = 0"),
        ("pipeline_analyst", "SELECT query FROM query_embeddings"),
        ("pipeline_analyst", "SELECT text_embeddings_by_loopback(ARRAY['x'], '1 s')"),
        ("pipeline_analyst", "SELECT enqueue_source_items(ARRAY[1])"),
        ("pipeline_analyst", "SELECT * FROM refresh_space_statistics()"),
        ("pipeline_ingest", "UPDATE embedding_spaces SET state = 'retired'"),
        ("pipeline_ingest", "DELETE FROM space_probes"),
        ("pipeline_ingest", "ALTER TABLE source_items ADD COLUMN x integer"),
        ("pipeline_ingest", "TRUNCATE multimodal_items"),
        ("pipeline_ingest", "SELECT text_embeddings_by_loopback(ARRAY['x'], '1 s')"),
        ("pipeline_owner", "DROP TABLE source_items"),
        ("pipeline_owner", "UPDATE embedding_spaces SET model = '/tmp/evil'"),
        ("pipeline_owner", "UPDATE embedding_spaces SET description = '{}'"),
        ("pipeline_owner", "DELETE FROM embedding_spaces"),
        ("pipeline_owner", "SELECT loopback_connection()"),
    ],
)  # fmt: skip
def test_what_a_role_may_not(connection: Connection, role: str, may_not: str) -> None:
    with (
        acting_as(connection, role),
        pytest.raises(psycopg.errors.InsufficientPrivilege),
        connection.transaction(),
    ):
        connection.execute(may_not.encode())


@pytest.mark.usefixtures("dblink")
def test_an_analyst_may_not_configure_the_loop_back(connection: Connection) -> None:
    with (
        acting_as(connection, "pipeline_analyst"),
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("CALL configure_loopback('x')")


def test_an_analyst_reads_and_searches(
    connection: Connection, settings: Settings, space: Space
) -> None:
    add_texts(connection, ["one", "two"])
    work(settings, space)
    connection.execute(
        "INSERT INTO query_embeddings (space_id, query_sha256, query, embedding) "
        "VALUES (%s, query_key('one'), 'one', %s::halfvec)",
        (space.id, str(vector_of(b"one").tolist())),
    )
    with acting_as(connection, "pipeline_analyst"):
        found = connection.execute("SELECT content_ref FROM search_items('one')").fetchall()
        assert found == [("one",), ("two",)]
        for view in ("item_catalog", "ingest_status", "ingest_failures", "space_status"):
            connection.execute(f"SELECT * FROM {view}".encode())


def test_a_login_of_pipeline_ingest_adds_and_ingests(
    connection: Connection, settings: Settings, space: Space, tmp_path: Path
) -> None:
    connection.execute("DROP ROLE IF EXISTS loader")
    connection.execute("CREATE ROLE loader LOGIN IN ROLE pipeline_ingest")
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value().replace("user=postgres", "user=loader")
    try:
        with connect(url) as own:
            add_texts(own, ["one", "two"])
            Image.new("RGB", (8, 8)).save(tmp_path / "three.png")
            done = pipeline(tmp_path, "add", "three.png", DATABASE_URL=url)
            assert done.returncode == 0, done.stderr
            report = ingest(Settings.load(database_url=url, media_roots=()))
            assert (report.done, report.failed) == (3, 0)
            assert len(own.execute("SELECT FROM refresh_space_statistics()").fetchall()) == 2
            own.execute("DELETE FROM source_items")
            assert own.execute("SELECT count(*) FROM multimodal_items").fetchone() == (0,)
    finally:
        connection.execute("DROP OWNED BY loader")
        connection.execute("DROP ROLE loader")


def test_a_tenant_gets_full_limits_of_its_own_rows(connection: Connection, space: Space) -> None:
    """The policies are those of the documentation, read from there."""
    vectors = unit_rows(np.random.default_rng(2).normal(size=(3000, 8)))
    store(connection, space, "text", vectors, first_source_id=1)
    connection.execute(
        "UPDATE multimodal_items SET metadata = "
        "jsonb_build_object('tenant', CASE WHEN source_id %% 200 = 0 THEN 'a' ELSE 'b' END)",
        (),
    )
    (policies,) = re.findall(r"```sql\n(ALTER TABLE multimodal_items ENABLE.+?)```",
                             SECURITY.read_text(), re.S)  # fmt: skip
    connection.execute(policies.encode())
    connection.execute("ANALYZE multimodal_items")
    exact = np.argsort(-(vectors[199::200] @ vectors[0]))[:10] * 200 + 200
    with acting_as(connection, "pipeline_analyst"):
        connection.execute("SET app.tenant = 'a'")
        found = connection.execute(
            "SELECT source_id FROM search_items(embedding => %s::halfvec, modality => '{text}')",
            (str(vectors[0].tolist()),),
        ).fetchall()
        assert [row[0] for row in found] == exact.tolist()
        assert connection.execute("SELECT count(*) FROM item_catalog").fetchone() == (15,)


def test_the_views_show_what_happened(
    connection: Connection, settings: Settings, space: Space
) -> None:
    add_texts(connection, ["one", "two", "  "])
    work(settings, space)
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref, metadata) VALUES "
        """('test', 'p', 'image', 'https://example.org/p.png', '{"caption": "a p"}')"""
    )
    status = connection.execute(
        "SELECT space, modality, items, pending, running, failed, oldest_pending IS NOT NULL, "
        "per_minute FROM ingest_status ORDER BY modality"
    ).fetchall()
    assert status == [
        ("fake", "image", 0, 1, 0, 0, True, 0.0),
        ("fake", "text", 2, 0, 0, 1, False, 2.0),  # of the first minute
    ]
    failures = connection.execute(
        "SELECT space, source_key, error_code, attempts, state, content_ref FROM ingest_failures"
    ).fetchall()
    assert failures == [("fake", "3", "empty_text", 1, "failed", "  ")]
    catalog = connection.execute(
        "SELECT source_key, title, text, picture FROM item_catalog ORDER BY id"
    ).fetchall()
    assert catalog == [("1", "one", "one", None), ("2", "two", "two", None)]
    shown = connection.execute(
        "SELECT space, state, modality, items, index_is_valid, is_served FROM space_status "
        "ORDER BY modality"
    ).fetchall()
    assert shown == [
        ("fake", "active", "image", 0, True, False),
        ("fake", "active", "text", 2, True, False),
    ]
