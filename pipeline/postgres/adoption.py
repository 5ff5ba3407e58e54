"""Databases from before the migrations were folded: one at 0013, the last of them, is taken over.

Its catalogue is compared with what 0013 made; then it is changed into what the folded migrations
make, and called by their name. Both texts are frozen, in ``migrations/from_0013/``. Its revision
stood in Alembic's usual table, where an application's may stand as well; see ``revisions.py``.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pipeline.errors import DatabaseError
from pipeline.postgres import revisions
from pipeline.postgres.carried import carried
from pipeline.postgres.connections import Connection

LAST = max(revisions.EARLIER)
BASELINE = "pipeline_0006_installed_sql"


def adopt(connection: Connection, schema: str) -> bool:
    """Take over what Alembic's usual table says of ours, if anything; whether it did.

    A database at 0013 becomes one at :data:`BASELINE`, which costs a look into its catalogue. In
    the caller's transaction.

    Raises:
        DatabaseError: it is at an earlier revision, or not what 0013 made.
    """
    found = revisions.in_shared_table(connection, schema)
    if not found:
        return False
    if not found & revisions.EARLIER:
        revisions.move(connection, schema, found, found)
        return True
    if LAST not in found:
        raise DatabaseError(
            f"the database is at revision {min(found)}, from before the migrations were folded; "
            f"migrate it to {LAST} with the pipeline that made it, or begin in an empty database"
        )
    folder = carried("migrations") / "from_0013"
    made = (folder / "catalog.txt").read_text(encoding="utf-8").splitlines()
    if missing := set(made) - set(catalog(connection)):
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DatabaseError(
            f"the database is at revision {LAST}, but not as that made it: it lacks the "
            f"{min(missing)}{more}; put that right, or begin in an empty database"
        )
    connection.execute((folder / "to_baseline.sql").read_bytes())
    convert_descriptions(connection)
    revisions.move(connection, schema, {LAST}, {BASELINE})
    return True


def convert_descriptions(connection: Connection) -> None:
    """Bring what spaces say of their models, and its fingerprint, into the form of today."""
    spaces = connection.execute("SELECT id, description FROM embedding_spaces").fetchall()
    for space, before in spaces:
        description, fingerprint = converted(before)
        connection.execute(
            "UPDATE embedding_spaces SET description = %s, fingerprint = %s WHERE id = %s",
            (json.dumps(description), fingerprint, space),
        )


def converted(before: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """A description as 0013 kept it, and its fingerprint, by the rules as they were at the folding.

    At 0013 every model was one of OpenCLIP, and what was at its default was written out. The
    rules of today are those of ``pipeline/embedders/description.py``; these are frozen.
    """
    usual = {"logit_bias": None, "normalisation": "l2"}
    after = {"kind": "openclip"} | {
        name: value for name, value in before.items() if (name, value) not in usual.items()
    }
    hashed = {name: _rounded(value) for name, value in after.items() if name != "model"}
    text = json.dumps(hashed, sort_keys=True, separators=(",", ":"))
    return after, hashlib.sha256(text.encode()).hexdigest()


def _rounded(value: Any) -> Any:
    """Numbers to six significant digits, whole ones as integers."""
    if isinstance(value, Mapping):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    if isinstance(value, float):
        rounded = float(f"{value:.6g}")
        return int(rounded) if rounded.is_integer() else rounded
    return value


_CATALOG = """
WITH relations AS (
    SELECT oid, relname, relkind FROM pg_class
    WHERE relnamespace = quote_ident(current_schema())::regnamespace
)
SELECT format('column %s.%s %s%s%s%s', r.relname, a.attname,
    -- The type that the active space has given it.
    CASE WHEN (r.relname, a.attname) = ('multimodal_items', 'embedding') THEN 'vector'
         ELSE format_type(a.atttypid, a.atttypmod) END,
    CASE WHEN a.attnotnull THEN ' not null' END,
    CASE a.attidentity WHEN 'a' THEN ' identity' END,
    ' default ' || pg_get_expr(d.adbin, d.adrelid))
FROM relations AS r
JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef AS d ON d.adrelid = r.oid AND d.adnum = a.attnum
WHERE r.relkind IN ('r', 'p', 'c')
UNION ALL
SELECT format('constraint %s.%s %s', r.relname, c.conname, pg_get_constraintdef(c.oid))
FROM relations AS r JOIN pg_constraint AS c ON c.conrelid = r.oid
WHERE c.contype IN ('c', 'f', 'p', 'u')
UNION ALL
SELECT 'index ' || replace(pg_get_indexdef(r.oid), quote_ident(current_schema()) || '.', '')
FROM relations AS r WHERE r.relkind IN ('i', 'I')
UNION ALL
SELECT format('sequence %s', r.relname) FROM relations AS r WHERE r.relkind = 'S'
UNION ALL
SELECT format('partition key of %s %s', r.relname, pg_get_partkeydef(r.oid))
FROM relations AS r WHERE r.relkind = 'p'
"""


def catalog(connection: Connection) -> list[str]:
    """What the schema is made of, a line each: columns, constraints, indexes, sequences."""
    return [line for (line,) in connection.execute(_CATALOG).fetchall()]
