"""What the small image of an item is made of."""

from dataclasses import dataclass

from pipeline import modalities
from pipeline.modalities import Modality
from pipeline.modalities.moments import Moment, moment_of
from pipeline.postgres.connections import Connection
from pipeline.references import is_data


@dataclass(frozen=True, slots=True)
class ItemImage:
    """Where it is, and whether it is another one than before.

    Attributes:
        moment: which part of its content it is; None: all of it.
        sha256: of the item's content, in hex.
        version: another one whenever the item is written anew.
    """

    modality: Modality
    reference: str
    moment: Moment | None
    sha256: str
    version: str


def item_image(connection: Connection, item: int) -> ItemImage | None:
    """Of an item that this login sees; None: there is no such item, or it is text."""
    row = connection.execute(
        """
        SELECT modality, content_ref, content_sha256, source_id, metadata -> '_pipeline', id,
            embedded_at
        FROM multimodal_items WHERE id = %s
        """,
        (item,),
    ).fetchone()
    modality = None if row is None else modalities.find(row[0])
    if row is None or modality is None or modality.inline:
        return None
    # An item keeps no content of a data: URI; its source item does. It is asked for where it is
    # needed alone: joined, the two take half as long again for each image of a page.
    reference = _of_source(connection, row[3]) or row[1] if is_data(row[1]) else row[1]
    notes = row[4] if isinstance(row[4], dict) else {}
    version = f"{row[5]}-{row[6].timestamp():.6f}"
    return ItemImage(modality, reference, moment_of(notes), bytes(row[2]).hex(), version)


def _of_source(connection: Connection, source_item: int) -> str | None:
    row = connection.execute(
        "SELECT content_ref FROM source_items WHERE id = %s", (source_item,)
    ).fetchone()
    return row[0] if row else None
