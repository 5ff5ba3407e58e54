"""A compact index: over leading coordinates, whose candidates are ranked by whole vectors."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psycopg
import pytest
from psycopg import sql

from pipeline import spaces
from pipeline.doctor.index import index as index_checks
from pipeline.doctor.recall import recall as recall_checks
from pipeline.errors import ConfigurationError, SpaceError
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.database import Database
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.quality import plain_sql, tunings
from pipeline.quality.recall import measure
from pipeline.quality.upkeep import RecallUpkeep
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.spaces.index import rotation
from pipeline.spaces.index.build import IndexBuild
from pipeline.spaces.index.graph import Graph, IndexKind
from pipeline.vectors import unit_rows
from tests.helpers.command import pipeline
from tests.helpers.databases import as_login
from tests.helpers.dumps import dump, restore
from tests.helpers.fakes import FakeEmbedder
from tests.helpers.growing import FIRST_IMAGE, GRAPH, MADE, Growing, make_growing, shown
from tests.helpers.plans import plan_of
from tests.helpers.processes import wait_until
from tests.helpers.two_cones import as_stored, store

COMPACT = IndexKind("compact", 16)  # of 32
ROWS = 2_000


@pytest.fixture
def growing(connection: Connection) -> Growing:
    made = make_growing(connection)
    made.grow(ROWS)
    connection.execute("SELECT refresh_space_statistics()")
    return made


def reindex(settings: Settings, growing: Growing, kind: IndexKind = COMPACT) -> Space:
    space = growing.space
    graph = Graph(space.hnsw_m, space.hnsw_ef_construction)
    assert IndexBuild(Database.of(settings), space, rebuild=graph, kind=kind).run()
    growing.space = spaces.get_space(growing.connection, space.name)
    return growing.space


@pytest.fixture
def compact(settings: Settings, growing: Growing) -> Growing:
    reindex(settings, growing)
    return growing


def index_of(connection: Connection, space: Space, modality: str = "image") -> str:
    row = connection.execute(
        "SELECT pg_get_indexdef(to_regclass(%s))", (space.index_name(modality),)
    ).fetchone()
    assert row is not None
    return str(row[0])


def coordinates(connection: Connection, space: Space) -> np.ndarray:
    """The largest error of what is stored, against the rotation times the vector."""
    axes = np.array(
        [
            json.loads(axis)
            for (axis,) in connection.execute(
                "SELECT direction FROM space_rotations WHERE space_id = %s ORDER BY axis",
                (space.id,),
            ).fetchall()
        ]
    )
    errors = []
    for modality in space.modalities:
        for embedding, leading in connection.execute(
            sql.SQL("SELECT embedding, compact FROM {}").format(space.table(modality))
        ).fetchall():
            assert leading is not None
            values = np.array(json.loads(leading))
            errors.append(np.abs(axes[: len(values)] @ json.loads(embedding) - values).max())
    assert errors
    return np.array(errors)


def test_the_index_is_over_leading_coordinates_and_finds_as_much(compact: Growing) -> None:
    connection, space = compact.connection, compact.space
    assert (space.index_kind, space.compact_dimensions, space.compact_width) == ("compact", 16, 16)
    for modality in space.modalities:
        assert "subvector(compact, 1, 16)" in index_of(connection, space, modality)
    assert spaces.has_whole_index(connection)
    assert compact.recall() >= 0.95
    # The vectors are the model's own, and the coordinates those of the rotation.
    stored = connection.execute(
        "SELECT embedding FROM multimodal_items WHERE source_id = %s", (FIRST_IMAGE,)
    ).fetchone()
    assert stored is not None
    np.testing.assert_allclose(json.loads(stored[0]), as_stored(next(MADE.images(1)))[0], atol=1e-6)
    assert coordinates(connection, space).max() < 2e-3


def test_what_is_found_has_the_similarity_of_whole_vectors(compact: Growing) -> None:
    images = as_stored(np.concatenate(list(MADE.images(ROWS))))
    (query,) = as_stored(MADE.queries(1))
    rows = compact.connection.execute(
        "SELECT source_id, similarity FROM search_items(embedding => %s::halfvec, k => 5, "
        "modality => '{image}')",
        (shown(query),),
    ).fetchall()
    assert len(rows) == 5
    for source_id, similarity in rows:
        assert similarity == pytest.approx(float(images[source_id - FIRST_IMAGE] @ query), abs=2e-3)


def test_the_functions_use_the_index(compact: Growing) -> None:
    connection, space = compact.connection, compact.space
    name = space.index_name("image")
    connection.execute("SET enable_seqscan = off")
    connection.execute("SET enable_sort = off")
    near = plan_of(connection, "SELECT FROM near_duplicates(0.99, 'image')")
    assert f"Index Scan using {name}" in near
    connection.execute("RESET ALL")
    item = f"(SELECT id FROM multimodal_items WHERE source_id = {FIRST_IMAGE})"
    for call in (
        f"SELECT FROM search_items(like_item => {item}, modality => '{{image}}')",
        f"SELECT FROM search_items(like_item => {item})",  # calibrated
    ):
        assert f"Index Scan using {name}" in plan_of(connection, call), call


@pytest.mark.parametrize("share", [10, 100])
def test_filters_give_full_limits(compact: Growing, share: int) -> None:
    name = {10: "tenth", 100: "hundredth"}[share]
    (query,) = as_stored(MADE.queries(1))
    for k in (1, 15, 20):
        rows = compact.connection.execute(
            "SELECT metadata FROM search_items(embedding => %s::halfvec, k => %s::integer, "
            "modality => '{image}', filter => %s::jsonb)",
            (shown(query), k, json.dumps({name: True})),
        ).fetchall()
        assert len(rows) == min(k, ROWS // share)
        assert all(row[0][name] for row in rows)


def test_iterative_scans_find_what_a_filter_leaves(
    connection: Connection, compact: Growing
) -> None:
    """As in a large table, where the index is asked though there is a filter."""
    connection.execute(
        "CREATE OR REPLACE FUNCTION has_few_matches(modality text, filter jsonb, sources text[], "
        "few bigint) RETURNS boolean LANGUAGE sql RETURN false"
    )
    (query,) = as_stored(MADE.queries(1))
    rows = connection.execute(
        "SELECT source_id FROM search_items(embedding => %s::halfvec, k => 20, "
        "modality => '{image}', filter => '{\"hundredth\": true}')",
        (shown(query),),
    ).fetchall()
    assert len(rows) == 20


def test_near_duplicates_are_the_same_by_either_index(
    settings: Settings, connection: Connection, growing: Growing
) -> None:
    images = next(MADE.images(50))
    noise = np.random.default_rng(1).normal(size=images.shape) * 0.005
    store(connection, growing.space, "image", unit_rows(images + noise), first_source_id=3_000_001)
    pairs = "SELECT id, other_id FROM near_duplicates(0.99, 'image') ORDER BY 1, 2"
    by_full = connection.execute(pairs).fetchall()
    reindex(settings, growing)
    assert connection.execute(pairs).fetchall() == by_full
    assert len(by_full) >= 50


def test_whoever_writes_a_row_it_is_found(
    connection: Connection, url: str, compact: Growing
) -> None:
    """By COPY, into the parent, as a subscription does, and as a worker of before."""
    space = compact.space
    (vector,) = unit_rows(np.random.default_rng(5).normal(size=(1, 32)))
    row = ("image", "x", space.id, b"x", shown(vector))
    columns = "source_id, modality, content_ref, space_id, content_sha256, embedding"
    with connection.cursor().copy(f"COPY multimodal_items ({columns}) FROM STDIN".encode()) as copy:
        copy.write_row((1, *row))
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(
            f"INSERT INTO multimodal_items ({columns}) VALUES (2, %s, %s, %s, %s, %s)".encode(),
            row,
        )
    store(connection, space, "image", vector[None], first_source_id=3)
    found = connection.execute(
        "SELECT source_id FROM search_items(embedding => %s::halfvec, k => 3, "
        "modality => '{image}') ORDER BY 1",
        (shown(vector),),
    ).fetchall()
    assert found == [(1,), (2,), (3,)]
    # One whose vector changes goes with it, whatever is given for its coordinates.
    connection.execute(
        "UPDATE multimodal_items SET embedding = (SELECT embedding FROM multimodal_items "
        "WHERE source_id = %s), compact = '[1,2]' WHERE source_id = 2",
        (FIRST_IMAGE,),
    )
    same = connection.execute(
        "SELECT count(DISTINCT compact::text) FROM multimodal_items WHERE source_id IN (2, %s)",
        (FIRST_IMAGE,),
    ).fetchone()
    assert same == (1,)


def test_a_row_without_coordinates_is_refused(connection: Connection, compact: Growing) -> None:
    table = compact.space.table("image")
    connection.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER items_compact").format(table))
    with pytest.raises(psycopg.errors.CheckViolation, match="_compact"):
        store(connection, compact.space, "image", next(MADE.images(1)), first_source_id=5)


def test_it_is_filled_by_those_who_ingest_and_read_by_analysts(
    connection: Connection, url: str, compact: Growing
) -> None:
    with as_login(connection, url, "writer", "LOGIN IN ROLE pipeline_ingest") as writer:
        store(writer, compact.space, "image", next(MADE.images(1)), first_source_id=7)
    with as_login(connection, url, "reader", "LOGIN IN ROLE pipeline_analyst") as reader:
        rows = reader.execute(
            "SELECT FROM search_items(embedding => %s::halfvec, modality => '{image}')",
            (shown(MADE.queries(1)[0]),),
        ).fetchall()
        assert len(rows) == 10
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("DELETE FROM space_rotations")


def test_a_space_made_compact_is_so_from_its_first_build(connection: Connection) -> None:
    space = spaces.create(connection, "small", FakeEmbedder(32), index="compact", **GRAPH)
    store(connection, space, "text", np.concatenate(list(MADE.texts(300))), first_source_id=1)
    store(connection, space, "image", next(MADE.images(1_000)), first_source_id=1001)
    spaces.build_indexes(connection, space)
    space = spaces.get_space(connection, "small")
    assert space.compact_dimensions == space.compact_width is not None
    assert "compact, 1" in index_of(connection, space)
    spaces.activate(connection, space, min_coverage=0)
    assert spaces.has_whole_index(connection)
    (one,) = [
        check
        for check in index_checks(connection, spaces.active_space(connection))
        if check.name == "index image"
    ]
    assert one.ok
    assert one.found.endswith("used")


def test_with_too_few_items_it_is_full_and_said(
    settings: Settings, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    space = spaces.create(connection, "few", FakeEmbedder(32), index="compact")
    store(connection, space, "image", next(MADE.images(100)), first_source_id=1)
    spaces.build_indexes(connection, space)
    assert "too few items yet" in caplog.text
    space = spaces.get_space(connection, "few")
    assert (space.index_kind, space.compact_dimensions) == ("compact", None)
    assert "compact, 1" not in index_of(connection, space)
    spaces.activate(connection, space, min_coverage=0)
    kind = next(iter(index_checks(connection, spaces.active_space(connection))))
    assert kind.fix == "pipeline space reindex few --index compact"
    with pytest.raises(SpaceError, match="fewer than 1,000 items"):
        IndexBuild(
            Database.of(settings), space, rebuild=Graph(8, 24), kind=IndexKind("compact")
        ).run()


def test_it_becomes_full_wider_and_compact_again(
    settings: Settings, connection: Connection, compact: Growing
) -> None:
    rotations = "SELECT * FROM space_rotations ORDER BY 1, 2"
    before = connection.execute(rotations).fetchall()
    space = reindex(settings, compact, IndexKind("full"))
    assert (space.index_kind, space.compact_dimensions) == ("full", None)
    assert "compact, 1" not in index_of(connection, space)
    assert compact.recall() >= 0.95
    store(connection, space, "image", next(MADE.images(1)), first_source_id=9)
    space = reindex(settings, compact, IndexKind("compact", 24))
    assert (space.compact_dimensions, space.compact_width) == (24, 24)
    assert coordinates(connection, space).max() < 2e-3
    space = reindex(settings, compact, IndexKind("compact", 8))
    assert (space.compact_dimensions, space.compact_width) == (8, 24)
    assert "compact, 1, 8" in index_of(connection, space)
    assert connection.execute(rotations).fetchall() == before
    with pytest.raises(ConfigurationError, match="1 to 32 dimensions, not 33"):
        reindex(settings, compact, IndexKind("compact", 33))


def test_a_killed_reindex_goes_on(
    settings: Settings, connection: Connection, growing: Growing
) -> None:
    """Rows that have their coordinates are not written again."""
    reindex(settings, growing)
    table = growing.space.table("image")
    versions = sql.SQL("SELECT id, xmin::text FROM {} ORDER BY id").format(table)
    before = connection.execute(versions).fetchall()
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(
            sql.SQL("ALTER TABLE {0} DROP CONSTRAINT {1}, DISABLE TRIGGER ALL").format(
                table, sql.Identifier(f"{growing.space.table_name('image')}_compact")
            )
        )
        connection.execute(
            sql.SQL("UPDATE {} SET compact = NULL WHERE id = %s").format(table), before[0][:1]
        )
        connection.execute(
            sql.SQL(
                "ALTER TABLE {0} ENABLE ALWAYS TRIGGER items_compact, "
                "ADD CONSTRAINT {1} CHECK (compact IS NOT NULL) NOT VALID"
            ).format(table, sql.Identifier(f"{growing.space.table_name('image')}_compact"))
        )
    reindex(settings, growing, IndexKind("compact", 12))
    after = connection.execute(versions).fetchall()
    assert after[1:] == before[1:]
    assert coordinates(connection, growing.space).max() < 2e-3


def test_who_holds_a_row_is_not_waited_for(
    url: str, settings: Settings, connection: Connection, growing: Growing
) -> None:
    """Nor does it lose its transaction: the others are done first, that one when it is free."""
    reindex(settings, growing, IndexKind("compact", 8))
    build = IndexBuild(
        Database.of(settings), growing.space, rebuild=Graph(8, 24), kind=IndexKind("compact", 12)
    )
    thread = threading.Thread(target=build.run)
    left = sql.SQL("SELECT count(*) FROM {} WHERE vector_dims(compact) < 12").format(
        growing.space.table("image")
    )
    of_row = "WHERE source_id = %s"
    with connect(url) as other, other.transaction():
        other.execute(f"SELECT FROM multimodal_items {of_row} FOR UPDATE".encode(), (FIRST_IMAGE,))
        thread.start()
        wait_until(lambda: connection.execute(left).fetchone() == (1,), "all but one")
        other.execute(
            f"UPDATE multimodal_items SET metadata = '{{}}' {of_row}".encode(), (FIRST_IMAGE,)
        )
    thread.join(60)
    assert spaces.active_space(connection).compact_dimensions == 12
    assert connection.execute(left).fetchone() == (0,)


def test_recall_is_measured_by_the_path_that_is_searched(
    settings: Settings, connection: Connection, compact: Growing
) -> None:
    space = compact.space
    assert RecallUpkeep(Database.of(settings), space).run()
    (pair,) = [
        one
        for one in tunings.stored(connection, space)
        if (one.query_modality, one.item_modality) == ("text", "image")
    ]
    assert pair.is_reached
    assert plain_sql.wanted(space) == plain_sql.LEAST
    # Of coordinates that say nothing it is bad.
    (good,) = [
        r
        for r in measure(connection, space)
        if (r.query_modality, r.item_modality) == ("text", "image")
    ]
    connection.execute(
        "UPDATE space_rotations SET direction = (SELECT direction FROM space_rotations AS o "
        "WHERE o.axis = 33 - space_rotations.axis AND o.space_id = space_rotations.space_id) "
        "WHERE space_id = %s",
        (space.id,),
    )
    (bad,) = [
        r
        for r in measure(connection, space)
        if (r.query_modality, r.item_modality) == ("text", "image")
    ]
    assert good.recall >= 0.95 > 0.6 > bad.recall


def test_below_its_target_more_dimensions_are_advised(
    connection: Connection, compact: Growing
) -> None:
    connection.execute(
        "INSERT INTO space_tunings (space_id, query_modality, item_modality, ef_search, "
        "target_recall, recall, milliseconds) VALUES (%s, 'text', 'image', 1000, 0.95, 0.8, 1)",
        (compact.space.id,),
    )
    fixes = [check.fix for check in recall_checks(connection, compact.space) if not check.ok]
    assert fixes == [
        "pipeline space reindex grows --index full --m 16 --ef-construction 64",
    ]
    narrow = compact.space.with_index("compact", 8)
    (check,) = [check for check in recall_checks(connection, narrow) if not check.ok]
    assert "--index compact --dimensions 16 --m 16" in check.fix


def test_the_statement_of_the_documents_is_served_by_the_index(compact: Growing) -> None:
    connection = compact.connection
    connection.execute("SET enable_seqscan = off")
    statement = (
        "SELECT id FROM (SELECT * FROM multimodal_items WHERE modality = 'image' ORDER BY "
        "subvector(compact, 1, 16)::halfvec(16) <=> (SELECT compact_embedding(%s::halfvec)) "
        "LIMIT 400) AS candidates ORDER BY embedding <=> %s::halfvec LIMIT 10"
    )
    vector = shown(MADE.queries(1)[0])
    plan = connection.execute(b"EXPLAIN " + statement.encode(), (vector, vector)).fetchall()
    assert any(compact.space.index_name("image") in line for (line,) in plan)
    assert len(connection.execute(statement.encode(), (vector, vector)).fetchall()) == 10


def test_by_the_command(connection: Connection, url: str, tmp_path: Path, growing: Growing) -> None:
    done = pipeline(tmp_path, *["space", "reindex", "--index", "compact"], DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    space = spaces.active_space(connection)
    assert space.compact_dimensions is not None
    assert f"compact ({space.compact_dimensions} of 32 dimensions) indexes" in done.stdout
    done = pipeline(tmp_path, *["space", "show", "grows"], DATABASE_URL=url)
    assert f"compact ({space.compact_dimensions} of 32 dimensions)" in done.stdout
    done = pipeline(tmp_path, *["space", "reindex", "--index", "half"], DATABASE_URL=url)
    assert done.returncode == 2
    assert "full or compact is expected, not 'half'" in done.stderr
    done = pipeline(tmp_path, *["space", "reindex", "--dimensions", "8"], DATABASE_URL=url)
    assert done.returncode == 2
    assert "--dimensions" in done.stderr


def test_the_axes_are_those_of_both_cones() -> None:
    texts, images = next(MADE.texts(2000)), next(MADE.images(2000))
    axes = rotation.fit([texts, images])
    np.testing.assert_allclose(axes @ axes.T, np.eye(32), atol=1e-5)
    for rows in (texts, images):  # the means lie in the first two
        mean = rows.mean(axis=0)
        assert np.linalg.norm(axes[:2] @ mean) > 0.99 * np.linalg.norm(mean)
    by_images = rotation.share([texts, images], rotation.fit([images]), 8)
    assert rotation.share([texts, images], axes, 8) > by_images
    assert rotation.width_for([texts, images], axes) <= 16


def test_it_outlives_an_upgrade_and_goes_with_a_downgrade(url: str, compact: Growing) -> None:
    connection = compact.connection
    connection.execute("UPDATE installed_sql SET sha256 = 'of an older release'")
    migrate.upgrade(url)
    store(connection, compact.space, "image", next(MADE.images(1)), first_source_id=11)
    assert coordinates(connection, compact.space).max() < 2e-3
    migrate.downgrade(url, "pipeline_0013_recall")
    columns = connection.execute(
        "SELECT count(*) FROM pg_attribute WHERE attname = 'compact' AND NOT attisdropped"
    ).fetchone()
    assert columns == (0,)
    migrate.upgrade(url)
    space = spaces.active_space(connection)
    assert (space.index_kind, space.compact_dimensions) == ("full", None)
    spaces.build_indexes(connection, space)
    compact.space = space
    assert compact.recall(20) >= 0.95


def test_it_is_left_and_rolled_back_to(connection: Connection, compact: Growing) -> None:
    """Beside spaces that are not compact."""
    other = next(s for s in spaces.list_spaces(connection) if s.name != compact.space.name)
    spaces.activate(connection, other, min_coverage=0)
    assert spaces.has_whole_index(connection)
    assert spaces.rollback(connection).name == compact.space.name
    assert spaces.has_whole_index(connection)
    assert compact.recall(20) >= 0.95


def test_it_is_dumped_and_restored(
    server: EmbeddedServer,
    url: str,
    new_database: Callable[..., str],
    tmp_path: Path,
    compact: Growing,
) -> None:
    dump(server, url, tmp_path / "dump")
    elsewhere = new_database()
    restore(server, tmp_path / "dump", elsewhere)
    with connect(elsewhere) as connection:
        store(connection, compact.space, "image", next(MADE.images(1)), first_source_id=13)
        assert coordinates(connection, compact.space).max() < 2e-3
        there = Growing(connection, spaces.active_space(connection), compact.count)
        assert there.recall(20) >= 0.95
