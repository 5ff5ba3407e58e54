"""The pages of a listing, kept until it is whole: one that was interrupted goes on behind them."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from psycopg.errors import UniqueViolation, UntranslatableCharacter

from pipeline.errors import DatabaseError
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.sources.locations.listing import Page, Seen
from pipeline.sources.locations.location import Attached, LocationReport

# What is older may say too little of what is there now to be worth going on with.
FRESH = "1 day"


@dataclass(frozen=True, slots=True)
class Begun:
    """Where a listing stands.

    Attributes:
        pages: that are kept.
        after: the last key that was listed; None: none was.
        listed: how many are meant of what was listed.
    """

    pages: int
    after: str | None
    listed: int


def begin(connection: Connection, attached: Attached) -> Begun:
    """Where the listing that was interrupted goes on, if that was lately; else at its beginning."""
    row = fetch_one(
        connection.execute(
            """
            SELECT count(*), (array_agg(p.last_key ORDER BY p.page DESC))[1],
                coalesce(sum(cardinality(p.keys)), 0),
                coalesce(min(p.listed_at) > now() - %s::interval AND max(p.page) = count(*) - 1,
                    true)
            FROM attached_listing_pages AS p WHERE p.attachment_id = %s
            """,
            (FRESH, attached.id),
        )
    )
    if not row[3]:
        forget(connection, attached)
        return Begun(0, None, 0)
    # As bytes, since a file's name need not be a text.
    return Begun(row[0], None if row[1] is None else os.fsdecode(row[1]), int(row[2]))


def parameters(seen: list[Seen]) -> dict[str, Any]:
    """Of statements that take files or objects as arrays."""
    return {
        "keys": [one.key for one in seen],
        "modalities": [one.modality for one in seen],
        "sizes": [one.size for one in seen],
        "etags": [one.etag for one in seen],
        "modified": [one.modified for one in seen],
    }


_KEEP = """
INSERT INTO attached_listing_pages
    (attachment_id, page, last_key, keys, modalities, sizes, etags, modified)
SELECT %(attachment)s, %(page)s, %(last_key)s, %(keys)s::text[], %(modalities)s::text[],
    %(sizes)s::bigint[], %(etags)s::text[], %(modified)s::text[]
WHERE %(page)s = 0 OR EXISTS (
    SELECT FROM attached_listing_pages AS p WHERE p.attachment_id = %(attachment)s
      AND p.page = %(page)s - 1 AND p.last_key = %(after)s)
"""


def keep(
    connection: Connection, attached: Attached, number: int, after: str | None, page: Page
) -> None:
    """Keep the page that follows those behind which the listing went on.

    Raises:
        DatabaseError: another listing of the same location kept pages meanwhile, or is through; one
            of a release that takes no turns.
    """
    given = {
        "attachment": attached.id,
        "page": number,
        "after": None if after is None else os.fsencode(after),
        "last_key": os.fsencode(page.last_key),
        **parameters(page.seen),
    }
    try:
        kept = connection.execute(_KEEP, given).rowcount
    except UniqueViolation:
        kept = 0
    if not kept:
        raise _somebody_else(attached)


def check_are_kept(connection: Connection, attached: Attached, count: int) -> None:
    """Before anything is done by what is not among the pages.

    Raises:
        DatabaseError: they are not as many any more, since a release that takes no turns syncs the
            location as well.
    """
    (kept,) = fetch_one(
        connection.execute(
            "SELECT count(*) FROM attached_listing_pages WHERE attachment_id = %s", (attached.id,)
        )
    )
    if kept != count:
        raise _somebody_else(attached)


def _somebody_else(attached: Attached) -> DatabaseError:
    return DatabaseError(
        f"{attached.name} is being synced by somebody else as well; run this when that is over"
    )


def kept_pages(
    connection: Connection, attached: Attached, numbers: Iterable[int]
) -> Iterator[list[Seen]]:
    """Those of the listing that have these numbers, one at a time."""
    for number in numbers:
        row = fetch_one(
            connection.execute(
                """
                SELECT keys, modalities, sizes, etags, modified FROM attached_listing_pages
                WHERE attachment_id = %s AND page = %s
                """,
                (attached.id, number),
            )
        )
        yield [Seen(*one) for one in zip(*row, strict=True)]


def storable(
    connection: Connection, attached: Attached, seen: list[Seen], report: LocationReport
) -> list[Seen]:
    """Those whose keys the database's encoding has; the others are told."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding == "UTF8":
        return seen
    try:
        connection.execute("SELECT %s::text[]", ([one.key for one in seen],))
    except UntranslatableCharacter:
        if len(seen) == 1:
            report.problems.append(
                f"{attached.base}{seen[0].key}: it has a character that the database's encoding, "
                f"{encoding}, lacks; rename it, or use a database with ENCODING 'UTF8'"
            )
            return []
        middle = len(seen) // 2
        halves = (seen[:middle], seen[middle:])
        return [one for some in halves for one in storable(connection, attached, some, report)]
    return seen


def forget(connection: Connection, attached: Attached) -> None:
    """Let the next listing begin anew."""
    connection.execute(
        "DELETE FROM attached_listing_pages WHERE attachment_id = %s", (attached.id,)
    )
