"""`pipeline space reindex`: another graph is built beside the one that serves, then takes over."""

import json
import threading
from pathlib import Path

import pytest

from pipeline import spaces
from pipeline.doctor.check import Check
from pipeline.doctor.recall import recall as recall_checks
from pipeline.errors import ConfigurationError, DatabaseError, SpaceError
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.database import Database
from pipeline.quality import tunings
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.spaces.index.build import IndexBuild
from pipeline.spaces.index.graph import DENSER, Graph
from pipeline.spaces.index.rebuild import new_name, unfinished
from tests.helpers.command import pipeline
from tests.helpers.fakes import FakeEmbedder
from tests.helpers.growing import Growing, make_growing
from tests.helpers.processes import wait_until

GRAPH = Graph(12, 40)


@pytest.fixture
def growing(connection: Connection) -> Growing:
    made = make_growing(connection)
    made.grow(1_000)
    connection.execute("SELECT refresh_space_statistics()")
    return made


def rebuild(settings: Settings, space: Space, graph: Graph = GRAPH) -> IndexBuild:
    return IndexBuild(Database.of(settings), space, rebuild=graph)


def options(connection: Connection, space: Space, modality: str) -> tuple[bool, str]:
    """Whether the index is attached to that of the whole table, and its graph."""
    row = connection.execute(
        "SELECT relispartition, reloptions::text FROM pg_class WHERE oid = to_regclass(%s)",
        (space.index_name(modality),),
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def graphs(connection: Connection) -> list[tuple[str, int]]:
    """Every HNSW index of the database, with its file."""
    return connection.execute(
        "SELECT c.relname, c.relfilenode FROM pg_class AS c JOIN pg_am AS a ON a.oid = c.relam "
        "WHERE a.amname = 'hnsw' ORDER BY 1"
    ).fetchall()


def test_the_new_graph_takes_the_place_of_the_old_one(
    settings: Settings, connection: Connection, growing: Growing
) -> None:
    before = graphs(connection)
    assert rebuild(settings, growing.space).run()
    after = graphs(connection)
    assert [name for name, _ in after] == [name for name, _ in before]
    kept = set(before) & set(after)
    assert {name for name, file in kept if file} == {
        "multimodal_items_text_s1_embedding",  # of the other space
        "multimodal_items_image_s1_embedding",
    }
    space = spaces.active_space(connection)
    assert (space.hnsw_m, space.hnsw_ef_construction) == (12, 40)
    for modality in space.modalities:
        assert options(connection, space, modality) == (True, "{m=12,ef_construction=40}")
    assert spaces.has_whole_index(connection)
    assert growing.recall() > 0.95


def test_who_reads_and_writes_meanwhile_notices_nothing(
    url: str, settings: Settings, connection: Connection, growing: Growing
) -> None:
    ended = threading.Event()
    problems: list[str] = []
    turns = [0, 0]

    def read() -> None:
        with connect(url) as own:
            while not ended.is_set():
                rows = own.execute(
                    "SELECT FROM search_items(like_item => (SELECT min(id) FROM multimodal_items), "
                    "modality => '{image}')"
                ).fetchall()
                turns[0] += 1
                if len(rows) != 10:
                    problems.append(f"{len(rows)} rows")

    def write() -> None:
        with connect(url) as own:
            while not ended.is_set():
                own.execute(
                    "UPDATE multimodal_items SET embedding = embedding WHERE modality = 'image' "
                    "AND id %% 7 = %s",
                    (turns[1] % 7,),
                )
                turns[1] += 1

    def guarded(work: "object") -> None:
        try:
            work()  # type: ignore[operator]
        except Exception as exc:
            problems.append(str(exc))

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (read, write)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: min(turns) > 2, "both to be at work")
        assert rebuild(settings, growing.space).run()
        then = list(turns)
        wait_until(lambda: turns[0] > then[0] + 2 and turns[1] > then[1] + 2, "both to go on")
    finally:
        ended.set()
        for thread in threads:
            thread.join(60)
    assert problems == []
    assert growing.recall() > 0.95


@pytest.mark.parametrize("writer_ends", [True, False])
def test_stopped_it_leaves_the_old_graph(
    url: str, settings: Settings, connection: Connection, growing: Growing, writer_ends: bool
) -> None:
    before = graphs(connection)
    build = rebuild(settings, growing.space)
    thread = threading.Thread(target=build.run)
    with connect(url) as writer, writer.transaction():
        writer.execute("UPDATE multimodal_items SET embedding = embedding WHERE modality = 'text'")
        # The build of an index waits for who writes, and is stopped meanwhile.
        thread.start()
        wait_until(lambda: bool(unfinished(connection, growing.space)), "the build to begin")
        build.stop()
        if writer_ends:
            wait_until(lambda: is_running(connection, "DROP INDEX"), "it to clean up")
        else:
            thread.join(60)
            assert not thread.is_alive()  # it waits for nobody
            assert list(unfinished(connection, growing.space).values()) == [False]
    thread.join(60)
    if writer_ends:
        assert graphs(connection) == before
    assert set(before) <= set(graphs(connection))
    assert spaces.active_space(connection).hnsw_m == growing.space.hnsw_m


def is_running(connection: Connection, statement: str) -> bool:
    row = connection.execute(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE %s AND state = 'active' "
        "AND datname = current_database()",
        (f"{statement}%",),
    ).fetchone()
    return bool(row and row[0])


def test_what_a_killed_run_left_is_named_by_the_doctor_and_replaced_by_the_next(
    url: str, settings: Settings, connection: Connection, growing: Growing
) -> None:
    errors: list[Exception] = []

    def run() -> None:
        try:
            rebuild(settings, growing.space).run()
        except DatabaseError as exc:
            errors.append(exc)

    with connect(url) as writer, writer.transaction():
        writer.execute("UPDATE multimodal_items SET embedding = embedding WHERE modality = 'text'")
        thread = threading.Thread(target=run)
        thread.start()
        wait_until(lambda: bool(unfinished(connection, growing.space)), "the build to begin")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND datname = current_database()"
        )
        thread.join(60)
    assert "pipeline space reindex grows" in str(errors[0])
    name = new_name(growing.space, "text")
    assert unfinished(connection, growing.space) == {name: False}
    (check,) = (c for c in recall_checks(connection, growing.space) if c.name == f"index {name}")
    assert (check.ok, check.found[:4]) == (False, "half")
    assert f"DROP INDEX CONCURRENTLY {name}" in check.fix
    assert rebuild(settings, growing.space).run()
    assert unfinished(connection, growing.space) == {}


def test_where_the_table_is_never_free_the_next_run_goes_on(
    url: str,
    settings: Settings,
    connection: Connection,
    growing: Growing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.postgres.patience.ATTEMPTS", 2)
    with connect(url) as reader, reader.transaction():
        # Not of CREATE INDEX CONCURRENTLY's concern: the parent alone.
        reader.execute("LOCK TABLE ONLY multimodal_items IN ACCESS SHARE MODE")
        with pytest.raises(SpaceError, match="goes on from here"):
            rebuild(settings, growing.space).run()
    left = unfinished(connection, growing.space)
    assert list(left.values()) == [True, True]
    files = {file for name, file in graphs(connection) if name in left}
    assert rebuild(settings, growing.space).run()
    assert files <= {file for _, file in graphs(connection)}
    assert unfinished(connection, growing.space) == {}


def test_one_of_another_graph_that_was_left_is_not_taken(
    settings: Settings, connection: Connection, growing: Growing
) -> None:
    name, table = new_name(growing.space, "text"), growing.space.table_name("text")
    connection.execute(
        f"CREATE INDEX {name} ON {table} USING hnsw (embedding halfvec_cosine_ops)".encode()
    )
    assert rebuild(settings, growing.space).run()
    assert options(connection, growing.space, "text") == (True, "{m=12,ef_construction=40}")


def test_a_space_that_is_not_active_is_rebuilt_too(
    settings: Settings, connection: Connection, growing: Growing
) -> None:
    second = spaces.create(connection, "second", FakeEmbedder(12))
    spaces.build_indexes(connection, second)
    before = graphs(connection)
    assert rebuild(settings, second).run()
    assert options(connection, second, "text") == (False, "{m=12,ef_construction=40}")
    assert len(graphs(connection)) == len(before)
    assert spaces.get_space(connection, "second").hnsw_m == 12
    spaces.activate(connection, spaces.get_space(connection, "second"), min_coverage=0)
    assert spaces.has_whole_index(connection)


def test_the_command_measures_what_it_built(
    url: str, tmp_path: Path, connection: Connection, growing: Growing
) -> None:
    done = pipeline(tmp_path, "space", "reindex", "--m", "24", "--json", DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["space"], said["m"], said["ef_construction"]) == ("grows", 24, 48)
    assert not said["stopped"]
    assert len(tunings.stored(connection, growing.space)) == 2
    wrong = pipeline(
        tmp_path, "space", "reindex", "--m", "24", "--ef-construction", "40", DATABASE_URL=url
    )
    assert "from 48 (twice m)" in wrong.stderr


def test_a_graph_is_one_that_pgvector_builds() -> None:
    for m, ef_construction in ((1, 64), (101, 400), (16, 31), (16, 1001)):
        with pytest.raises(ConfigurationError):
            Graph(m, ef_construction)
    assert Graph(*DENSER[0]).denser() == Graph(*DENSER[1])
    assert Graph(16, 200).denser() == Graph(24, 200)
    assert Graph(100, 1000).denser() is None


def check_of(connection: Connection, space: Space) -> Check:
    (check,) = (c for c in recall_checks(connection, space) if c.name == "recall image")
    return check


def tuning(connection: Connection, space: Space, ef_search: int, recall: float) -> None:
    connection.execute(
        "INSERT INTO space_tunings (space_id, query_modality, item_modality, ef_search, "
        "target_recall, recall, milliseconds) VALUES (%s, 'text', 'image', %s, 0.95, %s, 1), "
        "(%s, 'image', 'image', 40, 0.95, 0.99, 1) ON CONFLICT (space_id, query_modality, "
        "item_modality) DO UPDATE SET ef_search = excluded.ef_search, recall = excluded.recall",
        (space.id, ef_search, recall, space.id),
    )


def test_the_doctor_names_the_graph_that_a_space_has_outgrown(
    connection: Connection, space: Space
) -> None:
    assert check_of(connection, space).found == "not measured yet; it is from 1,000 items on"
    tuning(connection, space, 200, 0.96)
    assert check_of(connection, space) == Check(
        "recall image", True, "text -> image 0.960 with ef_search 200"
    )
    graph = Graph(space.hnsw_m, space.hnsw_ef_construction).denser()
    assert graph is not None
    denser = f"pipeline space reindex fake --m {graph.m} --ef-construction {graph.ef_construction}"
    tuning(connection, space, 600, 0.96)
    check = check_of(connection, space)
    assert (check.ok, check.fix) == (True, denser)
    tuning(connection, space, 1000, 0.91)
    check = check_of(connection, space)
    assert (check.ok, check.fix) == (False, denser)
    assert check.found.endswith("0.910 with ef_search 1000, below its target 0.95")
    connection.execute("UPDATE embedding_spaces SET hnsw_m = 100, hnsw_ef_construction = 1000")
    assert "no denser graph helps" in check_of(connection, spaces.active_space(connection)).fix
