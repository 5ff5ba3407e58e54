"""One run of ingestion: the space, its own model, the intake and a worker, put together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from pipeline import spaces
from pipeline.ingest import load_first
from pipeline.ingest.report import IngestReport
from pipeline.modalities import MODALITIES
from pipeline.postgres.connections import Connection, open_database, resolve_url
from pipeline.queue import claims
from pipeline.settings import Settings
from pipeline.sources import source_items
from pipeline.spaces import IndexProgress, Space
from pipeline.spaces.index.watched import Indexing, ignore

if TYPE_CHECKING:
    from pipeline.ingest.worker import Worker


def find_space(connection: Connection, name: str | None) -> Space:
    """The named space, else the active one."""
    return spaces.get_space(connection, name) if name else spaces.active_space(connection)


@dataclass(frozen=True)
class IngestListener:
    """Whom to tell how a run goes.

    Attributes:
        starting: the worker and the rows due, before it runs.
        progress: the report, after every write.
        loading_first: the rows due, where they are loaded before the space is indexed.
        indexing: the build of the indexes, before it begins.
        indexed: how far the build is.
    """

    starting: Callable[["Worker", int], None] = ignore
    progress: Callable[[IngestReport], None] = ignore
    loading_first: Callable[[int], None] = ignore
    indexing: Callable[[Indexing], None] = ignore
    indexed: Callable[[IndexProgress], None] = ignore


def ingest(
    settings: Settings,
    *,
    space_name: str | None = None,
    once: bool = True,
    limit: int | None = None,
    listener: IngestListener | None = None,
) -> IngestReport:
    """Embed what is due. With nothing due and ``once`` no model is loaded and no torch imported.

    A large backlog for an empty active space is loaded before the space's index is built, see
    ``pipeline.ingest.load_first``.

    Args:
        space_name: the space to fill; None: the active one.

    Raises:
        PipelineError: no space, a model that differs from the space's, a database that stays away.
    """
    listener = listener or IngestListener()
    with open_database(settings) as connection:
        space = find_space(connection, space_name)
        claims.sweep(connection, settings.max_attempts)
        due = claims.counts(connection, space.id).due
        due = due if limit is None else min(due, limit)
        if load_first.take_off_index(connection, space, due, settings):
            listener.loading_first(due)
        lacks_index = load_first.lacks_index(connection, space)

    def build_index() -> None:
        indexing = Indexing(settings, space, progress=listener.indexed)
        listener.indexing(indexing)
        indexing.run()

    if once:
        report = IngestReport(space.name)
        if due:
            report = _work(settings, space, due, listener, limit=limit)
        if lacks_index:
            report.seconds_indexing = load_first.index_now(settings, space, build_index)
    elif lacks_index:
        with load_first.index_beside(settings, space, build_index):
            report = _work(settings, space, due, listener, once=False, limit=limit)
    else:
        report = _work(settings, space, due, listener, once=False, limit=limit)
    if report.items:
        with open_database(settings) as connection:
            _refresh_statistics(connection, space, report.items)
    return report


def _work(
    settings: Settings,
    space: Space,
    due: int,
    listener: IngestListener,
    *,
    once: bool = True,
    limit: int | None,
) -> IngestReport:
    """One worker with the space's own model, from its first claim to its last."""
    # Late: torch, NumPy and the decoders, which a run with nothing to do must not pay for.
    from pipeline.embedders.openclip.embedder import MultimodalEmbedder
    from pipeline.ingest.worker import Worker
    from pipeline.loaders import Loader
    from pipeline.modalities.image.decoder import ImageDecoder
    from pipeline.modalities.image.fitting import Fit
    from pipeline.spaces import probes

    embedder = MultimodalEmbedder(
        space.model,
        device=settings.device,
        precision=space.precision,
        batch_size=settings.batch_size,
    )
    with open_database(settings) as connection:
        spaces.check_model(space, embedder.description)
        probes.verify(connection, space, embedder)
        roots = source_items.media_roots(connection)
    settings = settings.model_copy(update={"batch_size": embedder.batch_size})
    size = embedder.description
    # The decoders resize as well: small pictures in the queues instead of whole ones.
    fit = Fit(*size.image_size, size.resize_mode, size.interpolation, size.fill_color)
    with Loader(settings, roots) as loader, ImageDecoder(settings, fit) as decoder:
        worker = Worker(
            resolve_url(settings),
            space,
            embedder,
            loader.load,
            decoder.decode,
            settings,
            once=once,
            limit=limit,
            progress=listener.progress,
        )
        listener.starting(worker, due)
        return worker.run()


def _refresh_statistics(connection: Connection, space: Space, added: int) -> None:
    """Counts and mean vectors, which ranking across modalities needs, and the planner's own
    statistics, without which it may pass the index by; not for every trickle.

    They are read off the whole table, so they are taken anew when they have grown stale: a
    twentieth more items than they know of, or a day.
    """
    row = connection.execute(
        """
        SELECT coalesce(sum(item_count), 0),
            coalesce(min(measured_at) < now() - interval '1 day', true)
        FROM space_modalities WHERE space_id = %s
        """,
        (space.id,),
    ).fetchone()
    assert row is not None
    known, is_old = row
    if is_old or added * 20 >= known:
        connection.execute("SELECT refresh_space_statistics(%s)", (space.name,))
        for modality in MODALITIES:
            # A role that may not is told so by a WARNING; autovacuum does it later anyway.
            connection.execute(sql.SQL("ANALYZE {}").format(space.table(modality)))
