"""Which rows of ``source_items`` somebody means: by source, key, path, folder or pattern."""

from collections.abc import Sequence

from psycopg.rows import class_row

from pipeline.postgres.connections import Connection
from pipeline.references import expanded, is_elsewhere, local_path
from pipeline.sources.removal import Leaving

WILDCARDS = "*?"

_SELECTED = """
SELECT s.id AS source_id, s.source, s.content_ref
FROM source_items AS s
WHERE (%(source)s::text IS NULL OR s.source = %(source)s)
  AND (%(keys)s::text[] IS NULL OR s.source_key = ANY (%(keys)s)
       OR EXISTS (SELECT FROM unnest(%(patterns)s::text[]) AS p (pattern)
                  WHERE s.source_key LIKE p.pattern))
ORDER BY s.id
"""


def selected(
    connection: Connection, name: str | None, *, source: str | None = None
) -> list[Leaving]:
    """The rows that a name stands for.

    Args:
        name: a key; a path or a folder, as people write them; or one of these with ``*`` for any
            characters and ``?`` for one. None: every row of the source.
        source: of this source only.
    """
    keys, patterns = (None, None) if name is None else _meanings(name)
    with connection.cursor(row_factory=class_row(Leaving)) as cursor:
        return cursor.execute(
            _SELECTED, {"source": source, "keys": keys, "patterns": patterns}
        ).fetchall()


def _meanings(name: str) -> tuple[Sequence[str], Sequence[str]]:
    """Keys, and patterns of LIKE."""
    names = [name]
    if not is_elsewhere(name):
        path = str(local_path(expanded(name)))
        names = list(dict.fromkeys([name, path]))
    if any(char in name for char in WILDCARDS):
        return [], [_like(one) for one in names]
    folders = [_like(one.rstrip("/") + "/*") for one in names if one.startswith("/")]
    return names, folders


def _like(pattern: str) -> str:
    for char in "\\%_":
        pattern = pattern.replace(char, "\\" + char)
    return pattern.replace("*", "%").replace("?", "_")
