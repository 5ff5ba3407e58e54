"""One item: what it is, where it comes from, what lies around it."""

from collections.abc import Sequence

from pipeline.postgres.connections import Connection
from pipeline.search.item import Item, item
from pipeline.web.faults import PageError

MOST_PARTS = 60
MOST_LABELS = 12
# From this similarity on two items of one modality are all but the same.
DUPLICATE = 0.97


def item_of_page(connection: Connection, number: int, source: int | None = None) -> Item:
    """An item that this login sees.

    Args:
        source: the source item that it was of when the link to it was made. Items end with their
            space, source items do not.

    Raises:
        PageError: 404: there is none; with the item that its source item has now.
    """
    found = item(connection, number)
    if found is not None:
        return found
    message, today = f"There is no item {number}.", _of_source(connection, source)
    if today is None:
        raise PageError(404, message, "It may have gone, or be another's.")
    raise PageError(
        404,
        message,
        f"Its source item {source} is item {today} now: items have other numbers in another space.",
        see=f"/items/{today}?of={source}",
    )


def _of_source(connection: Connection, source: int | None) -> int | None:
    row = connection.execute(
        "SELECT id FROM multimodal_items WHERE source_id = %s ORDER BY part LIMIT 1", (source,)
    ).fetchone()
    return row[0] if row else None


def siblings(connection: Connection, found: Item) -> list[tuple[int, int]]:
    """The parts of its source item, itself included: (part, number of the item)."""
    return connection.execute(
        "SELECT part, id FROM multimodal_items WHERE source_id = %s AND modality = %s "
        "ORDER BY part LIMIT %s",
        (found.source_id, found.modality, MOST_PARTS),
    ).fetchall()


def labelled(connection: Connection, number: int, labels: Sequence[str]) -> list[tuple[str, float]]:
    """Which of the labels fits an item how well, best first: zero-shot, their sum is 1."""
    return connection.execute(
        "SELECT label, probability FROM classify_items(%s, template => '{}', items => %s) "
        "ORDER BY rank",
        (list(labels), [number]),
    ).fetchall()


def labels_of(text: str) -> list[str]:
    """Labels as somebody types them, between commas.

    Raises:
        PageError: 400: there are too many.
    """
    labels = list(dict.fromkeys(label.strip() for label in text.split(",") if label.strip()))
    if len(labels) > MOST_LABELS:
        raise PageError(400, f"There are {len(labels)} labels; at most {MOST_LABELS} are compared.")
    return labels
