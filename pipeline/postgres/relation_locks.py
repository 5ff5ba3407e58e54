"""The locks of a migration on tables and views, taken at its beginning and at once.

Whoever holds one lock while it waits for another may be in a deadlock, and the server ends whose
wait has lasted for ``deadlock_timeout`` first: the application, mostly. So from the first lock that
is asked for, behind which others wait already, to the last one that is had less time goes by than
that, and nothing is waited for afterwards.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from psycopg import sql
from psycopg.errors import LockNotAvailable

from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.installed import read_installed
from pipeline.postgres.table_locks import LOCK_TIMEOUT_MS

# For what else a migration comes to lock: it holds the others by then.
HASTE_MS = 10

# Ours, views with their first column. LOCK on a view would lock what it reads as well.
_RELATIONS = """
SELECT n.nspname, c.relname, (
    SELECT a.attname FROM pg_attribute AS a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind = 'v'
    ORDER BY a.attnum LIMIT 1)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND pg_has_role(c.relowner, 'USAGE') AND (
    c.relkind = 'v' AND c.relname = ANY (%(views)s)
    OR %(tables)s AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        AND (c.relname = ANY (%(names)s) OR c.relname ~ '^multimodal_items_.*_s[0-9]+$'))
ORDER BY c.relkind <> 'v', c.relname <> 'source_items', c.relname
"""
Relation = tuple[str, str, str | None]


@dataclass
class RelationLocks:
    """Those of one migration, over its attempts.

    Attributes:
        names: our tables.
    """

    names: Sequence[str]
    _refused: Relation | None = field(default=None, init=False)
    _had_all: bool = field(default=False, init=False)

    def take(self, connection: Connection, schema: str, *, tables: bool) -> None:
        """In the open transaction, for the rest of it; which must wait for nothing afterwards.

        The first one, in each attempt the one that was refused before, is waited for with patience,
        with nothing else in hand: an autovacuum makes way after ``deadlock_timeout`` only. It is
        given up again where that took long. Where an attempt had all of these and came to lack
        another one, the next takes every table.

        Args:
            tables: whether the tables are wanted as well, not only the views.

        Raises:
            psycopg.errors.LockNotAvailable: others have one of them; to be tried again.
        """
        relations = self._relations(connection, schema, tables=tables or self._had_all)
        self._had_all = False
        patience, deadlock_ms = _timeouts(connection)
        end = time.monotonic() + deadlock_ms / 2000
        for relation in relations:
            left = int(1000 * (end - time.monotonic()))
            if left < 1:
                raise LockNotAvailable("the locks of a migration took too long")
            self._refused = relation
            _set_timeout(connection, patience if relation == relations[0] else min(left, patience))
            connection.execute(_lock(relation))
        self._refused, self._had_all = None, True
        _set_timeout(connection, min(HASTE_MS, patience))

    def _relations(self, connection: Connection, schema: str, *, tables: bool) -> list[Relation]:
        installed = read_installed(connection)
        objects = [name.partition(" ") for name in (installed.objects if installed else ())]
        views = [name.partition(".")[2] for kind, _, name in objects if kind == "view"]
        found: list[Relation] = connection.execute(
            _RELATIONS,
            {
                "schema": schema,
                "tables": tables,
                "names": list(self.names),
                "views": views,
            },
        ).fetchall()
        return sorted(found, key=lambda relation: relation != self._refused)


def _timeouts(connection: Connection) -> tuple[int, int]:
    """How long to wait for a lock, less where the role says so, and when deadlocks are looked for,
    in milliseconds."""
    usual, deadlock = fetch_one(
        connection.execute(
            "SELECT min(setting::integer) FILTER (WHERE name = 'lock_timeout'), "
            "min(setting::integer) FILTER (WHERE name = 'deadlock_timeout') FROM pg_settings"
        )
    )
    return min(usual or LOCK_TIMEOUT_MS, LOCK_TIMEOUT_MS), deadlock


def _set_timeout(connection: Connection, milliseconds: int) -> None:
    connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{milliseconds}ms",))


def _lock(relation: Relation) -> sql.Composed:
    schema, name, column = relation
    if column is None:
        return sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(
            sql.Identifier(schema, name)
        )
    # Changes nothing: a column of a view of ours has no default.
    return sql.SQL("ALTER VIEW {} ALTER COLUMN {} DROP DEFAULT").format(
        sql.Identifier(schema, name), sql.Identifier(column)
    )
