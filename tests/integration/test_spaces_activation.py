"""Activation seen from outside: readers and a writer beside it, kills in the middle of it, views on
the table, and somebody who does not let go of a lock."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy.orm import Session

from pipeline import spaces
from pipeline.errors import SpaceError
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.engines import create_engine
from pipeline.search.select import similar_to
from pipeline.settings import Settings
from pipeline.spaces import Space, activation
from tests.helpers.fakes import FakeEmbedder, add_texts, vector_of
from tests.helpers.spaces import fill

OLD, NEW = 512, 768
ROWS = 120


@pytest.fixture
def two(settings: Settings, connection: Connection) -> tuple[Space, Space]:
    """An active space of 512 dimensions and a complete, indexed one of 768."""
    add_texts(connection, [f"text number {n}" for n in range(ROWS)])
    made = []
    for name, dimensions in (("old", OLD), ("new", NEW)):
        space = spaces.create(connection, name, FakeEmbedder(dimensions))
        fill(settings, space, FakeEmbedder(dimensions))
        spaces.build_indexes(connection, space)
        if name == "old":
            spaces.activate(connection, space)
        made.append(spaces.get_space(connection, name))
    spaces.drop(connection, spaces.get_space(connection, "fake"))
    return made[0], made[1]


def plain_sql(url: str) -> Iterator[int]:
    """The ten nearest of a stored item."""
    with connect(url, role="reader") as connection:
        while True:
            rows = connection.execute(
                """
                SELECT id FROM multimodal_items WHERE modality = 'text'
                ORDER BY embedding <=> (
                    SELECT embedding FROM multimodal_items WHERE modality = 'text' LIMIT 1)
                LIMIT 10
                """
            ).fetchall()
            yield len(rows)


def every_row(url: str) -> Iterator[int]:
    """No row missing: every source row that was there from the start has its item."""
    with connect(url, role="reader") as connection:
        while True:
            row = connection.execute(
                "SELECT count(*) FROM multimodal_items AS i JOIN source_items AS s "
                "ON s.id = i.source_id WHERE s.source = 'test'"
            ).fetchone()
            assert row is not None
            yield 10 if row[0] == ROWS else row[0]


def orm(url: str) -> Iterator[int]:
    """An application: neighbours of whatever item comes first."""
    engine = create_engine(url)
    try:
        while True:
            with Session(engine) as session:
                first = session.connection().exec_driver_sql(
                    "SELECT id FROM multimodal_items LIMIT 1"
                )
                rows = session.execute(similar_to(first.scalar_one(), modality="text").limit(10))
                yield len(rows.all())
    finally:
        engine.dispose()


def sql_function(url: str) -> Iterator[int]:
    """An analyst: a text, embedded (from the cache) inside of the SELECT."""
    with connect(url, role="reader") as connection:
        while True:
            rows = connection.execute(
                "SELECT id FROM multimodal_items WHERE modality = 'text' "
                "ORDER BY embedding <=> text_embedding('a query') LIMIT 10"
            ).fetchall()
            yield len(rows)


def remember_query(connection: Connection, space: Space) -> None:
    """As `pipeline serve` would: query vectors are kept per space."""
    vector = vector_of(b"a query", space.dimensions)
    connection.execute(
        "INSERT INTO query_embeddings (space_id, query_sha256, query, embedding, embedded_at) "
        "VALUES (%s, query_key('a query'), 'a query', %s::halfvec, now())",
        (space.id, str(vector.tolist())),
    )


class Reader(threading.Thread):
    """Reads on and on; keeps errors, short results, the longest wait and how often it read."""

    def __init__(self, reads: Iterator[int]) -> None:
        super().__init__(daemon=True)
        self.reads, self.count, self.longest = reads, 0, 0.0
        self.problems: list[str] = []
        self.ended = threading.Event()

    def run(self) -> None:
        try:
            while not self.ended.is_set():
                began = time.perf_counter()
                found = next(self.reads)
                self.longest = max(self.longest, time.perf_counter() - began)
                self.count += 1
                if found != 10:
                    self.problems.append(f"{found} rows")
        except Exception as exc:
            self.problems.append(f"{type(exc).__name__}: {exc}")

    def wait_for(self, more: int) -> None:
        """Until it has read so many times more, or failed."""
        target = self.count + more
        while self.count < target and not self.problems:
            time.sleep(0.005)


def test_readers_and_a_writer_notice_nothing_of_activations(
    url: str, settings: Settings, connection: Connection, two: tuple[Space, Space]
) -> None:
    old, new = two
    for space in two:
        remember_query(connection, space)
    readers = [Reader(reads(url)) for reads in (plain_sql, orm, sql_function, every_row)]
    stop = threading.Event()
    written: list[int] = []

    def write() -> None:
        with connect(url, role="writer") as own:
            while not stop.is_set():
                add_texts(own, ["a later text"], source=f"later {len(written)}")
                written.append(1)
                own.execute(
                    "DELETE FROM source_items WHERE source = %s", (f"later {len(written)}",)
                )
                stop.wait(0.01)

    writer = threading.Thread(target=write, daemon=True)
    for thread in (*readers, writer):
        thread.start()
    try:
        for _ in range(2):
            for reader in readers:
                reader.wait_for(3)
            spaces.activate(connection, new, min_coverage=0.1, attempts=200)
            for space, dimensions in ((old, OLD), (new, NEW)):
                fill(settings, space, FakeEmbedder(dimensions))
            for reader in readers:
                reader.wait_for(3)
            assert spaces.rollback(connection, attempts=200).id == old.id
    finally:
        stop.set()
        for reader in readers:
            reader.ended.set()
        for thread in (*readers, writer):
            thread.join(30)
    assert [problem for reader in readers for problem in reader.problems] == []
    for space, dimensions in ((old, OLD), (new, NEW)):
        fill(settings, space, FakeEmbedder(dimensions))
        assert spaces.coverage(connection, space).share == 1.0
        assert spaces.item_count(connection, space) == ROWS + len(written)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM multimodal_items WHERE modality = 'text' "
        "ORDER BY embedding <=> text_embedding('a query') LIMIT 10",
        "SELECT id FROM search_items('a query', modality => ARRAY['text'], k => 10)",
    ],
)
def test_a_query_that_waited_for_the_swap_uses_the_new_space_throughout(
    url: str, connection: Connection, two: tuple[Space, Space], query: str
) -> None:
    """Caught in the middle: its snapshot may be older than the swap it waited for."""
    for space in two:
        remember_query(connection, space)
    rows: list[Any] = []

    def read() -> None:
        try:
            with connect(url, role="late reader") as own:
                rows.append(own.execute(query).fetchall())
        except psycopg.Error as exc:
            rows.append(exc)

    reader = threading.Thread(target=read, daemon=True)
    with connection.transaction():
        connection.execute("LOCK TABLE multimodal_items IN ACCESS EXCLUSIVE MODE")
        reader.start()
        with connect(url) as other:
            wait_for_lock_waiter(other, "AccessShareLock")
        activation._swap(connection, two[1], recreate=False)
    reader.join(30)
    assert not isinstance(rows[0], psycopg.Error), rows[0]
    assert len(rows[0]) == 10


KILLER = """
import os, signal, sys
import psycopg
from pipeline import spaces
from pipeline.postgres.connections import connect

class Dying(psycopg.Connection):
    def execute(self, *args, **kwargs):
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1
        return super().execute(*args, **kwargs)

for line in sys.stdin:
    if child := os.fork():  # a process per step, without importing everything again
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    connection = connect(sys.argv[1])
    space = spaces.get_space(connection, "new")
    Dying.left = int(line)
    connection.__class__ = Dying
    spaces.activate(connection, space)
    os._exit(0)
"""


def test_a_kill_at_any_step_of_an_activation_leaves_one_space_serving(
    url: str, connection: Connection, two: tuple[Space, Space]
) -> None:
    query = (
        "SELECT count(*), min(vector_dims(embedding)), max(vector_dims(embedding)) "
        "FROM multimodal_items"
    )
    states = []
    with subprocess.Popen(
        [sys.executable, "-c", KILLER, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as killer:
        assert killer.stdin is not None
        assert killer.stdout is not None
        code, step = -9, 0
        while code == -9:
            print(step, file=killer.stdin, flush=True)
            code = int(killer.stdout.readline())
            # The killed client's transaction ends when the server notices that it is gone.
            wait_until_alone(connection)
            active = spaces.active_space(connection)
            row = connection.execute(query).fetchone()
            assert row == (ROWS, active.dimensions, active.dimensions), step
            states.append(tuple(space.state for space in spaces.list_spaces(connection)))
            step += 1
        killer.stdin.close()
    assert code == 0
    assert step > 12
    assert set(states) == {("active", "building"), ("retired", "active")}


def wait_until_alone(connection: Connection) -> None:
    """Until no other session of this database is left."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    for _ in range(1000):
        if connection.execute(query).fetchone() == (0,):
            return
        time.sleep(0.01)
    raise AssertionError("a session does not end")


VIEWS = """
CREATE ROLE {role};
CREATE VIEW near AS SELECT id, modality, embedding FROM multimodal_items;
CREATE VIEW nearer WITH (security_barrier = true) AS SELECT id, embedding FROM near WHERE id > 0;
CREATE VIEW bystander AS SELECT id, content_ref FROM multimodal_items;
COMMENT ON VIEW nearer IS 'what it is for';
GRANT SELECT ON near TO {role};
ALTER VIEW nearer OWNER TO {role};
"""


@pytest.fixture
def views(connection: Connection, two: tuple[Space, Space]) -> Iterator[str]:
    role = "viewer_" + connection.info.dbname
    connection.execute(VIEWS.format(role=role))
    yield role
    connection.execute(f"DROP VIEW IF EXISTS nearer; DROP OWNED BY {role}; DROP ROLE {role}")


def test_views_on_the_vector_are_named_and_block_until_recreated(
    connection: Connection, two: tuple[Space, Space], views: str
) -> None:
    with pytest.raises(SpaceError, match=r"public\.near, public\.nearer depend.*--recreate-views"):
        spaces.activate(connection, two[1])
    assert spaces.active_space(connection).name == "old"
    before = shape_of_views(connection)
    spaces.activate(connection, two[1], recreate=True)
    assert shape_of_views(connection) == before
    row = connection.execute("SELECT count(*), min(vector_dims(embedding)) FROM nearer").fetchone()
    assert row == (ROWS, NEW)
    spaces.rollback(connection, recreate=True)
    assert shape_of_views(connection) == before


def shape_of_views(connection: Connection) -> list[Any]:
    return connection.execute(
        """
        SELECT relname, pg_get_viewdef(oid), reloptions, pg_get_userbyid(relowner),
            obj_description(oid), (SELECT array_agg(g::text) FROM aclexplode(relacl) AS g
                                   WHERE grantee <> relowner)
        FROM pg_class WHERE relname IN ('near', 'nearer', 'bystander') ORDER BY relname
        """
    ).fetchall()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("CREATE MATERIALIZED VIEW kept AS SELECT embedding FROM multimodal_items", "materialized"),
        (
            "CREATE VIEW kept AS SELECT embedding FROM multimodal_items; "
            "CREATE RULE r AS ON INSERT TO kept DO INSTEAD NOTHING",
            "triggers, rules",
        ),
    ],
)
def test_views_that_would_lose_something_are_not_recreated(
    connection: Connection, two: tuple[Space, Space], statement: str, message: str
) -> None:
    for part in statement.split("; "):
        connection.execute(part)
    with pytest.raises(SpaceError, match=rf"public\.kept .*{message}"):
        spaces.activate(connection, two[1], recreate=True)
    assert spaces.active_space(connection).name == "old"
    connection.execute("SELECT 1 FROM kept")


def test_anything_else_that_depends_on_the_column_is_named(
    connection: Connection, two: tuple[Space, Space]
) -> None:
    connection.execute(
        "CREATE FUNCTION first_vector() RETURNS halfvec LANGUAGE sql "
        "BEGIN ATOMIC SELECT embedding FROM multimodal_items LIMIT 1; END"
    )
    with pytest.raises(SpaceError, match="first_vector"):
        spaces.activate(connection, two[1])
    assert spaces.active_space(connection).name == "old"


def test_a_long_query_is_named_and_others_are_not_kept_waiting(
    url: str, connection: Connection, two: tuple[Space, Space]
) -> None:
    with connect(url, role="long analysis") as analyst, analyst.transaction():
        analyst.execute("SELECT count(*) FROM multimodal_items")
        reader = Reader(plain_sql(url))
        reader.start()
        with pytest.raises(SpaceError, match=r"never free in 4 attempts: process \d+ \(long an"):
            spaces.activate(connection, two[1], attempts=4)
        reader.wait_for(5)
        reader.ended.set()
        reader.join(30)
        assert reader.problems == []
        assert spaces.active_space(connection).name == "old"
    # As soon as the analyst is done it goes through.
    assert spaces.activate(connection, two[1]).name == "new"


def test_a_vacuum_of_a_partition_holds_an_activation_up_only_until_it_ends(
    url: str, connection: Connection, two: tuple[Space, Space]
) -> None:
    with connect(url) as other:
        with other.transaction():
            # The lock that VACUUM and ANALYZE take.
            other.execute(f"LOCK TABLE {two[0].table_name('text')} IN SHARE UPDATE EXCLUSIVE MODE")
            thread = threading.Thread(
                target=lambda: spaces.activate(connection, two[1]), daemon=True
            )
            thread.start()
            # It waits where it stands in nobody's way.
            wait_for_lock_waiter(other)
            with connect(url) as reader:
                reader.execute("SET statement_timeout = '10s'")
                assert next(plain_sql(url)) == 10
        thread.join(30)
    assert spaces.active_space(connection).name == "new"


def wait_for_lock_waiter(connection: Connection, mode: str = "ShareUpdateExclusiveLock") -> None:
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = %s"
    for _ in range(1000):
        if connection.execute(query, (mode,)).fetchone() != (0,):
            return
        time.sleep(0.01)
    raise AssertionError("nobody waits")


def test_two_activations_at_once_end_with_one_active_space(
    url: str, connection: Connection, two: tuple[Space, Space]
) -> None:
    errors: list[Exception] = []

    def activate() -> None:
        try:
            with connect(url) as own:
                spaces.activate(own, two[1], attempts=100)
        except Exception as exc:
            errors.append(exc)

    threads = [threading.Thread(target=activate, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert spaces.active_space(connection).name == "new"
    row = connection.execute("SELECT count(*) FROM multimodal_items").fetchone()
    assert row == (ROWS,)


def test_grants_and_comments_of_the_table_outlive_an_activation(
    connection: Connection, two: tuple[Space, Space]
) -> None:
    connection.execute("GRANT SELECT ON multimodal_items TO PUBLIC")
    query = (
        "SELECT oid, relacl::text, obj_description(oid), (SELECT array_agg(col_description(oid, "
        "attnum) ORDER BY attnum) FROM pg_attribute WHERE attrelid = pg_class.oid AND attnum > 0) "
        "FROM pg_class WHERE oid = 'multimodal_items'::regclass"
    )
    before = connection.execute(query).fetchall()
    spaces.activate(connection, two[1])
    assert connection.execute(query).fetchall() == before
