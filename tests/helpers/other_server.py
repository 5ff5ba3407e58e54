"""A PostgreSQL of other programs than the wheel's, for the tests that any server must pass.

``TEST_POSTGRES`` names the folder of the programs (``initdb``, ``postgres``, ``psql``); its
extensions are pgvector and, where the server has it, dblink. ``make test-postgres`` runs them so.
"""

import contextlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from pipeline.postgres.embedded import EmbeddedServer
from tests.helpers.folders import server_folder
from tests.helpers.processes import wait_until

VARIABLE = "TEST_POSTGRES"


class OtherServer(EmbeddedServer):
    """The same folder and the same URLs, another server in them."""

    def __init__(self, home: Path, programs: Path) -> None:
        super().__init__(home)
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, progress: object = None) -> str:
        run = self._as_somebody()
        for folder in (self._home.path, self._home.data, self._home.socket):
            folder.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0:
                os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
            folder.chmod(0o700)
        if not (self._home.data / "PG_VERSION").exists():
            options = ["-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--auth=trust"]
            initdb = [self.binary("initdb"), "-D", self._home.data, "--no-sync", *options]
            subprocess.run(initdb, check=True, capture_output=True, **run)
        settings = [
            "port=5432",
            "listen_addresses=",
            f"unix_socket_directories={self._home.socket}",
        ]
        arguments = [part for setting in settings for part in ("-c", setting)]
        with self._home.path.joinpath("log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.binary("postgres"), "-D", self._home.data, *arguments],
                stdout=log,
                stderr=log,
                **run,
            )
        wait_until(self._answers, "the server")
        with psycopg.connect(self.url("postgres"), autocommit=True) as admin:
            if not admin.execute("SELECT FROM pg_database WHERE datname = 'pipeline'").rowcount:
                admin.execute("CREATE DATABASE pipeline")
        return self.url()

    def stop(self, progress: object = None) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)

    def binary(self, name: str) -> Path:
        return self._programs / name

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._home.path / "log").read_text()
        return psycopg.pq.PGconn.ping(self.url("postgres").encode()) == psycopg.pq.Ping.OK

    @staticmethod
    def _as_somebody() -> dict[str, Any]:
        """PostgreSQL refuses to run as root."""
        who = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
        return {**who, "cwd": "/", "env": {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}}


def server_in(home: Path) -> EmbeddedServer:
    """The server that the tests run on: the wheel's, unless another one's programs are named."""
    programs = os.environ.get(VARIABLE)
    return EmbeddedServer(home) if programs is None else OtherServer(home, Path(programs))


@contextlib.contextmanager
def own_server() -> Iterator[EmbeddedServer]:
    """A server that has never heard of us: roles belong to all of a server's databases."""
    # Not under pytest's own folder: the server's user must be able to reach it.
    home = server_folder("tests")
    home.chmod(0o755)
    server = server_in(home / "home")
    server.start()
    yield server
    server.stop()
    shutil.rmtree(home, ignore_errors=True)
