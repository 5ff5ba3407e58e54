"""What is listed against what was seen of it last, and against ``source_items``."""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from pipeline.jobs import NOTES
from pipeline.postgres.connections import Connection
from pipeline.postgres.piecewise import piecewise
from pipeline.sources.locations.listing import Seen
from pipeline.sources.locations.location import Attached, LocationReport
from pipeline.sources.locations.pages import parameters
from pipeline.sources.source_items import AddReport, NewSource, add, reopen

# An object is another where its etag or size is; a store without etags, and a folder, tell by the
# time. Only another size proves other content: a file is touched, an upload in parts has another
# etag. Of one that was loaded before anybody saw it in a listing its item's notes tell.
_STATES = """
WITH listed AS (
    SELECT l.*, %(base)s || l.key AS reference
    FROM unnest(%(keys)s::text[], %(modalities)s::text[], %(sizes)s::bigint[], %(etags)s::text[],
        %(modified)s::text[]) AS l (key, modality, size, etag, modified)
), compared AS (
    SELECT l.key, s.id AS source_id,
        CASE WHEN s.id IS NULL THEN 'new'
            WHEN o.key IS NOT NULL THEN CASE
                WHEN l.size <> o.size THEN 'replaced'
                WHEN l.etag <> o.etag THEN 'changed'
                WHEN l.etag = o.etag OR l.modified::timestamptz = o.modified_at THEN 'same'
                ELSE 'changed' END
            WHEN i.source_id IS NULL THEN 'unseen'
            WHEN i.notes ->> 'size' <> l.size::text THEN 'replaced'
            WHEN i.notes ->> 'etag' <> l.etag THEN 'changed'
            WHEN i.notes ->> 'etag' = l.etag OR i.notes ->> 'mtime' = l.modified THEN 'unseen'
            ELSE 'changed' END AS state,
        s.row_key IS DISTINCT FROM l.key OR s.content_ref <> l.reference
            OR s.modality <> l.modality
            OR jsonb_typeof(s.metadata) = 'object' AND NOT s.metadata @> %(metadata)s::jsonb
            AS is_told_otherwise
    FROM listed AS l
    LEFT JOIN source_items AS s ON s.source = %(source)s AND s.source_key = l.reference
    LEFT JOIN attached_objects AS o ON o.attachment_id = %(attachment)s AND o.key = l.key
    LEFT JOIN LATERAL (
        SELECT i.source_id, coalesce(i.metadata -> %(notes)s, '{}'::jsonb) AS notes
        FROM multimodal_items AS i
        WHERE o.key IS NULL AND i.source_id = s.id AND i.modality = s.modality AND i.part = 0
    ) AS i ON true
)
SELECT c.key, c.source_id, c.state, c.source_id IS NOT NULL AND c.is_told_otherwise
FROM compared AS c WHERE c.state <> 'same' OR c.is_told_otherwise
"""
_TELL = """
UPDATE source_items AS s SET row_key = l.key, content_ref = %(base)s || l.key,
    modality = l.modality,
    metadata = CASE WHEN jsonb_typeof(s.metadata) = 'object'
        THEN s.metadata || %(metadata)s::jsonb ELSE s.metadata END
FROM unnest(%(keys)s::text[], %(modalities)s::text[]) AS l (key, modality)
WHERE s.source = %(source)s AND s.source_key = %(base)s || l.key
"""
_NOTE = """
INSERT INTO attached_objects AS o (attachment_id, key, size, etag, modified_at)
SELECT %(attachment)s, l.* FROM unnest(%(keys)s::text[], %(sizes)s::bigint[], %(etags)s::text[],
    %(modified)s::timestamptz[]) AS l (key, size, etag, modified_at)
ORDER BY l.key COLLATE "C"
ON CONFLICT (attachment_id, key) DO UPDATE SET size = excluded.size, etag = excluded.etag,
    modified_at = excluded.modified_at
"""


def compare(
    connection: Connection,
    attached: Attached,
    seen: list[Seen],
    report: LocationReport,
    *,
    adds: bool = True,
) -> bool:
    """Have the source items of what is listed say what it says; whether all of them do now.

    Args:
        connection: outside a transaction.
        adds: whether what is new may be added yet: it may be what something else is called now.
    """
    given = {"metadata": json.dumps(dict(attached.metadata)), "notes": NOTES, **of(attached)}
    by_key = {one.key: one for one in seen}
    states: dict[str, list[Seen]] = defaultdict(list)
    ids: dict[str, list[int]] = defaultdict(list)
    for key, source_id, state, told_otherwise in connection.execute(
        _STATES, given | parameters(seen)
    ).fetchall():
        states[state].append(by_key[key])
        ids[state].append(source_id)
        if told_otherwise:
            states["told otherwise"].append(by_key[key])
    piecewise(connection, ids["replaced"], lambda some: reopen(connection, some, changed=True))
    piecewise(connection, ids["changed"], lambda some: reopen(connection, some))
    report.changed += len(ids["replaced"]) + len(ids["changed"])
    done = [*states["replaced"], *states["changed"], *states["unseen"]]
    if adds:
        _add(connection, attached, states["new"], report)
        _tell(connection, given, states["told otherwise"])
        done += states["new"]
    if done:
        note(connection, attached, done)
    return adds or not (states["new"] or states["told otherwise"])


def note(connection: Connection, attached: Attached, seen: list[Seen]) -> None:
    """Note what was seen, so that the next sync compares by it."""
    connection.execute(_NOTE, of(attached) | parameters(seen))


def of(attached: Attached) -> dict[str, Any]:
    """Of statements about an attached location."""
    return {"attachment": attached.id, "source": attached.source, "base": attached.base}


def _add(
    connection: Connection, attached: Attached, seen: list[Seen], report: LocationReport
) -> None:
    rows = (
        NewSource(
            attached.source,
            attached.base + one.key,
            one.modality,
            attached.base + one.key,
            attached.metadata,
            row_key=one.key,
        )
        for one in seen
    )
    added = add(connection, rows, AddReport())
    report.added += added.added
    report.problems += added.errors


def _tell(connection: Connection, given: Mapping[str, Any], seen: list[Seen]) -> None:
    if seen:
        connection.execute(_TELL, {**given, **parameters(seen)})
