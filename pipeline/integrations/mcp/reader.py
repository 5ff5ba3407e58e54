"""What the tools read, with the rights of the login: its policies of row-level security hold."""

from contextlib import ExitStack
from functools import partial
from typing import Self

from pipeline import modalities
from pipeline.client.client import Client
from pipeline.client.query import Query
from pipeline.errors import PermanentRowError, RowError
from pipeline.integrations.mcp.answers import (
    Counts,
    InModality,
    InSpace,
    Match,
    Queue,
    WholeItem,
    match_of,
    whole_item,
)
from pipeline.postgres.connections import Connection
from pipeline.postgres.database import Database
from pipeline.postgres.pool import DatabasePool
from pipeline.postgres.reading import Reading
from pipeline.postgres.steps import on
from pipeline.queue.status import ingest_status, may_know_counts
from pipeline.references import is_data
from pipeline.search import retrieve
from pipeline.search.item import Item, item
from pipeline.search.item_image import ItemImage, item_image
from pipeline.search.retrieve import Wanted
from pipeline.search.thumbnails import Thumbnails
from pipeline.settings import Settings
from pipeline.sources.media_roots import known_media_roots

PURPOSE = "pipeline mcp"
CONNECTIONS = 4
SIDE = 512  # pixels of the longer side of an image
# Of each modality so many are counted.
MOST_COUNTED = 100_000

_COUNTED = """
SELECT m.modality, (
    SELECT count(*) FROM (
        SELECT FROM multimodal_items AS i WHERE i.modality = m.modality LIMIT %s
    ) AS seen)
FROM embedding_spaces AS e JOIN space_modalities AS m ON m.space_id = e.id
WHERE e.state = 'active'
"""
_SPACES = (
    "SELECT name, state, model, state = 'active' AND is_served(id) FROM embedding_spaces "
    "ORDER BY id"
)


class Reader:
    """Searches, and reads in transactions that change nothing. Threads may share it.

    What a client asks of ``pipeline serve`` is all that is ever left in the database.

    Raises:
        DatabaseError: there is no database that can be read.
    """

    def __init__(self, settings: Settings) -> None:
        database = Database.of(settings)
        with ExitStack() as opened:
            pool = DatabasePool(database, PURPOSE, CONNECTIONS)
            opened.callback(pool.close)
            # The login's own rights: policies may be about it, and nothing is written anyway.
            self._reading = Reading(pool, lowers=False)
            self._client = opened.enter_context(
                Client(settings=settings, connections=CONNECTIONS, purpose=PURPOSE)
            )
            find_roots = partial(known_media_roots, database, PURPOSE)
            self._thumbnails = opened.enter_context(Thumbnails(settings, find_roots, SIDE))
            self._open = opened.pop_all()

    def search(self, query: Query, of: Wanted) -> list[Match]:
        """The items nearest to a query, best first.

        Raises:
            PipelineError, psycopg.Error: the query has no vector, or an argument is none.
        """
        probe = self._client.probe(query)
        found = self._reading.read(lambda connection: on(connection, retrieve.items(probe, of)))
        return [match_of(one) for one in found]

    def content(self, image: str) -> bytes:
        """The file that somebody searches by, of base64 or a ``data:`` URI.

        Raises:
            RowError: it is neither, or too large. A path or a URL is neither.
        """
        reference = image if is_data(image) else f"data:;base64,{image}"
        try:
            return self._thumbnails.load(reference).data
        except PermanentRowError as exc:
            hint = "give a file's bytes in base64, or a data: URI; no path or URL is opened"
            raise PermanentRowError(exc.code, f"{exc.message}; {hint}") from exc

    def item(self, number: int, *, with_image: bool) -> tuple[WholeItem, bytes | None] | None:
        """An item and a WebP of it; None: this login sees no such item."""

        def look(connection: Connection) -> tuple[Item | None, ItemImage | None]:
            return item(connection, number), item_image(connection, number)

        found, image = self._reading.read(look)
        if found is None:
            return None
        small, why = None, "it was not asked for"
        if with_image:
            small, why = self._small(image)
        return whole_item(found, None if small else why), small

    def _small(self, image: ItemImage | None) -> tuple[bytes | None, str]:
        """A WebP, or why there is none."""
        if image is None:
            return None, "it is a text"
        try:
            content = self._thumbnails.load(image.reference)
            small = self._thumbnails.of(image.modality, image.moment, content.data)
        except RowError as exc:
            return None, f"it cannot be read: {exc.code}"
        return small, f"there is none of {image.modality.name}"

    def counts(self) -> Counts:
        """What there is, as far as this login sees it."""
        return self._reading.read(_counts)

    def close(self) -> None:
        """End its connections and processes."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _counts(connection: Connection) -> Counts:
    seen: dict[str, int] = dict(connection.execute(_COUNTED, (MOST_COUNTED + 1,)).fetchall())
    spaces = connection.execute(_SPACES).fetchall()
    return Counts(
        items=[
            InModality(
                modality=name,
                items=min(seen[name], MOST_COUNTED),
                is_at_least=seen[name] > MOST_COUNTED,
            )
            for name in modalities.ordered(seen)
        ],
        spaces=[InSpace(name=name, state=state, model=model) for name, state, model, _ in spaces],
        queue=_queue(connection) if may_know_counts(connection) else None,
        new_queries_are_answered=any(is_served for *_, is_served in spaces),
    )


def _queue(connection: Connection) -> Queue:
    status = ingest_status(connection)
    return Queue(
        pending=sum(one.pending + one.running for one in status),
        failed=sum(one.failed for one in status),
    )
