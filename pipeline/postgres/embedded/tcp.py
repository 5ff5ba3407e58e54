"""A door by TCP for tools that know no Unix socket: at this machine's loopback, for one login.

The login is ``pipeline_reader``, which may what ``pipeline_analyst`` may. Its password is made here
and kept in ``HOME/pgpass``, in libpq's format and for the home's owner alone; the server is told
its SCRAM verifier. Nobody else, and no superuser, comes in by TCP.
"""

import secrets
from pathlib import Path

import psycopg
from psycopg import sql

from pipeline.errors import EmbeddedServerError
from pipeline.postgres.carried import carried
from pipeline.postgres.embedded.account import Account
from pipeline.postgres.embedded.config import own_file
from pipeline.postgres.embedded.home import SOCKET_NAME, Home

READER = "pipeline_reader"
LOOPBACK = "127.0.0.1"
_HBA_FILE = "pipeline_tcp_hba.conf"  # in the data folder; written at every start with a port
PASSWORD_FILE = "pgpass"  # noqa: S105


def tcp_options(home: Home, port: int, account: Account) -> list[str]:
    """What the server is started with. Whoever may come in by the socket still may."""
    rule = f"include pg_hba.conf\nhost all {READER} {LOOPBACK}/32 scram-sha-256\n"
    own_file(home.data / _HBA_FILE, rule, account)
    if (name := f".s.PGSQL.{port}") != SOCKET_NAME:
        # The port is part of the socket's name, and all URLs know the socket by the usual one.
        (home.socket / SOCKET_NAME).symlink_to(name)
    options = {"listen_addresses": LOOPBACK, "port": port, "hba_file": home.data / _HBA_FILE}
    return [part for name, value in options.items() for part in ("-c", f"{name}={value}")]


def let_in(home: Home, url: str, database: str, port: int) -> str:
    """Make the login, with the password of the file; the URL for it, without the password.

    Raises:
        EmbeddedServerError: the server runs without this port.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT current_setting('listen_addresses'), current_setting('port')"
        ).fetchone()
        if found != (LOOPBACK, str(port)):
            raise EmbeddedServerError(
                f"PostgreSQL runs already, and not at the port {port}: pipeline db stop, then "
                f"pipeline db start --port {port}"
            )
        password = _password(home.path / PASSWORD_FILE, port)
        connection.execute((carried("sql") / "schema/roles.sql").read_bytes())
        there = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (READER,)).rowcount
        verifier = connection.pgconn.encrypt_password(
            password.encode(), READER.encode(), b"scram-sha-256"
        )
        statement = (
            "ALTER ROLE {} LOGIN PASSWORD {}" if there else "CREATE ROLE {} LOGIN PASSWORD {}"
        )
        connection.execute(
            sql.SQL(statement).format(sql.Identifier(READER), sql.Literal(verifier.decode()))
        )
        connection.execute(sql.SQL("GRANT pipeline_analyst TO {}").format(sql.Identifier(READER)))
    return f"postgresql://{READER}@{LOOPBACK}:{port}/{database}"


def _password(file: Path, port: int) -> str:
    """That of the file, which is made where it is missing, and says where it is for."""
    try:
        password = file.read_text(encoding="utf-8").strip().rpartition(":")[2]
    except FileNotFoundError:
        password = ""
    password = password or secrets.token_urlsafe(24)
    partial = file.with_name(f"{file.name}.partial")
    partial.unlink(missing_ok=True)
    partial.touch(0o600, exist_ok=False)
    partial.write_text(f"{LOOPBACK}:{port}:*:{READER}:{password}\n", encoding="utf-8")
    partial.replace(file)
    return password
