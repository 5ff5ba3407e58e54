"""A dump into an empty database: all of it or nothing, and what no dump of a database holds."""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg import Error, errors, sql

from pipeline.errors import DatabaseError
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect, explain, fetch_one
from pipeline.postgres.database import Database
from pipeline.postgres.dumps.archive import Archive
from pipeline.postgres.dumps.dumping import Progress, versions_of_extensions
from pipeline.postgres.dumps.fitness import (
    entries_left_out,
    extensions_left_out,
    keeps_owners,
    refuse_missing_roles,
    refuse_occupied,
)
from pipeline.postgres.dumps.programs import Program, client_programs, run
from pipeline.postgres.dumps.roles import LOOPBACK, make_roles_of_ours
from pipeline.postgres.place import schemas_of_ours
from pipeline.postgres.requirements import check_server
from pipeline.postgres.standby import refuse_standby

_ENTRY = re.compile(r"pg_restore: (?:creating|processing data for|executing) (.+)")


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done.

    Attributes:
        owner: the login that everything belongs to here; None: to whom it did.
        left_out: extensions of the dump that cannot be made here.
        statements: what somebody with more rights, or knowledge, is to run.
    """

    file: Path
    database: str
    tables: int
    postgresql: str
    extensions: dict[str, str]
    owner: str | None
    left_out: list[str]
    statements: list[str]


def restore(
    database: Database, file: Path, progress: Progress, *, roles: bool = True,
    old_pgvector: bool = False,
) -> Restored:  # fmt: skip
    """Make all that the dump has in an empty database, then what it has not: see the module.

    Until all data and indexes are there nothing of it is seen, and whoever is interrupted, or
    fails, has the database as it was.

    Args:
        roles: whether the roles ``pipeline_*`` are made where they are missing.
        old_pgvector: whether a pgvector that loses rows will do.

    Raises:
        ConfigurationError: the file is no dump that can be read here.
        DatabaseError: the database has something in it, or lacks something (which is said before
            anything is done), or refuses a statement.
        OSError: the file cannot be read.
    """
    with connect(database.url, schema=None, role="pipeline db restore") as connection:
        server = connection.info.server_version // 10000
        archive = Archive.read(file, _readers(server))
        refuse_standby(connection, database.url)
        refuse_occupied(connection, archive)
        if "vector" in archive.extensions:
            check_server(connection, old_pgvector=old_pgvector)
        left_out = extensions_left_out(connection, archive)
        keeps = keeps_owners(connection, archive)
        if roles:
            make_roles_of_ours(connection, archive.roles)
        refuse_missing_roles(connection, archive)
        skipped = entries_left_out(connection, archive, left_out)
    _fill(archive, database.url, skipped, [] if keeps else ["--no-owner"], progress)
    with connect(database.url, schema=None, role="pipeline db restore") as connection:
        statements = _apply_settings(connection, archive)
        ours = schemas_of_ours(connection)
    if ours:
        progress("functions, roles and rights", 0, 0)
        migrate.upgrade(database.url, roles=roles, old_pgvector=old_pgvector, schema=ours[0])
    with connect(database.url, schema=None, role="pipeline db restore") as connection:
        progress("statistics", 0, 0)
        connection.execute("VACUUM ANALYZE")
        statements += _left_to_do(connection, archive)
        owner, name, postgresql = fetch_one(
            connection.execute(
                "SELECT current_user, current_database(), "
                "split_part(current_setting('server_version'), ' ', 1)"
            )
        )
        extensions = versions_of_extensions(connection)
    return Restored(
        file, name, archive.tables, postgresql, extensions,
        None if keeps else owner, left_out, statements,
    )  # fmt: skip


def _readers(server: int) -> Sequence[Program]:
    return client_programs("pg_restore", server)


def _fill(
    archive: Archive, url: str, skipped: Sequence[str], options: Sequence[str], progress: Progress
) -> None:
    """One transaction, in the order of the dump: definitions, data, indexes, rights."""
    listing = archive.listing_without(*skipped)
    entries = sum(not line.startswith(";") for line in listing.splitlines())
    done = 0

    def on_line(line: str) -> None:
        nonlocal done
        if entry := _ENTRY.match(line):
            progress(entry[1].replace('"', ""), min(done, entries), entries)
            done += 1

    with tempfile.NamedTemporaryFile("w", suffix=".list", encoding="utf-8") as contents:
        contents.write(listing)
        contents.flush()
        # --exit-on-error comes with the single transaction.
        arguments = ["--single-transaction", "--verbose", f"--use-list={contents.name}", *options]
        run(archive.program, [*arguments, archive.file], url=url, on_line=on_line)


def _apply_settings(connection: Connection, archive: Archive) -> list[str]:
    """Set on this database what was set on that one, but for what is set here already; the
    statements that this login may not run."""
    there = connection.execute(
        """
        SELECT split_part(c.entry, '=', 1)
        FROM pg_db_role_setting AS s CROSS JOIN unnest(s.setconfig) AS c (entry)
        WHERE s.setrole = 0
          AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
        """
    ).fetchall()
    (database,) = fetch_one(connection.execute("SELECT current_database()"))
    refused = []
    if "vector" in archive.extensions:
        # Loads the library, by which its settings are known.
        connection.execute(_LOADED.format(sql.Identifier(archive.extensions["vector"])))
    for name, value in archive.settings:
        if (name,) in there:
            continue
        # Just as pg_dump wrote it: a literal, or several of a list.
        statement = sql.SQL("ALTER DATABASE {} SET {} TO {}").format(
            sql.Identifier(database), sql.SQL(name), sql.SQL(value)
        )
        try:
            connection.execute(statement)
        except (errors.InsufficientPrivilege, errors.UndefinedObject, errors.DataError):
            refused.append(statement.as_string(connection))
        except Error as exc:
            raise DatabaseError(f"{statement.as_string(connection)}: {explain(exc)}") from exc
    return refused


_LOADED = sql.SQL("SELECT '[1]'::{}.vector")


def _left_to_do(connection: Connection, archive: Archive) -> list[str]:
    """What was given on that database, and what holds an address and a password of that server."""
    (database,) = fetch_one(connection.execute("SELECT quote_ident(current_database())"))
    ours = re.compile(r" TO pipeline_loopback\w*;$")  # which migrate and configure_loopback give
    statements = [
        re.sub(r" ON DATABASE (?:\"(?:[^\"]|\"\")+\"|\S+) ", f" ON DATABASE {database} ", line)
        for line in archive.rights_on_database
        if not ours.search(line)
    ]
    if any(e.type == "SERVER" and e.name == LOOPBACK for e in archive.entries):
        statements.append("CALL configure_loopback();")
    return [statement.rstrip(";") for statement in statements]
