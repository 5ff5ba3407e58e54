"""The worker through PgBouncer in transaction mode, where no session outlives its transaction."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from pipeline import spaces
from pipeline.errors import DatabaseError
from pipeline.ingest import load_first
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.processes import wait_until
from tests.helpers.workers import assert_embedded_once, make_worker, running, work
from tests.reliability.test_poison import refuse
from tests.reliability.test_their_transactions import Gate, change, states
from tests.reliability.test_transactions import deadlocks

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = pytest.mark.skipif(
    PGBOUNCER is None, reason="pgbouncer is not installed (Debian: apt install pgbouncer)"
)

CONFIG = """\
[databases]
* = host={socket} port=5432 user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = 3
logfile = {folder}/log
"""


@pytest.fixture(scope="module")
def bouncer(server: EmbeddedServer) -> Iterator[int]:
    """Its port. It runs as the server's user, whom the server lets in, and which is not root."""
    assert PGBOUNCER is not None
    data = server.status().data
    owner = pwd.getpwuid(data.stat().st_uid)
    folder = Path(tempfile.mkdtemp(prefix="pipeline-bouncer-"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = CONFIG.format(socket=server.status().socket, port=port, folder=folder)
    (folder / "pgbouncer.ini").write_text(config)
    (folder / "users.txt").write_text('"postgres" ""\n')
    as_owner = {}
    if os.geteuid() == 0:
        shutil.chown(folder, owner.pw_uid, owner.pw_gid)
        as_owner = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    process = subprocess.Popen(
        [PGBOUNCER, "-q", str(folder / "pgbouncer.ini")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        **as_owner,  # type: ignore[call-overload]
    )

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(answers, "pgbouncer")
    yield port
    process.terminate()
    process.wait()
    shutil.rmtree(folder)


@pytest.fixture
def settings(settings: Settings, bouncer: int, connection: Connection) -> Settings:
    """The same database, by way of the bouncer."""
    url = f"postgresql://postgres@127.0.0.1:{bouncer}/{connection.info.dbname}"
    return settings.model_copy(update={"database_url": SecretStr(url)})


def test_it_is_in_transaction_mode(settings: Settings) -> None:
    """Else the other tests here would prove nothing: sessions share the backends."""
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    with connect(url) as one, connect(url) as other:
        query = "SELECT pg_backend_pid()"
        assert one.execute(query).fetchone() == other.execute(query).fetchone()


def test_rows_are_embedded_once(settings: Settings, space: Space, connection: Connection) -> None:
    texts = [f"text number {n}" for n in range(300)]
    add_texts(connection, texts)
    assert work(settings, space).done == 300
    assert_embedded_once(connection, texts)


def test_a_poisonous_row_fails_alone(
    settings: Settings, space: Space, connection: Connection
) -> None:
    good = [f"good {n}" for n in range(63)]
    add_texts(connection, [*good, "poison"])
    report = work(settings, space, FakeEmbedder(before=refuse), limit=64)
    assert (report.done, report.failed, report.retrying) == (63, 0, 1)


def test_two_workers_that_watch_share_the_rows_and_see_changes(
    settings: Settings, space: Space, connection: Connection
) -> None:
    texts = [f"text number {n}" for n in range(200)]
    workers = [make_worker(settings, space, once=False) for _ in range(2)]
    with running(workers[0]), running(workers[1]):
        add_texts(connection, texts)
        wait_until(lambda: sum(w.report.done for w in workers) == 200, "the rows")
        connection.execute("UPDATE source_items SET content_ref = content_ref || '!'")
        wait_until(lambda: sum(w.report.done for w in workers) == 400, "the changed rows")
    assert_embedded_once(connection, [f"{text}!" for text in texts])


def test_terminated_backends_cost_no_row(
    settings: Settings, space: Space, connection: Connection
) -> None:
    texts = [f"text number {n}" for n in range(100)]
    add_texts(connection, texts)

    def terminate(_: object) -> None:
        connection.execute(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()
            """
        )

    settings = settings.model_copy(update={"claim_size": 16})
    work(settings, space, FakeEmbedder(before=terminate))
    assert_embedded_once(connection, texts)


def test_a_backlog_keeps_its_live_index(
    settings: Settings, space: Space, connection: Connection
) -> None:
    """Building one after the load takes locks and settings of a session, shared here."""
    assert settings.database_url is not None
    with connect(settings.database_url.get_secret_value()) as bounced:
        assert not load_first.take_off_index(bounced, space, due=1, first_rows=1)
    assert spaces.has_whole_index(connection)
    # Directly, it would be.
    assert load_first.take_off_index(connection, space, due=1, first_rows=1)
    spaces.build_indexes(connection, space)
    assert spaces.has_whole_index(connection)


def test_a_bouncer_without_its_server_is_an_outage(
    settings: Settings, connection: Connection
) -> None:
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    with pytest.raises(DatabaseError):
        connect(url.replace(connection.info.dbname, "no_such_database"))


def test_an_application_that_goes_the_other_way_never_loses(
    settings: Settings, space: Space, connection: Connection
) -> None:
    """Its transaction by way of the same bouncer, as are the worker's statements."""
    assert settings.database_url is not None
    add_texts(connection, ["one", "two"])
    gate, before = Gate(), deadlocks(connection)
    bounced = settings.database_url.get_secret_value()
    with (
        contextlib.closing(connect(bounced, autocommit=False)) as application,
        running(make_worker(settings, space, gate.embedder, once=False)),
    ):
        assert gate.reached.wait(60)
        change(application, "two")
        gate.open.set()
        time.sleep(1.5)
        change(application, "one")
        application.commit()
        wait_until(lambda: states(connection) == [], "the rows")
    assert_embedded_once(connection, ["one!", "two!"])
    assert deadlocks(connection) == before


def test_an_open_transaction_on_one_row_delays_no_other_and_no_end(
    settings: Settings, space: Space, connection: Connection
) -> None:
    assert settings.database_url is not None
    texts = [f"text number {n}" for n in range(200)]
    add_texts(connection, texts)
    settings = settings.model_copy(update={"lease_seconds": 3600.0, "grace_seconds": 1.0})
    bounced = settings.database_url.get_secret_value()
    gate = Gate()
    with contextlib.closing(connect(bounced, autocommit=False)) as application:
        with running(make_worker(settings, space, gate.embedder, once=False)) as worker:
            assert gate.reached.wait(60)
            change(application, texts[0])
            gate.open.set()
            wait_until(lambda: worker.report.done == 199, "the other rows")
            application.rollback()
            wait_until(lambda: worker.report.done == 200, "the row that was locked")
            add_texts(connection, ["last"], source="last")
            wait_until(lambda: worker.report.done == 201, "one more")
            gate.open.clear()
            gate.reached.clear()
            add_texts(connection, ["held"], source="held")
            assert gate.reached.wait(60)
            change(application, "held")
            gate.open.set()
        # ``running`` has stopped it, with the transaction still open.
        assert states(connection) == [("held", "running", 1)]
        application.rollback()
    connection.execute("DELETE FROM source_items WHERE source = 'held'")
    assert_embedded_once(connection, [*texts, "last"])
