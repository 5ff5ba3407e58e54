"""Every command as every role: it works, or one line says which right is missing and who has it.

The database is a guest's: an owner without CREATEROLE migrated it, and others log in beside it.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from PIL import Image
from psycopg import sql

from pipeline.cli import app
from pipeline.postgres.connections import connect
from pipeline.postgres.embedded import EmbeddedServer
from tests.helpers.databases import database_url, has_dblink
from tests.helpers.in_turn import SAID_BY_SERVERS, Order, Outcome, carry_out, outcomes, program

ROOT = Path(__file__).parents[2]
MIGRATOR = "host_owner"
# Who may less comes first; whoever may more may all of it.
NOBODY, ANALYST, INGEST, OWNER, TABLES, ADMIN = LOGINS = (
    "login_of_nobody",
    "login_of_pipeline_analyst",
    "login_of_pipeline_ingest",
    "login_of_pipeline_owner",
    MIGRATOR,
    "postgres",
)
# How the line names who has the right.
HOLDERS = {
    ANALYST: "pipeline_analyst",
    INGEST: "pipeline_ingest",
    OWNER: "pipeline_owner",
    TABLES: MIGRATOR,
}


@dataclass(frozen=True)
class Case:
    """One command: the first of :data:`LOGINS` that may, and what it finds.

    Attributes:
        state: of the spaces: ``first`` alone, ``second`` built beside it, or ``activated``; or
            ``attached``, where something is.
        model: whether it loads a model, so that it belongs into a process of its own.
        refused: whether a superuser would run what the schema's owner could replace.
    """

    least: str
    arguments: str
    state: str = "first"
    model: bool = False
    refused: bool = False


TABLE = {
    "demo": Case(TABLES, "demo --sheet {folder}/sheet.html", model=True, refused=True),
    "migrate": Case(TABLES, "migrate", refused=True),
    "attach": Case(ANALYST, "attach --list"),
    "detach": Case(INGEST, "detach pictures --yes", "attached"),
    "add": Case(INGEST, "add {folder}/two.png {folder}/texts.txt"),
    "ingest": Case(INGEST, "ingest --once", model=True),
    "status": Case(ANALYST, "status"),
    "failures": Case(ANALYST, "failures --rows"),
    "retry": Case(INGEST, "retry"),
    "rescan": Case(INGEST, "rescan"),
    "remove": Case(INGEST, "remove http://localhost/no.png --yes"),
    "sync": Case(INGEST, "sync"),
    "search": Case(ANALYST, "search never-searched-before", model=True),
    "serve": Case(INGEST, "serve", model=True),
    "web": Case(ANALYST, "web --port 0", model=True),
    "mcp": Case(ANALYST, "mcp --http 127.0.0.1:0", model=True),
    "space list": Case(ANALYST, "space list"),
    "space show": Case(ANALYST, "space show demo"),
    "space create": Case(
        TABLES, "space create third --model demo --precision bfloat16", model=True
    ),
    "space build": Case(TABLES, "space build second", "second", model=True),
    "space pause": Case(INGEST, "space pause demo"),
    "space resume": Case(INGEST, "space resume demo"),
    "space reindex": Case(TABLES, "space reindex second --m 8", "second"),
    "space activate": Case(TABLES, "space activate second --min-coverage 0", "second"),
    "space rollback": Case(TABLES, "space rollback", "activated"),
    "space drop": Case(TABLES, "space drop second --yes", "second"),
    "space import": Case(INGEST, "space import demo {folder}/items.parquet --source import"),
    "space export": Case(ANALYST, "space export demo {folder}/out.parquet"),
    "eval recall": Case(INGEST, "eval recall --sample 3 -k 2"),
    "eval retrieval": Case(INGEST, "eval retrieval --pairs pair"),
    "tune": Case(INGEST, "tune --target-recall 0.01 --sample 3 -k 2"),
    "map": Case(ANALYST, "map {folder}/map.png"),
    "doctor": Case(ANALYST, "doctor --model", model=True),
    "settings": Case(NOBODY, "settings"),
    "db status": Case(NOBODY, "db status"),
    "db url": Case(NOBODY, "db url"),
}
# These have nothing to do with a role: they start, stop and upgrade a server of their own, become
# psql, or copy a whole database, which is its owner's to do.
WITHOUT_A_ROLE = {"db start", "db stop", "db psql", "db dump", "db restore", "db upgrade"}


def commands(group: object, *above: str) -> Iterator[str]:
    """The full names of all commands, of the program itself."""
    for name, command in getattr(group, "commands", {}).items():
        if hasattr(command, "commands"):
            yield from commands(command, *above, name)
        else:
            yield " ".join([*above, name])


def test_every_command_has_a_line() -> None:
    assert set(commands(typer.main.get_command(app))) == {*TABLE, *WITHOUT_A_ROLE}


@dataclass(frozen=True)
class Guest:
    """Databases of :data:`MIGRATOR`, a state of the spaces each, to be copied."""

    folder: Path
    states: dict[str, str]


def as_login(url: str, login: str) -> str:
    return url.replace("user=postgres", f"user={login}")


def in_a_process(orders: list[Order], folder: Path) -> list[Outcome]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.in_turn"],
        input=program(orders),
        cwd=ROOT,
        env={**os.environ, "PIPELINE_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return outcomes(done.stdout)


@pytest.fixture(scope="module")
def guest(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    folder = tmp_path_factory.mktemp("guest")
    for number, name in enumerate(("one", "two")):
        Image.new("RGB", (32, 32), (number * 200, 80, 20)).save(folder / f"{name}.png")
    (folder / "texts.txt").write_text("a dog\na boat\n")
    states = {name: f"guest_{name}" for name in ("first", "second", "activated", "attached")}
    with connect(server.url()) as admin:
        admin.execute(f"CREATE ROLE {MIGRATOR} LOGIN".encode())
        admin.execute(f"CREATE DATABASE {states['first']} OWNER {MIGRATOR}".encode())
        for role in ("pipeline_analyst", "pipeline_ingest", "pipeline_owner"):
            # Another database of this server may have made them.
            if not admin.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchall():
                admin.execute(f"CREATE ROLE {role}".encode())
            admin.execute(f"CREATE ROLE login_of_{role} LOGIN IN ROLE {role}".encode())
        admin.execute(f"CREATE ROLE {NOBODY} LOGIN".encode())
        with connect(database_url(server.url(), states["first"])) as first:
            first.execute("CREATE EXTENSION vector")
            if has_dblink(server.url()):
                first.execute("CREATE EXTENSION dblink")
        url = as_login(database_url(server.url(), states["first"]), MIGRATOR)

        def run(*arguments: str, codes: tuple[int, ...] = (0,)) -> None:
            orders.append(Order(arguments, url))
            expected.append(codes)

        orders: list[Order] = []
        expected: list[tuple[int, ...]] = []
        run("migrate", "--no-space")
        run("space", "create", "demo", "--model", "demo", "--precision", "float32")
        run("space", "activate", "demo")
        for number, text in enumerate(("a cat", "a red bicycle", "a wide river", "snow")):
            run("add", "--text", text, "--metadata", f'{{"pair": "{number % 2}"}}')
        run("add", str(folder / "one.png"), "--metadata", '{"pair": "0"}')
        run("add", "http://localhost/no.png")  # refused, so a failure to show
        run("ingest", codes=(1,))
        run("space", "export", "demo", str(folder / "items.parquet"))
        run("add", "--text", "what is due")
        for done, codes in zip(in_a_process(orders, folder), expected, strict=True):
            assert done.code in codes, done
        for state, before, more in (
            ("second", "first", [("space", "create", "second", "--model", "demo", "--precision",
                                  "bfloat16"), ("space", "build", "second")]),
            ("activated", "second", [("space", "activate", "second", "--min-coverage", "0")]),
            ("attached", "first", []),
        ):  # fmt: skip
            admin.execute(
                f"CREATE DATABASE {states[state]} TEMPLATE {states[before]} OWNER {MIGRATOR}"
                " STRATEGY file_copy".encode()
            )
            url = as_login(database_url(server.url(), states[state]), MIGRATOR)
            for done in in_a_process([Order(arguments, url) for arguments in more], folder):
                assert done.code in (0, 1), done
        with connect(url) as attached:
            attached.execute(
                "INSERT INTO attached_sources (name, location, capture, sources, definition) "
                "VALUES ('pictures', '/pictures', 'scan', '{pictures}', '{}')"
            )
    yield Guest(folder, states)
    with connect(server.url()) as admin:
        for name in states.values():
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        for login in (*LOGINS[:4], MIGRATOR):
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(login)))


@pytest.mark.parametrize("login", LOGINS)
def test_every_command_as(
    login: str, guest: Guest, new_database: Callable[..., str], tmp_path: Path
) -> None:
    orders: dict[str, Order] = {}
    for name, case in TABLE.items():
        url = new_database(guest.states[case.state])
        with connect(url) as admin:
            admin.execute(f"ALTER DATABASE {admin.info.dbname} OWNER TO {MIGRATOR}".encode())
        arguments = [part.format(folder=guest.folder) for part in case.arguments.split()]
        orders[name] = Order(
            arguments,
            as_login(url, login),
            watched_by=url if name == "serve" else None,
            until=SAID_BY_SERVERS.get(name),
        )
    heavy = [name for name, case in TABLE.items() if case.model]
    done = {
        name: carry_out(order) for name, order in orders.items() if name not in heavy
    } | dict(
        zip(heavy, in_a_process([orders[name] for name in heavy], tmp_path), strict=True)
    )  # fmt: skip
    faults = {
        name: fault
        for name, case in TABLE.items()
        if (fault := _fault(done[name], login, case, doctor=name == "doctor"))
    }
    assert not faults, "\n".join(f"{name}: {fault}" for name, fault in faults.items())


def _fault(done: Outcome, login: str, case: Case, *, doctor: bool) -> str | None:
    """What is wrong with an outcome; None: it is as the table says."""
    least = case.least
    if case.refused and login == ADMIN:
        return None if f"migrate as {MIGRATOR}" in done.stderr and done.code == 1 else repr(done)
    said = done.stdout if doctor else done.stderr
    lines = [line for line in said.splitlines() if line.startswith(("pipeline: ", "FAIL  rights"))]
    if LOGINS.index(login) >= LOGINS.index(least):
        works = done.code == 0 or doctor  # which may well find something
        return None if works and not lines and "denied" not in said else repr(done)
    named = len(lines) == 1 and all(word in lines[0] for word in (login, HOLDERS[least], "lacks"))
    clear = "WARNING" not in said and "loading" not in said
    return None if done.code == 1 and named and clear else repr(done)
