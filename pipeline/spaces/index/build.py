"""Building the HNSW indexes of a space while others watch how far it is, and may stop it."""

import threading
from collections.abc import Callable
from typing import Any

import psycopg

from pipeline.errors import DatabaseError
from pipeline.postgres.connections import Connection
from pipeline.postgres.database import Database
from pipeline.postgres.locks import exclusively
from pipeline.spaces.index.graph import Graph, IndexKind
from pipeline.spaces.index.hnsw import IndexProgress, build_indexes, index_progress
from pipeline.spaces.index.rebuild import drop_broken, rebuild_indexes
from pipeline.spaces.space import Space

# Two builds of one space must not index at the same time; the second waits for the first.
INDEX_LOCK = 0x696E6478
POLL_SECONDS = 0.5


def ignore(*_: Any) -> None:
    """For a caller that does not want to hear about it."""


class IndexBuild:
    """One build of the indexes that a space lacks; ``stop`` may be called by a signal handler.

    Args:
        progress: called about twice a second while an index is being built.
        maintenance_memory: see ``build_indexes``.
        parallel_workers: see ``build_indexes``.
        rebuild: put indexes of this graph in the place of those there are; None: only build those
            that are missing.
        kind: what a rebuild is over; None: what they are over.
    """

    def __init__(
        self,
        database: Database,
        space: Space,
        *,
        progress: Callable[[IndexProgress], None] = ignore,
        maintenance_memory: str | None = None,
        parallel_workers: int | None = None,
        rebuild: Graph | None = None,
        kind: IndexKind | None = None,
    ) -> None:
        self._rebuild = rebuild
        self._kind = kind
        self._database = database
        self._space = space
        self._progress = progress
        self._memory = maintenance_memory
        self._workers = parallel_workers
        self._stopped = threading.Event()
        self._error: Exception | None = None

    def stop(self) -> None:
        """Cancel what is being built; what is left behind is replaced by the next build."""
        self._stopped.set()

    def run(self) -> bool:
        """Whether the indexes are whole now; False where it was stopped.

        Raises:
            DatabaseError: the database cannot be reached, or PostgreSQL refuses to build.
        """
        if self._stopped.is_set():
            return False
        with (
            self._database.open("pipeline index") as own,
            self._database.open("pipeline index progress") as watching,
        ):
            thread = threading.Thread(target=self._build, args=(own,), name="index", daemon=True)
            thread.start()
            while thread.is_alive():
                if self._stopped.is_set():
                    own.cancel_safe()
                progress = index_progress(watching, self._space)
                if progress is not None:
                    self._progress(progress)
                thread.join(POLL_SECONDS)
        if self._stopped.is_set() and self._rebuild is not None:
            with self._database.open("pipeline index") as after:
                drop_broken(after, self._space)
        if isinstance(self._error, psycopg.Error):
            raise DatabaseError(
                f"the index of the space {self._space.name!r} could not be built "
                f"({' '.join(str(self._error).split())}); every vector is there: put that right "
                f"and run `pipeline space {self._again} {self._space.name}`"
            ) from self._error
        if self._error is not None:
            raise self._error
        return not self._stopped.is_set()

    def _build(self, connection: Connection) -> None:
        """In a thread with a connection of its own, watched by ``run``."""
        try:
            lock = (INDEX_LOCK << 32) + self._space.id
            with exclusively(connection, lock, stop=self._stopped) as is_held:
                if is_held:
                    self._make(connection)
        except psycopg.errors.QueryCanceled as exc:
            if not self._stopped.is_set():
                self._error = exc
        except Exception as exc:  # raised again in the caller's thread
            self._error = exc

    def _make(self, connection: Connection) -> None:
        resources: dict[str, Any] = {
            "maintenance_memory": self._memory,
            "parallel_workers": self._workers,
        }
        if self._rebuild is None:
            build_indexes(connection, self._space, **resources)
        else:
            rebuild_indexes(connection, self._space, self._rebuild, self._kind, **resources)

    @property
    def _again(self) -> str:
        return "build --no-embed" if self._rebuild is None else "reindex"
