"""Triggers that are as the files of ``sql/`` want them are not made anew.

CREATE OR REPLACE TRIGGER locks its table against every writer, even where it changes nothing.
"""

import re

from pipeline.postgres.connections import Connection
from pipeline.postgres.sql_files import Schemas

# The files have them as PostgreSQL shows them, but for the lines.
_TRIGGER = re.compile(r"^CREATE OR REPLACE (TRIGGER [^;]+);$", re.MULTILINE)
# Those that fire; ALWAYS is an administrator's choice, for logical replication.
_STANDING = """
SELECT pg_get_triggerdef(t.oid), 'trigger ' || replace(
    (pg_identify_object('pg_trigger'::regclass, t.oid, 0)).identity, %(schema)s || '.', '@schema@.')
FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
WHERE c.relnamespace = %(schema)s::regnamespace AND NOT t.tgisinternal
  AND t.tgenabled IN ('O', 'A')
"""


def standing_triggers(connection: Connection, schemas: Schemas) -> dict[str, str]:
    """Definition -> name (as in ``objects.py``), of those of our schema that fire.

    To be asked with the search path that the files are run with.
    """
    rows = connection.execute(_STANDING, {"schema": schemas.schema})
    return dict(rows.fetchall())


def without_standing(text: str, standing: dict[str, str]) -> tuple[str, list[str]]:
    """A file's text without the triggers that stand as it wants them, and those triggers' names."""
    names = []

    def leave_out(found: re.Match[str]) -> str:
        name = standing.get(f"CREATE {' '.join(found[1].split())}")
        if name is None:
            return found[0]
        names.append(name)
        return ""

    return _TRIGGER.sub(leave_out, text), names
