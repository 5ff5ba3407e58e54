"""Views, functions, triggers, extensions and grants of ours, where a plug-in of Alembic compares
those as well, as alembic_utils does: it asks ``include_object`` about each, and would drop it.
"""

import re
from collections.abc import Callable
from typing import Protocol
from weakref import WeakKeyDictionary

from alembic.runtime.migration import MigrationContext
from psycopg import sql
from sqlalchemy import Connection

# What attach_source() makes beside a table, in the table's schema.
GENERATED = re.compile(r"pipeline_source_\d+(_[a-z]+)?")
_EXTENSIONS = {"vector", "dblink"}
_OBJECT = re.compile(r"\w+ (?:@schema@\.)?\"?(\w+)")
_known: WeakKeyDictionary[MigrationContext, frozenset[tuple[str, str]]] = WeakKeyDictionary()


class ComparedEntity(Protocol):
    """What a plug-in compares: such as a function, whose signature has its arguments."""

    type_: str
    schema: str
    signature: str


def is_made_by_us(
    entity: ComparedEntity,
    running: MigrationContext | None,
    schema: str,
    is_name_of_ours: Callable[[str], bool],
) -> bool:
    """Whether migrate or ``attach_source()`` made it, or gave it: a grant is its table's."""
    name = str(getattr(entity, "table", entity.signature)).partition("(")[0].strip('" ')
    if GENERATED.fullmatch(name) or (entity.schema == schema and is_name_of_ours(name)):
        return True
    if entity.type_ == "extension":
        return name in _EXTENSIONS
    if running is None or running.connection is None:
        return False
    if running not in _known:
        _known[running] = frozenset(_read(running.connection, schema))
    return (entity.schema, name) in _known[running]


def _read(connection: Connection, schema: str) -> set[tuple[str, str]]:
    """By schema and name: what the last migrate installed, and the views of items."""
    made: set[tuple[str, str]] = set()
    for table, query in {
        "installed_sql": "SELECT unnest(objects) FROM {}",
        "attached_sources": "SELECT n.nspname, c.relname FROM {} AS a "
        "JOIN pg_class AS c ON c.oid = a.items_view "
        "JOIN pg_namespace AS n ON n.oid = c.relnamespace",
    }.items():
        called = sql.Identifier(schema, table)
        named = sql.Literal(called.as_string())
        may_read = sql.SQL("SELECT has_table_privilege(to_regclass({}), 'SELECT')").format(named)
        if connection.exec_driver_sql(may_read.as_string()).scalar():
            rows = connection.exec_driver_sql(sql.SQL(query).format(called).as_string())
            made |= {_named(*row, schema=schema) for row in rows}
    return made


def _named(*row: str, schema: str) -> tuple[str, str]:
    if len(row) == 2:
        return row[0], row[1]
    found = _OBJECT.match(row[0])
    return schema, found[1] if found else row[0]
