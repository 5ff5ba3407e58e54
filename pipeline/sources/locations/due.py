"""When attached locations were synced, what stood in the way, and which are due."""

from pipeline.postgres.connections import Connection
from pipeline.sources.locations.location import Attached

_DUE = """
SELECT a.name FROM attached_sources AS a
WHERE a.location IS NOT NULL AND a.definition ->> 'every_seconds' IS NOT NULL
  AND coalesce(
    -- One that fails is tried no more often than one that does not.
    greatest(a.synced_at, (
        SELECT max(p.noted_at) FROM attached_source_problems AS p WHERE p.attachment_id = a.id))
    + make_interval(secs => (a.definition ->> 'every_seconds')::double precision) <= now(), true)
ORDER BY a.synced_at NULLS FIRST, a.name
"""


def locations_due(connection: Connection) -> list[str]:
    """The names of the locations whose next look is due, longest waiting first."""
    return [name for (name,) in connection.execute(_DUE)]


def known_problems(connection: Connection, attached: Attached) -> list[int]:
    """Those that a sync which begins now does away with."""
    return [
        number
        for (number,) in connection.execute(
            "SELECT id FROM attached_source_problems WHERE attachment_id = %s", (attached.id,)
        )
    ]


def note_synced(connection: Connection, attached: Attached, problems: list[int]) -> None:
    """Note that all of it was compared, after these problems."""
    with connection.transaction():
        connection.execute("DELETE FROM attached_source_problems WHERE id = ANY (%s)", (problems,))
        connection.execute(
            "UPDATE attached_sources SET synced_at = now() WHERE id = %s", (attached.id,)
        )
