"""A word to people whose own rows are about to be embedded by the demonstration's model."""

from collections.abc import Callable

from pipeline.demo.manifest import MODEL, SOURCE
from pipeline.postgres.connections import Connection
from pipeline.settings import DEFAULT_MODEL

_WAITING = """
SELECT name FROM embedding_spaces AS space
WHERE model = %(model)s
    AND CASE WHEN %(space)s::text IS NULL THEN state = 'active' ELSE name = %(space)s END
    AND EXISTS (
        SELECT FROM ingest_jobs AS job JOIN source_items AS item ON item.id = job.source_id
        WHERE job.space_id = space.id AND job.state <> 'failed' AND item.source <> %(source)s
    )
"""


def warn_of_demo_model(
    connection: Connection, note: Callable[[str], None], space: str | None = None
) -> None:
    """One line where rows that are not the demonstration's wait for the demonstration's model.

    Silent once they are embedded: the person has been told, and a scheduled run with nothing to do
    has nothing to say.

    Args:
        space: the name of the space to be filled; None: the active one.
    """
    values = {"model": MODEL, "space": space, "source": SOURCE}
    found = connection.execute(_WAITING, values).fetchone()
    if found is not None:
        note(
            f"warning: your rows wait for the demonstration's model (the space {found[0]}), which "
            "knows drawings only; for photographs first `pipeline space create photos --model "
            f"{DEFAULT_MODEL}`, then `pipeline space build photos` and `pipeline space activate "
            "photos`"
        )
