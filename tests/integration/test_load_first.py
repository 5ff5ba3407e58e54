"""A large backlog for an empty active space: loaded first, indexed after, come what may."""

import threading
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from pipeline import spaces
from pipeline.embedders.openclip.embedder import MultimodalEmbedder
from pipeline.errors import DatabaseError
from pipeline.ingest import load_first
from pipeline.ingest.report import IngestReport
from pipeline.ingest.run import IngestListener, ingest
from pipeline.ingest.worker import Worker
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.database import Database
from pipeline.settings import Settings
from pipeline.spaces import Space, probes
from pipeline.spaces.index.build import IndexBuild
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.processes import wait_until
from tests.helpers.spaces import fill, second_space

ROWS = 60
NEAREST = """
SELECT id FROM multimodal_items WHERE modality = 'text'
ORDER BY embedding <=> (SELECT embedding FROM multimodal_items ORDER BY id LIMIT 1) LIMIT 10
"""


@pytest.fixture(scope="module")
def model() -> MultimodalEmbedder:
    return MultimodalEmbedder("demo")


@pytest.fixture
def demo(connection: Connection, model: MultimodalEmbedder) -> Space:
    """An empty active space of a real model, which ``ingest`` can load."""
    space = spaces.create(connection, "demo", model)
    probes.store(connection, space, model)
    return spaces.activate(connection, space, min_coverage=0)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"load_first_rows": ROWS})


def texts(connection: Connection, count: int) -> None:
    add_texts(connection, [f"text number {n}" for n in range(count)])


def is_served_by_hnsw(connection: Connection, space: Space) -> bool:
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL enable_seqscan = off")
        connection.execute("SET LOCAL enable_sort = off")
        plan = connection.execute("EXPLAIN " + NEAREST).fetchall()
    return any(space.index_name("text") in line for (line,) in plan)


class Heard:
    """What a run told, and whether the space had its index at every write."""

    def __init__(self, connection: Connection, stop_indexing: bool = False) -> None:
        self.loading_first: list[int] = []
        self.had_index: list[bool] = []
        self.indexing: list[IndexBuild] = []
        self._connection = connection
        self._stop_indexing = stop_indexing

    def listener(self) -> IngestListener:
        return IngestListener(
            progress=self._progress,
            loading_first=self.loading_first.append,
            indexing=self._indexing,
        )

    def _progress(self, report: IngestReport) -> None:
        self.had_index.append(spaces.has_whole_index(self._connection))

    def _indexing(self, indexing: IndexBuild) -> None:
        self.indexing.append(indexing)
        if self._stop_indexing:
            indexing.stop()


def test_a_backlog_for_an_empty_space_is_loaded_first_and_indexed_after(
    url: str, settings: Settings, connection: Connection, demo: Space
) -> None:
    texts(connection, ROWS)
    heard, ended, problems = Heard(connection), threading.Event(), list[str]()

    def search() -> None:
        with connect(url) as reader:
            while not ended.is_set():
                try:
                    total = reader.execute("SELECT count(*) FROM multimodal_items").fetchone()
                    found = len(reader.execute(NEAREST).fetchall())
                    if total is None or found < min(10, total[0]):
                        problems.append(f"{found} rows of {total}")
                except Exception as exc:
                    problems.append(str(exc))

    reader = threading.Thread(target=search)
    reader.start()
    report = ingest(settings, listener=heard.listener())
    ended.set()
    reader.join()
    assert (report.done, heard.loading_first, len(heard.indexing)) == (ROWS, [ROWS], 1)
    assert set(heard.had_index) == {False}
    assert report.seconds_indexing > 0
    assert problems == []
    assert spaces.has_whole_index(connection)
    assert spaces.missing_indexes(connection, demo) == []
    assert is_served_by_hnsw(connection, demo)
    # The indexes are partitions of the table's own again: a space can be swapped as ever.
    fake = spaces.get_space(connection, "fake")
    fill(settings, fake, FakeEmbedder())
    spaces.activate(connection, fake)
    assert spaces.activate(connection, demo).state == "active"
    assert spaces.has_whole_index(connection)
    assert ingest(settings, listener=heard.listener()).seconds_indexing == 0


@pytest.mark.parametrize("threshold", [ROWS + 1, 0])
def test_a_small_backlog_goes_into_the_live_index(
    settings: Settings, connection: Connection, demo: Space, threshold: int
) -> None:
    texts(connection, ROWS)
    heard = Heard(connection)
    settings = settings.model_copy(update={"load_first_rows": threshold})
    assert ingest(settings, listener=heard.listener()).done == ROWS
    assert (heard.loading_first, heard.indexing, set(heard.had_index)) == ([], [], {True})


def test_a_space_with_items_keeps_its_index(
    settings: Settings, connection: Connection, space: Space
) -> None:
    texts(connection, 1)
    fill(settings, space, FakeEmbedder())
    assert not load_first.take_off_index(connection, space, ROWS, ROWS)
    assert not spaces.take_off_indexes(connection, space)
    assert spaces.has_whole_index(connection)


def test_a_space_that_is_not_searched_has_nothing_to_take_off(
    settings: Settings, connection: Connection, space: Space
) -> None:
    second = second_space(connection)
    assert not load_first.take_off_index(connection, second, ROWS, ROWS)
    assert not spaces.take_off_indexes(connection, second)
    assert spaces.has_whole_index(connection)


def test_what_a_killed_run_left_without_index_is_indexed_by_the_next_without_a_model(
    settings: Settings, connection: Connection, space: Space
) -> None:
    texts(connection, ROWS)
    assert load_first.take_off_index(connection, space, ROWS, ROWS)
    fill(settings, space, FakeEmbedder())  # and was killed here; 'fake' is no model to load
    assert load_first.lacks_index(connection, space)
    heard = Heard(connection)
    report = ingest(settings, listener=heard.listener())
    assert (report.done, len(heard.indexing)) == (0, 1)
    assert spaces.has_whole_index(connection)
    assert is_served_by_hnsw(connection, space)


def test_a_build_that_is_stopped_is_made_up_for_by_the_next_run(
    settings: Settings, connection: Connection, demo: Space
) -> None:
    texts(connection, ROWS)
    ingest(settings, listener=Heard(connection, stop_indexing=True).listener())
    assert not spaces.has_whole_index(connection)
    assert ingest(settings).seconds_indexing > 0
    assert spaces.has_whole_index(connection)


def test_of_limited_runs_the_last_builds(
    settings: Settings, connection: Connection, demo: Space
) -> None:
    texts(connection, 2 * ROWS + 10)
    built = [bool(ingest(settings, limit=ROWS).seconds_indexing) for _ in range(3)]
    assert built == [False, True, False]  # 70 are left after the first, 10 after the second
    assert spaces.has_whole_index(connection)


def test_a_run_that_watches_indexes_when_the_backlog_is_through_and_goes_on(
    settings: Settings,
    connection: Connection,
    demo: Space,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load_first, "LOOK_SECONDS", 0.2)
    texts(connection, ROWS)
    workers: list[Worker] = []
    listener = IngestListener(starting=lambda worker, _: workers.append(worker))
    reports: list[IngestReport] = []
    thread = threading.Thread(
        target=lambda: reports.append(ingest(settings, once=False, listener=listener))
    )
    thread.start()
    wait_until(lambda: workers and workers[0].report.done == ROWS, "the backlog")
    wait_until(lambda: spaces.has_whole_index(connection), "the index")
    add_texts(connection, ["one more"], source="late")
    wait_until(lambda: workers[0].report.done == ROWS + 1, "the late row")
    workers[0].stop()
    thread.join(60)
    assert reports[0].done == ROWS + 1


def test_beside_a_worker_a_build_that_fails_is_tried_again(
    settings: Settings, connection: Connection, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_first, "LOOK_SECONDS", 0.05)
    assert spaces.take_off_indexes(connection, space)
    tries: list[int] = []

    def build() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise DatabaseError("no space left on device")
        IndexBuild(Database.of(settings), space).run()

    with load_first.index_beside(Database.of(settings), space, ROWS, build):
        wait_until(lambda: spaces.has_whole_index(connection), "the second build")
    assert len(tries) == 2


def test_a_role_that_does_not_own_the_tables_leaves_the_index(
    url: str, settings: Settings, connection: Connection, space: Space
) -> None:
    texts(connection, ROWS)
    connection.execute("DROP ROLE IF EXISTS loader")
    connection.execute("CREATE ROLE loader LOGIN IN ROLE pipeline_ingest")
    try:
        with connect(url.replace("user=postgres", "user=loader")) as own:
            assert own.info.user == "loader"
            assert not load_first.take_off_index(own, space, ROWS, ROWS)
        assert spaces.has_whole_index(connection)
    finally:
        connection.execute("DROP ROLE loader")


def test_the_index_is_refused_in_one_line(
    settings: Settings, connection: Connection, space: Space
) -> None:
    assert settings.database_url is not None
    texts(connection, ROWS)
    assert load_first.take_off_index(connection, space, ROWS, ROWS)
    fill(settings, space, FakeEmbedder())
    url = settings.database_url.get_secret_value()
    read_only = f"{url}&options={quote('-c default_transaction_read_only=on')}"
    refusing = settings.model_copy(update={"database_url": SecretStr(read_only)})
    with pytest.raises(Exception, match=r"could not be built .*--no-embed fake") as caught:
        IndexBuild(Database.of(refusing), space).run()
    assert "\n" not in str(caught.value)
