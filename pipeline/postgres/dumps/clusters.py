"""All databases, roles and settings of one server into another, new one; and compared with it."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from pipeline.errors import DatabaseError
from pipeline.postgres.connections import connect, fetch_one
from pipeline.postgres.dumps.programs import Program, output, run

# The URL of a database by its name.
Url = Callable[[str], str]
_IN_PLACE = ("template1", "postgres")  # every new cluster has them


@dataclass(frozen=True, slots=True)
class Server:
    """A cluster that runs, as a superuser reaches it."""

    url: Url
    superuser: str


@dataclass(frozen=True, slots=True)
class Programs:
    """What a cluster is copied by.

    Attributes:
        pg_dump: those that are tried one after the other. A newer PostgreSQL's is the better one,
            as it writes what that understands; but one that was made before the other server's
            latest minor release may not know what that added (pg_attver of 15.20, and 18.6).
    """

    pg_dump: Sequence[Program]
    pg_dumpall: Program
    pg_restore: Program
    psql: Program


@dataclass(frozen=True, slots=True)
class Counted:
    """What a server holds."""

    databases: int
    tables: int
    rows: int


def copy_cluster(
    old: Server, new: Server, programs: Programs, scratch: Path, say: Callable[[str], None]
) -> None:
    """Everything of ``old`` into ``new``, which has nothing but what initdb made.

    Args:
        programs: of the new PostgreSQL.
        scratch: a folder for dumps, for us alone.

    Raises:
        DatabaseError: a statement fails; ``new`` is of no use then.
    """
    globals_ = scratch / "globals.sql"  # passwords' verifiers are in it
    globals_.touch(0o600, exist_ok=False)
    text = output(programs.pg_dumpall, ["--globals-only", "--dbname", old.url("postgres")])
    globals_.write_text(text.replace(f"CREATE ROLE {new.superuser};\n", "", 1), encoding="utf-8")
    arguments = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={globals_}"]
    run(programs.psql, arguments, url=new.url("postgres"))
    globals_.unlink()
    names = _databases(old)
    for name in names:
        say(f"copying the database {name}")
        *first, last = programs.pg_dump
        for pg_dump in first:
            try:
                _copy_database(old, new, name, pg_dump, programs.pg_restore, scratch)
                break
            except DatabaseError as exc:
                if name in _IN_PLACE:
                    raise
                say(f"{exc}; once more, by the other server's own pg_dump")
        else:
            _copy_database(old, new, name, last, programs.pg_restore, scratch)
        with connect(new.url(name), schema=None) as connection:
            connection.execute("VACUUM ANALYZE")


def _copy_database(
    old: Server, new: Server, name: str, pg_dump: Program, pg_restore: Program, scratch: Path
) -> None:
    file = scratch / "database.dump"
    run(pg_dump, ["--format=custom", f"--file={file}"], url=old.url(name))
    arguments = ["--exit-on-error", f"--jobs={os.cpu_count() or 1}"]
    target = name
    if name not in _IN_PLACE:
        arguments, target = [*arguments, "--create"], "postgres"
        with connect(new.url(target), schema=None) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
    run(pg_restore, [*arguments, file], url=new.url(target))
    file.unlink()


def compare(old: Server, new: Server) -> Counted:
    """Count every row of both.

    Raises:
        DatabaseError: naming the table that has not as many.
    """
    tables = rows = 0
    names = _databases(old)
    if names != _databases(new):
        raise DatabaseError("the new server has not the databases of the old one")
    for name in names:
        before, after = _counts(old.url(name)), _counts(new.url(name))
        for table in sorted(before.keys() | after.keys()):
            if before.get(table) != after.get(table):
                raise DatabaseError(
                    f"{table} of the database {name} has {before.get(table)} rows in the old "
                    f"server and {after.get(table)} in the new one"
                )
        tables, rows = tables + len(before), rows + sum(before.values())
    return Counted(len(set(names) - set(_IN_PLACE)), tables, rows)


def _databases(server: Server) -> list[str]:
    with connect(server.url("postgres"), schema=None) as connection:
        found = connection.execute(
            "SELECT datname::text, datallowconn FROM pg_database WHERE datname <> 'template0' "
            "ORDER BY datname <> 'template1', datname"
        ).fetchall()
    for name, takes_connections in found:
        if not takes_connections:
            raise DatabaseError(
                f"the database {name} takes no connections, so it cannot be copied: "
                f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true, or drop it'
            )
    return [name for name, _ in found]


def _counts(url: str) -> dict[str, int]:
    with connect(url, schema=None) as connection:
        tables = connection.execute(
            """
            SELECT n.nspname, c.relname
            FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
            WHERE c.relkind = 'r' AND c.relpersistence <> 't'
              AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
            """
        ).fetchall()
        count = sql.SQL("SELECT count(*) FROM {}")
        return {
            ".".join(names): fetch_one(connection.execute(count.format(sql.Identifier(*names))))[0]
            for names in tables
        }
