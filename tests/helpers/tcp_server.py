"""A second PostgreSQL, as others run theirs: over TCP, with passwords, and no superuser for us."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from pipeline.postgres.connections import Connection
from pipeline.postgres.embedded import EmbeddedServer
from tests.helpers.folders import server_folder

PASSWORD = "a password with %/@: in it"
_URL = (
    "postgresql://{user}:a%20password%20with%20%25%2F%40%3A%20in%20it@127.0.0.1:{port}/{database}"
)


def tcp_url(port: int, user: str, database: str) -> str:
    return _URL.format(user=user, port=port, database=database)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _first_connection(server: "subprocess.Popen[bytes]", port: int) -> Connection:
    """The superuser's, as soon as the server that was started takes one."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return psycopg.connect(tcp_url(port, "admin", "postgres"), autocommit=True)
        except psycopg.OperationalError:
            if time.monotonic() > deadline or server.poll() is not None:
                raise
            time.sleep(0.05)


@contextmanager
def tcp_server(embedded: EmbeddedServer, **settings: object) -> Iterator[int]:
    """Runs it from the embedded server's binaries, with these settings; gives its port.

    The superuser is ``admin``, an ordinary owner of the database ``app`` is ``app``; both log in
    with ``PASSWORD``.
    """
    home = server_folder("tcp")
    # PostgreSQL refuses to run as root.
    who: dict[str, Any] = {"user": "nobody", "group": "nogroup"} if os.getuid() == 0 else {}
    if who:
        shutil.chown(home, "nobody", "nogroup")
    password_file = home / "password"
    password_file.write_text(PASSWORD)
    password_file.chmod(0o644)
    data, port = home / "data", free_port()
    run: dict[str, Any] = {**who, "cwd": "/", "env": {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}}
    initdb = [
        embedded.binary("initdb"), "-D", data, "-U", "admin", "-E", "UTF8", "--no-sync",
        "--auth=scram-sha-256", f"--pwfile={password_file}",
    ]  # fmt: skip
    subprocess.run(initdb, check=True, capture_output=True, **run)
    options = ["-p", str(port), "-k", "", "-F", "-c", "listen_addresses=127.0.0.1"]
    options += [f"--{name}={value}" for name, value in settings.items()]
    server = subprocess.Popen(
        [embedded.binary("postgres"), "-D", data, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **run,
    )
    try:
        with _first_connection(server, port) as admin:
            admin.execute(f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'")
            admin.execute("CREATE DATABASE app OWNER app")
        with psycopg.connect(tcp_url(port, "admin", "app"), autocommit=True) as inside:
            inside.execute("CREATE EXTENSION vector")  # as the administrator of a managed server
        yield port
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def standby_of(embedded: EmbeddedServer, port: int) -> Iterator[int]:
    """A hot standby of the server at that port, with all that it has now; gives its own port."""
    home = server_folder("standby")
    who: dict[str, Any] = {"user": "nobody", "group": "nogroup"} if os.getuid() == 0 else {}
    if who:
        shutil.chown(home, "nobody", "nogroup")
    data, own_port = home / "data", free_port()
    environment = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "PGPASSWORD": PASSWORD}
    run: dict[str, Any] = {**who, "cwd": "/", "env": environment}
    backup = [
        embedded.binary("pg_basebackup"), "-D", data, "-h", "127.0.0.1", "-p", str(port),
        "-U", "admin", "--write-recovery-conf", "--checkpoint=fast", "--no-sync",
    ]  # fmt: skip
    subprocess.run(backup, check=True, capture_output=True, **run)
    options = ["-p", str(own_port), "-k", "", "-F", "-c", "listen_addresses=127.0.0.1"]
    server = subprocess.Popen(
        [embedded.binary("postgres"), "-D", data, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **run,
    )
    try:
        _first_connection(server, own_port).close()
        yield own_port
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(home, ignore_errors=True)
