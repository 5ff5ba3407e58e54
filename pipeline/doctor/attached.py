"""Whether what is attached is followed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from shlex import quote

from psycopg.rows import class_row

from pipeline.doctor.attached_slots import slots
from pipeline.doctor.attached_triggers import triggers
from pipeline.doctor.check import Check
from pipeline.postgres.connections import Connection
from pipeline.postgres.rights import may

# What a sync leaves out; see unreadable_rows.sql.
_UNREADABLE = re.compile(r"(a row|\d+ rows) cannot be read: ")

_STATE = """
SELECT a.id, a.name, coalesce(a.relation::text, a.location) AS of, a.capture,
    a.relation IS NOT NULL AND c.oid IS NULL AS is_gone,
    quote_ident(pg_get_userbyid(c.relowner)) AS owner, lacking.of_owner AS lacking,
    'source_items'::regclass::text AS table_of_ours,
    EXISTS (SELECT FROM pg_roles WHERE rolname = 'pipeline_ingest') AS has_roles,
    problems.latest AS problem, problems.since, now() AS now, a.synced_at, overdue.every
FROM attached_sources AS a
LEFT JOIN pg_class AS c ON c.oid = a.relation
CROSS JOIN LATERAL (
    SELECT string_agg(p, ', ') AS of_owner
    FROM unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) AS p
    WHERE NOT has_table_privilege(c.relowner, 'source_items', p)) AS lacking
CROSS JOIN LATERAL (
    SELECT (array_agg(p.problem ORDER BY p.id DESC))[1] AS latest, min(p.noted_at) AS since
    FROM attached_source_problems AS p WHERE p.attachment_id = a.id) AS problems
LEFT JOIN LATERAL (
    -- Of one that is to be looked at every so often, and was not for three times as long.
    SELECT make_interval(secs => e.every) AS every
    FROM (SELECT (a.definition ->> 'every_seconds')::double precision) AS e (every)
    WHERE coalesce(a.synced_at, a.attached_at) < now() - make_interval(secs => 3 * e.every)
) AS overdue ON true
ORDER BY a.name
"""


@dataclass(frozen=True, slots=True)
class _State:
    """Of one that is attached; what is null is well."""

    id: int
    name: str
    of: str
    capture: str
    is_gone: bool
    owner: str | None
    lacking: str | None
    table_of_ours: str
    has_roles: bool
    problem: str | None
    since: datetime | None
    now: datetime
    synced_at: datetime | None
    every: timedelta | None


def attached(connection: Connection) -> Iterator[Check]:
    if not may(connection, "attached_sources", "SELECT"):
        return  # for who may read what is attached
    with connection.cursor(row_factory=class_row(_State)) as cursor:
        states = cursor.execute(_STATE).fetchall()
    for state in states:
        found = list(_faults(connection, state))
        yield from found
        if not found:
            yield Check(_name(state), True, f"follows {state.of}")
    yield from slots(connection)


def _name(state: _State) -> str:
    return f"attached {state.name}"


def _faults(connection: Connection, state: _State) -> Iterator[Check]:
    if state.is_gone:
        yield Check(
            _name(state),
            False,
            "its table is gone, and its source items are still there",
            f"pipeline detach {quote(state.name)}",
        )
        return
    if state.lacking:
        yield Check(
            _name(state),
            False,
            f"{state.owner}, who owns {state.of}, may not {state.lacking} on source_items, so that "
            "nothing is followed",
            f"GRANT pipeline_ingest TO {state.owner}"
            if state.has_roles
            else f"GRANT {state.lacking} ON {state.table_of_ours} TO {state.owner}",
        )
    yield from triggers(connection, state.id, state.name)
    for problem, cure in connection.execute(
        "SELECT problem, cure FROM attached_standing(%s)", (state.id,)
    ):
        yield Check(_name(state), False, problem, cure or f"pipeline sync {quote(state.name)}")
    if state.problem is not None and state.since is not None:
        said = f"needs a sync for {_told(state.now - state.since)}: {state.problem}"
        yield Check(_name(state), False, said, _cure(state.problem, state.name))
    elif state.every is not None:
        last = "never" if state.synced_at is None else f"{_told(state.now - state.synced_at)} ago"
        yield Check(
            _name(state),
            False,
            f"is to be looked at every {_told(state.every)}, and was {last}",
            "pipeline sync --watch",
        )


def _cure(problem: str, name: str) -> str:
    again = f"pipeline sync {quote(name)}"
    if _UNREADABLE.match(problem):
        return f"change the row, or detach and attach with other expressions; then {again}"
    return again


def _told(time: timedelta) -> str:
    """Roughly, in the largest unit of which there is a whole one."""
    seconds = int(time.total_seconds())
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{max(seconds, 0)} seconds"
