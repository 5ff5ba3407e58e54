"""Attached tables where our functions go: no trigger of ours may stay on them to call one."""

import logging
import shlex

from pipeline.errors import DatabaseError
from pipeline.postgres.connections import Connection, fetch_one

logger = logging.getLogger(__name__)


def end_attachments(connection: Connection, *, for_good: bool) -> None:
    """Leave no trigger of ours on the tables of users, within the transaction that is open.

    Where all of ours goes, each is detached; where a newer release is only taken back, that is
    refused, since nobody said that its items are to go.

    Raises:
        DatabaseError: there are attached tables, and not all of ours goes.
        psycopg.Error: one cannot be detached by this login, or while something needs its views.
    """
    (is_there,) = fetch_one(
        connection.execute("SELECT to_regclass('attached_sources') IS NOT NULL")
    )
    if not is_there:
        return
    names = [
        name
        for (name,) in connection.execute(
            "SELECT name FROM attached_sources WHERE relation IS NOT NULL ORDER BY id"
        )
    ]
    if names and not for_good:
        first = "; ".join(f"pipeline detach {shlex.quote(name)} --keep-items" for name in names)
        raise DatabaseError(
            f"tables are attached ({', '.join(names)}), and an older release does not know how to "
            f"follow them: {first}"
        )
    for name in names:
        connection.execute("SELECT detach_source(%s, keep_items => true)", (name,))
        logger.warning("%s is detached: its table is as it was before it was attached", name)
