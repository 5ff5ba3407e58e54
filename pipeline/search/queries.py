"""Who gives a query its vector: the cache, a running ``pipeline serve``, else a model of our own.

One door for whoever searches from Python. A model that this process has in memory already is used
before anybody is asked; loading one, which takes seconds and gigabytes, is the last thing tried.
"""

import logging
import threading
from collections.abc import Callable

from pipeline import modalities, spaces
from pipeline.embedders import Embedder
from pipeline.errors import MissingExtra, ModelError
from pipeline.modalities import IMAGE, TEXT, Decoded, Modality, ReadOptions
from pipeline.postgres.connections import Connection
from pipeline.postgres.pool import Pool, run, take
from pipeline.postgres.session import takes_no_writes
from pipeline.search import asking, query_vectors
from pipeline.search.asking import Unanswered
from pipeline.search.query_encoding import embed_query, encoder_for
from pipeline.spaces import Space, probes
from pipeline.spaces.late import late_modalities, proved_later
from pipeline.spaces.opening import load_model
from pipeline.vectors import Vectors

logger = logging.getLogger(__name__)


class Queries:
    """Vectors of texts, files and decoded content in the active space. Threads may share it.

    Args:
        pool: the database, for a moment at a time.
        embedder: the active space's model, if the caller has it loaded already.
        device: where a model of our own is loaded.
        options: what a file may take that is decoded here.
        seconds: to wait for whoever serves; None: ``asking.WAIT_SECONDS``.
        note: told, in a sentence, when something is done here that takes long.
    """

    def __init__(
        self,
        pool: Pool,
        embedder: Embedder | None = None,
        *,
        device: str = "auto",
        options: ReadOptions | None = None,
        seconds: float | None = None,
        note: Callable[[str], None] = logger.info,
    ) -> None:
        self._pool = pool
        self._given = embedder
        self._device = device
        self._options = options or ReadOptions()
        self._seconds = seconds
        self._note = note
        self._loading = threading.Lock()
        self._model: tuple[Space, Embedder] | None = None

    def of_text(self, text: str) -> Vectors:
        """The unit vector (D,) of a text.

        Raises:
            RowError: it is no text that can be embedded.
            ConfigurationError, DatabaseError: as ``asking.ask_for_texts``.
            ModelError, MissingExtra: nobody serves, and there is no model here either.
        """
        decoded = TEXT.decode(text.encode("utf-8", "surrogatepass"), ReadOptions())
        asked = query_vectors.asked(text)
        can_ask = len(asked.encode()) <= asking.MOST_BYTES and run(
            self._pool, lambda connection: query_vectors.can_hold(connection, asked)
        )
        if can_ask and (found := take(self._pool, asking.known_here([asked]))) is not None:
            known: Vectors = found[0]
            return known

        def ask() -> Vectors:
            if not can_ask:
                raise Unanswered("`pipeline serve` takes no text as long or as strange as this one")
            (vector,) = take(self._pool, asking.ask_for_texts([asked], self._seconds))
            answer: Vectors = vector
            return answer

        def embed(space: Space, model: Embedder) -> Vectors:
            vector = embed_query(model, TEXT, decoded)
            if can_ask:
                run(self._pool, lambda connection: self._keep(connection, space, asked, vector))
            return vector

        return self._answer(ask, embed)

    def _keep(self, connection: Connection, space: Space, text: str, vector: Vectors) -> None:
        if query_vectors.is_open(connection):
            query_vectors.store(connection, space.id, text, vector)
        elif takes_no_writes(connection):
            self._note(
                "the text was embedded here, since the database takes no writes; nothing is kept"
            )

    def of_file(self, data: bytes, told: str | None = None) -> tuple[Vectors, Modality]:
        """The unit vector (D,) of a file's bytes, and what they are.

        Args:
            told: the modality that they are to be taken for; None: by what they begin with.

        Raises:
            RowError: it cannot be decoded.
            ConfigurationError, DatabaseError: as ``asking.ask_for_file``.
            ModelError, MissingExtra: nobody serves, and there is no model here either.
        """
        space = self.space()
        modality = seems = _seems(data, space)
        if told is not None:
            modality = modalities.get(told)
        if modality.name not in space.embeds:
            raise ModelError(
                f"the model {space.model} has no encoder for {modality.name} queries; it has: "
                f"{', '.join(space.embeds)}"
            )

        def ask() -> Vectors:
            if modality is not seems:
                raise Unanswered(f"`pipeline serve` takes this file for {seems.name}")
            return take(self._pool, asking.ask_for_file(data, self._seconds))

        def embed(space: Space, model: Embedder) -> Vectors:
            with modality.reader(encoder_for(model, modality), self._options) as reader:
                return embed_query(model, modality, reader.decode(data))

        return self._answer(ask, embed), modality

    def of_decoded(self, modality: Modality, decoded: Decoded) -> Vectors:
        """The unit vector (D,) of content in memory, such as a PIL image.

        Raises:
            RowError: it cannot be prepared.
            ConfigurationError, DatabaseError: as ``asking.ask_for_file``.
            ModelError, MissingExtra: nobody serves, and there is no model here either.
        """

        def ask() -> Vectors:
            data = modality.to_bytes(decoded)
            if data is None:
                raise Unanswered(f"`pipeline serve` takes no {modality.name} that is no file")
            return take(self._pool, asking.ask_for_file(data, self._seconds))

        return self._answer(ask, lambda space, model: embed_query(model, modality, decoded))

    def _answer(
        self, ask: Callable[[], Vectors], embed: Callable[[Space, Embedder], Vectors]
    ) -> Vectors:
        space = self.space()
        if (model := self._loaded(space)) is not None:
            return embed(space, model)
        try:
            return ask()
        except Unanswered as why:
            return embed(space, self.model(space, str(why)))

    def space(self) -> Space:
        """The active space; asked anew each time, since it may change under a running process."""
        return run(self._pool, spaces.active_space)

    def _loaded(self, space: Space) -> Embedder | None:
        """The model of the space, if this process has it."""
        if self._model is None and self._given is not None:
            self._model = (space, self._given)
        if self._model is not None and self._model[0].id == space.id:
            return self._model[1]
        return None

    def model(self, space: Space, why: str) -> Embedder:
        """The model of the space, loaded into this process if it is not there.

        Args:
            why: nobody else embeds, in words.

        Raises:
            ModelError: it cannot be loaded, or gives other vectors than the space's.
            MissingExtra: nothing here can load one.
        """
        with self._loading:
            if (model := self._loaded(space)) is not None:
                return model
            self._note(f"{why}: loading the model here; `pipeline serve` would answer at once")
            try:
                model = load_model(space, device=self._device)
            except MissingExtra as exc:
                what, extra, _ = exc.args
                raise MissingExtra(
                    f"{why}, and {what}", extra, "start `pipeline serve` where that is installed"
                ) from exc
            late = late_modalities(model)
            left = run(self._pool, lambda connection: probes.verify(connection, space, model, late))
            proved = proved_later(space, model, left)
            self._model = (space, proved)
            return proved


def _seems(data: bytes, space: Space) -> Modality:
    """What a file is by its beginning: of what the space embeds, else of all; else an image."""
    return (
        modalities.sniffed(data, space.embeds)
        or modalities.sniffed(data, modalities.known_names())
        or IMAGE
    )
