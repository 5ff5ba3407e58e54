"""``pipeline db``: the embedded PostgreSQL, and psql on whichever database is in use."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from typer.core import TyperCommand

from pipeline.cli.commands import CommandLine
from pipeline.cli.db_dumps import dump, restore
from pipeline.cli.db_upgrade import upgrade
from pipeline.errors import EmbeddedServerError, MissingExtra
from pipeline.settings import Settings

# The server and the connections are imported by the commands that need them: they take 0.2 s, which
# `pipeline --help` would pay otherwise.
if TYPE_CHECKING:
    from pipeline.postgres.embedded import EmbeddedServer

app = CommandLine(help="Start, stop and reach the embedded PostgreSQL; dump and restore databases.")


@app.command()
def start(
    port: Annotated[
        int | None,
        typer.Option(
            min=1024, max=65535, help="Also listen here at 127.0.0.1, by a password, for BI tools."
        ),
    ] = None,
) -> None:
    """Start the embedded PostgreSQL, creating it the first time, and print its URL.

    It runs on until it is stopped. Example: pipeline db start
    """
    server = _server()
    print(server.start(_progress(), port=port))
    if port is not None:
        print(server.open_port(port))
        _note(f"the password for it is the last field of {server.password_file}")
    if Settings.load().database_url is not None:
        _note(
            "note: PIPELINE_DATABASE_URL or DATABASE_URL is set, so that database is used instead"
        )


@app.command()
def stop() -> None:
    """Stop the embedded PostgreSQL and wait until it is down. Example: pipeline db stop"""
    server = _server()
    ran = server.status().state != "stopped"
    server.stop(_progress())
    print("stopped" if ran else "was not running")


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print whether the embedded PostgreSQL runs, and where; exits 0 also when it is stopped.

    Example: pipeline db status --json
    """
    server = _server()
    found = asdict(server.status()) | {"url": server.url()}
    if as_json:
        print(json.dumps(found, default=os.fspath))
        return
    for name, value in found.items():
        print(f"{name:8} {'-' if value is None else value}")


@app.command()
def url() -> None:
    """Print the URL of the database in use, without its password. Example: pipeline db url"""
    from pipeline.postgres.urls import without_password

    print(without_password(_database_url())[0])


# Its options are psql's, -h, -q and -v among them.
@app.command(
    cls=TyperCommand,
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": ["--help"],
    },
)
def psql(context: typer.Context) -> None:
    """Open psql on the database in use, starting the embedded PostgreSQL if it is that one.

    Options and arguments go to psql. Example: pipeline db psql -c 'SELECT version()'
    """
    from pipeline.postgres.urls import without_password

    configured = Settings.load().database_url
    target = _database_url() if configured else _server().start(_progress())
    visible, password = without_password(target)
    if password is not None:
        os.environ["PGPASSWORD"] = password  # on the command line every user could read it
    _replace_by_psql(["--dbname", visible, *context.args])


app.command()(dump)
app.command()(restore)
app.command()(upgrade)


def _server() -> "EmbeddedServer":
    from pipeline.postgres.embedded import EmbeddedServer

    return EmbeddedServer(Settings.load().home)


def _database_url() -> str:
    configured = Settings.load().database_url
    return _server().url() if configured is None else configured.get_secret_value()


def _replace_by_psql(arguments: list[str]) -> NoReturn:
    try:
        program = str(_server().binary("psql"))
    except (EmbeddedServerError, MissingExtra) as exc:
        found = shutil.which("psql")
        if found is None and isinstance(exc, MissingExtra):
            raise MissingExtra("psql", "server", "install PostgreSQL's own client") from exc
        if found is None:
            raise
        program = found
    os.execv(program, ["psql", *arguments])  # noqa: S606


def _progress() -> Callable[[str], None] | None:
    return _note if sys.stderr.isatty() else None


def _note(message: str) -> None:
    print(message, file=sys.stderr)
