"""A whole database into one file, in pg_dump's custom format."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.postgres.connections import Connection, connect, fetch_one
from pipeline.postgres.dumps.files import new_file, refuse_existing
from pipeline.postgres.dumps.programs import client_programs, run

# What is at hand, and how many are done of how many.
Progress = Callable[[str, int, int], None]

_TABLE = re.compile(r'pg_dump: dumping contents of table "(.+)"')


@dataclass(frozen=True, slots=True)
class Dumped:
    """What was written.

    Attributes:
        size: of the file, in bytes.
        postgresql: the server's version.
        extensions: name -> version, but for what every database has. No dump holds the versions: a
            restored database gets those of its server.
    """

    file: Path
    size: int
    database: str
    tables: int
    postgresql: str
    extensions: dict[str, str]


def dump(url: str, file: Path, progress: Progress) -> Dumped:
    """Write all of the database as it is at this moment.

    Nobody waits for it but who changes a table's definition.

    Raises:
        ConfigurationError: the file is there already.
        DatabaseError: the database is out of reach, pg_dump is not here or too old, or it failed:
            this login may not read everything, say.
        OSError: the file cannot be written.
    """
    refuse_existing(file)
    with connect(url, schema=None, role="pipeline db dump") as connection:
        program = client_programs("pg_dump", connection.info.server_version // 10000)[0]
        database, tables, postgresql = fetch_one(
            connection.execute(
                """
                SELECT current_database(), (
                    SELECT count(*)::integer FROM pg_class AS c
                    JOIN pg_namespace AS n ON n.oid = c.relnamespace
                    WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%'
                      AND n.nspname <> 'information_schema' AND c.relpersistence <> 't'
                ), split_part(current_setting('server_version'), ' ', 1)
                """
            )
        )
        extensions = versions_of_extensions(connection)
    done = 0

    def on_line(line: str) -> None:
        nonlocal done
        if table := _TABLE.match(line):
            progress(table[1], done, max(tables, done + 1))
            done += 1

    with new_file(file) as (partial, target):
        # By its name: into its stdout pg_dump writes the table of contents twice (18.6).
        arguments = ["--format=custom", "--verbose", f"--file={partial}"]
        run(program, arguments, url=url, lock=target, on_line=on_line)
        size = target.seek(0, 2)
    return Dumped(file, size, database, done, postgresql, extensions)


def versions_of_extensions(connection: Connection) -> dict[str, str]:
    """Name -> version of those that are installed, but for plpgsql."""
    rows = connection.execute(
        "SELECT extname, extversion FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY extname"
    )
    return dict(rows.fetchall())
