"""Terms become vectors: by whoever serves, or by a model of this process where that may be."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.embedders import Embedder
from pipeline.modalities import TEXT, ReadOptions
from pipeline.postgres.reading import Reading
from pipeline.search import query_vectors
from pipeline.search.queries import Queries
from pipeline.search.query_encoding import embed_query
from pipeline.spaces import Space
from pipeline.tracing import span
from pipeline.vectors import Vectors
from pipeline.web.asked import Term
from pipeline.web.faults import PageError
from pipeline.web.statement import Found

MOST_FILES = 256


class NobodyServes(PageError):  # noqa: N818 (named after what happened)
    """Nothing here gives a query its vector."""

    def __init__(self) -> None:
        super().__init__(503, "Nobody turns queries into vectors now.", "Start `pipeline serve`.")


@dataclass(frozen=True, slots=True)
class QueryFile:
    """A file that somebody searches by; nothing of it is kept but this.

    Attributes:
        space: whose vector (D,) it is.
        image: a small WebP, where it is an image.
    """

    space: int
    vector: Vectors
    modality: str
    image: bytes | None


class QueryFiles:
    """Vectors of the last files that were searched by, under names that nobody can guess."""

    def __init__(self, most: int = MOST_FILES) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._files: OrderedDict[str, QueryFile] = OrderedDict()

    def add(self, file: QueryFile) -> str:
        """Its name."""
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._files[name] = file
            while len(self._files) > self._most:
                self._files.popitem(last=False)
        return name

    def get(self, name: str) -> QueryFile:
        """The file of that name.

        Raises:
            PageError: 410: it is forgotten.
        """
        with self._lock:
            if (file := self._files.get(name)) is None:
                raise PageError(
                    410, "The file of this search is not here any more.", "Drop it here again."
                )
            self._files.move_to_end(name)
            return file


class _OnlyAsking(Queries):
    """For a process that loads no model."""

    def model(self, space: Space, why: str) -> Embedder:
        raise NobodyServes


class Finder:
    """Gives terms their vectors. Threads may share it.

    Attributes:
        files: what was searched by.

    Args:
        loads: whether a model is loaded here where nobody serves.
        device: where.
        wait: until somebody serves who is about to, before anybody is asked.
    """

    def __init__(
        self,
        reading: Reading,
        read: ReadOptions,
        *,
        loads: bool = False,
        device: str = "auto",
        wait: Callable[[], None] = lambda: None,
    ) -> None:
        self.files = QueryFiles()
        self.loads = loads
        self._wait = wait
        kind = Queries if loads else _OnlyAsking
        self._queries = kind(reading, device=device, options=read)
        self._others = kind(reading, device=device, options=read)

    def find(self, terms: Sequence[Term]) -> list[Found]:
        """What each term leads to, in their order.

        Raises:
            PageError, PipelineError: one of them leads nowhere.
        """
        with span("query_vectors"):
            return [self._found(term) for term in terms]

    def _found(self, term: Term) -> Found:
        if term.item is not None:
            return Found(term)
        if term.text:
            self._wait()
            return Found(term, self._queries.of_text(term.text), TEXT.name)
        file = self.files.get(term.file)
        if file.space != self._queries.space().id:
            raise PageError(
                410, "Another embedding space is active since.", "Drop the file here again."
            )
        return Found(term, file.vector, file.modality)

    def of_file(self, data: bytes, image: bytes | None) -> str:
        """The name under which a file can be searched by.

        Raises:
            PageError, PipelineError: it has no vector.
        """
        self._wait()
        space = self._queries.space()
        vector, modality = self._queries.of_file(data)
        return self.files.add(QueryFile(space.id, vector, modality.name, image))

    def of_other(self, own: Reading, space: Space, text: str) -> Vectors:
        """The vector (D,) of a text in a space that is not active: of its cache, else of its model,
        which is loaded here beside the active one's and kept until another space is asked for.

        Args:
            own: for the cache, with the login's own rights.

        Raises:
            PageError, PipelineError: there is none.
        """
        decoded = TEXT.decode(text.encode("utf-8", "surrogatepass"), ReadOptions())
        keeps = own.write(query_vectors.is_open)
        if (
            keeps
            and (known := own.read(lambda c: query_vectors.find(c, space.id, text))) is not None
        ):
            return known
        if not self.loads:
            raise PageError(
                503,
                f"Nothing here turns queries into vectors of the space {space.name}.",
                "`pipeline web --allow-writes` loads its model.",
            )
        model = self._others.model(space, "nobody serves a space that is not active")
        vector = embed_query(model, TEXT, decoded)
        if keeps:
            own.write(lambda c: query_vectors.store(c, space.id, text, vector))
        return vector
