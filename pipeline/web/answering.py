"""A ``pipeline serve`` in a thread of this process, where nobody else serves.

So the statement that a page shows finds the vector of its text in psql as well.
"""

import logging
import threading
from collections.abc import Callable

import psycopg

from pipeline.embedders import Embedder
from pipeline.errors import PipelineError
from pipeline.postgres.connections import fetch_one
from pipeline.postgres.database import Database
from pipeline.postgres.rights import SERVE
from pipeline.search.serve import QueryServer, ServeOptions
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.spaces.opening import open_model

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 10.0
LONGEST_WAIT = 60.0


class Answering:
    """Serves from :meth:`start` until :meth:`stop`, and looks again where it cannot yet.

    Args:
        note: told in a sentence what takes long, and why nobody serves.
    """

    def __init__(self, database: Database, settings: Settings, note: Callable[[str], None]) -> None:
        self._database = database
        self._settings = settings
        self._note = note
        self._server: QueryServer | None = None
        self._stopping = threading.Event()
        self._settled = threading.Event()
        self._said = ""
        self._thread = threading.Thread(target=self._run, name="answering")

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def wait(self) -> None:
        """Until it serves or knows that it does not, or it takes too long."""
        self._settled.wait(LONGEST_WAIT)

    def is_settled(self) -> bool:
        """Whether it serves, or knows that it does not."""
        return self._settled.is_set()

    def stop(self) -> None:
        """Answer what is claimed, and end."""
        self._stopping.set()
        if self._server is not None:
            self._server.stop()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._serve()
            except (PipelineError, psycopg.Error) as exc:
                self._tell(f"queries are not answered here: {exc}")
            except Exception:
                logger.exception("answering queries failed")
            self._settled.set()
            self._stopping.wait(AGAIN_SECONDS)

    def _serve(self) -> None:
        with self._database.open("pipeline web", needs=SERVE) as connection:
            row = fetch_one(
                connection.execute(
                    "SELECT coalesce(bool_or(is_served(id)), false) FROM embedding_spaces "
                    "WHERE state = 'active'"
                )
            )
        if row[0]:
            self._tell("queries are answered by the `pipeline serve` that runs")
            return

        def load(space: Space) -> Embedder:
            self._note(f"loading the model {space.model}")
            return open_model(self._database, space, device=self._settings.device)

        self._server = QueryServer(
            self._database.url,
            load,
            ServeOptions.of(self._settings, self._database.schema),
            serving=self._on_serving,
        )
        if not self._stopping.is_set():
            self._server.run()

    def _on_serving(self, space: Space) -> None:
        self._settled.set()
        self._note(f"queries are answered here, in the space {space.name}")

    def _tell(self, sentence: str) -> None:
        if sentence != self._said:
            self._said = sentence
            self._note(sentence)
