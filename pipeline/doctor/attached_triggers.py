"""Whether the triggers of an attached table see all that is written into it, and its partitions."""

from collections import defaultdict
from collections.abc import Iterator
from shlex import quote

from pipeline.doctor.check import Check
from pipeline.postgres.connections import Connection

# By what they fire on, in pg_trigger.tgtype; the trigger "key" never fires, it only names columns.
# One "noticed" never fires either, but notes for another that something changed.
_TRIGGERS = """
WITH made AS (
    SELECT t.tgrelid, t.tgname, t.tgtype, t.tgparentid,
        t.tgtype & 1 = 1 AND s.capture = 'row' AS is_always,
        CASE WHEN t.tgtype & 1 = 1 AND s.capture = 'row' THEN t.tgenabled = 'A'
             ELSE t.tgenabled IN ('O', 'A') END AS is_on
    FROM attached_sources AS s JOIN pg_trigger AS t
        ON t.tgname ~ format('^pipeline_source_%%s_[a-z]+$', s.id)
        AND t.tgname <> format('pipeline_source_%%s_key', s.id)
    WHERE s.id = %(id)s
), parts AS (
    SELECT s.relation AS oid FROM attached_sources AS s WHERE s.id = %(id)s
    UNION SELECT p.relid FROM attached_sources AS s
        CROSS JOIN LATERAL pg_partition_tree(s.relation) AS p WHERE s.id = %(id)s
)
SELECT p.oid::regclass::text, c.relispartition,
    ARRAY(
        SELECT e.event FROM (VALUES (4, 'INSERT'), (16, 'UPDATE'), (8, 'DELETE'), (32, 'TRUNCATE'))
            AS e (bit, event)
        WHERE NOT EXISTS (SELECT FROM made AS m WHERE m.tgrelid = p.oid AND m.tgtype & e.bit > 0)
    ) AS unseen,
    ARRAY(
        SELECT format('ALTER TABLE %%s ENABLE %%sTRIGGER %%I', p.oid::regclass,
            CASE WHEN m.is_always THEN 'ALWAYS ' END, m.tgname)
        FROM made AS m WHERE m.tgrelid = p.oid AND NOT m.is_on ORDER BY m.tgname
    ) AS cures
FROM parts AS p JOIN pg_class AS c ON c.oid = p.oid
WHERE EXISTS (SELECT FROM attached_sources AS s
              WHERE s.id = %(id)s AND s.capture IN ('statement', 'row'))
ORDER BY 1
"""


def triggers(connection: Connection, attachment: int, name: str) -> Iterator[Check]:
    """One check for those that are missing and one for those that are off; none where all is well.

    Args:
        attachment: the number of what is attached.
        name: of the same.
    """
    unseen: dict[tuple[bool, str], list[str]] = defaultdict(list)
    deaf, cures = list[str](), list[str]()
    for table, is_partition, events, enable in connection.execute(_TRIGGERS, {"id": attachment}):
        if events:
            unseen[is_partition, ", ".join(events)].append(table)
        if enable:
            deaf.append(table)
            cures += enable
    for (is_partition, events), tables in unseen.items():
        again = f"pipeline sync {quote(name)}"
        if not is_partition:
            again = f"pipeline detach {quote(name)}, then pipeline attach it again"
        said = f"no trigger sees {events} on {', '.join(tables)}"
        yield Check(f"attached {name}", False, said, again)
    if deaf:
        said = f"triggers of ours on {', '.join(deaf)} are disabled"
        cure = f"{'; '.join(cures)}; then pipeline sync {quote(name)}"
        yield Check(f"attached {name}", False, said, cure)
