"""What ``sql/schema/grants.sql`` gives of tables, to compare with what there is."""

import re
from collections import defaultdict

from pipeline.postgres.carried import carried
from pipeline.postgres.sql_files import GRANTS

# Of whole tables; what is given of columns, and the tables of spaces, is looked at elsewhere.
_STATEMENT = re.compile(
    r"^(GRANT|REVOKE) ([A-Z, ]+) ON ((?!FUNCTION|SEQUENCE|SCHEMA)[^;']+?)\s+(?:TO|FROM) ([^;']+);",
    re.MULTILINE,
)
# In the tables of every space.
OF_ITEMS = {
    role: frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})
    for role in ("pipeline_ingest", "pipeline_owner")
}


def granted() -> dict[tuple[str, str], set[str]]:
    """(role, table or view) -> privileges, after all that stands in the file."""
    text = (carried("sql") / GRANTS).read_text(encoding="utf-8")
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for verb, privileges, tables, roles in _STATEMENT.findall(text):
        given = set(_names(privileges))
        for table in _names(tables):
            for role in _names(roles):
                held = found[role, table.removeprefix("@schema@.")]
                held.update(given) if verb == "GRANT" else held.difference_update(given)
    return dict(found)


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",")]
