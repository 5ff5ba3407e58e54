"""What a dialect is: how a server is asked for vectors, and how its answers are read."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.modalities import IMAGE, TEXT, Role


class UnreadableAnswer(Exception):  # noqa: N818 - never reaches a caller of the embedder
    """An answer that is not what its dialect promises. Nothing of it is used."""


@dataclass(frozen=True, slots=True)
class RemoteInput:
    """One input as it is sent.

    Attributes:
        text: of a text.
        image: a whole file, PNG or JPEG; empty for a text.
        media_type: such as ``image/png``.
    """

    text: str = ""
    image: bytes = b""
    media_type: str = ""

    @property
    def base64(self) -> str:
        return base64.b64encode(self.image).decode("ascii")

    @property
    def data_uri(self) -> str:
        return f"data:{self.media_type};base64,{self.base64}"

    @property
    def sent_bytes(self) -> int:
        """About what it takes of a request's body."""
        return (len(self.image) + 2) // 3 * 4 if self.image else len(self.text.encode()) + 8


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: inputs of one modality, all as items or all as queries."""

    model: str
    inputs: Sequence[RemoteInput]
    role: Role
    dimensions: int = 0

    @property
    def is_of_images(self) -> bool:
        return bool(self.inputs[0].image)


@dataclass(frozen=True, slots=True)
class Request:
    """Attributes:
    path: appended to the server's address.
    """

    path: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """Attributes:
    vectors: one for each input, in the order of the inputs.
    tokens: that the server counts, None where it does not say.
    """

    vectors: Sequence[Sequence[float]]
    tokens: int | None = None


class Dialect(Protocol):
    """How one kind of server is spoken to. What it limits is looked at before anything is sent.

    Attributes:
        url: of the public server; empty: there is none.
        modalities: that its models may have.
        items: inputs of one request at most.
        tokens: of all texts of one request at most, by our estimate.
        body_bytes: of one request's body at most, images in base64.
        context: tokens of one text, where the spec does not say.
        side: pixels of an image's longer side, where the spec does not say.
        tells_roles: whether a text to search with has another vector than one to be found.
    """

    @property
    def name(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def modalities(self) -> tuple[str, ...]: ...
    @property
    def items(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def body_bytes(self) -> int: ...
    @property
    def context(self) -> int: ...
    @property
    def side(self) -> int: ...
    @property
    def tells_roles(self) -> bool: ...

    def headers(self, key: str) -> Mapping[str, str]:
        """What says who asks; ``key`` may be empty."""

    def request(self, question: Question) -> Request:
        """The body for these inputs."""

    def read(self, answer: Any, count: int) -> Answer:
        """The vectors of ``count`` inputs out of the JSON of an answer.

        Raises:
            UnreadableAnswer: it has other than one vector for each, or is of another form.
        """


@dataclass(frozen=True, slots=True)
class Limits:
    """What most dialects have in common; see :class:`Dialect`."""

    name: str
    url: str = ""
    modalities: tuple[str, ...] = (TEXT.name, IMAGE.name)
    items: int = 32
    tokens: int = 100_000
    body_bytes: int = 16 * 2**20
    context: int = 8_000
    side: int = 1024
    tells_roles: bool = False
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def headers(self, key: str) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {key}"} if key else {}


def by_index(data: Any, count: int) -> list[Sequence[float]]:
    """The embeddings of objects that say which input they are of.

    Raises:
        UnreadableAnswer: one is missing or comes twice.
    """
    found: dict[int, Sequence[float]] = {}
    try:
        for place, one in enumerate(data):
            index = one.get("index", place)
            if type(index) is not int or index in found:
                raise UnreadableAnswer(f"the index {index!r} comes twice or is none")
            found[index] = one["embedding"]
    except (TypeError, KeyError, AttributeError) as exc:
        raise UnreadableAnswer(f"an answer of another form: {type(exc).__name__}") from exc
    if sorted(found) != list(range(count)):
        raise UnreadableAnswer(f"{len(found)} vectors for {count} inputs")
    return [found[n] for n in range(count)]


def in_order(vectors: Any, count: int) -> list[Sequence[float]]:
    """The embeddings of a list that is in the order of the inputs.

    Raises:
        UnreadableAnswer: there are more or fewer.
    """
    if not isinstance(vectors, list) or len(vectors) != count:
        said = len(vectors) if isinstance(vectors, list) else "no list of"
        raise UnreadableAnswer(f"{said} vectors for {count} inputs")
    return vectors


def part_of(answer: Any, *names: str | int) -> Any:
    """What stands in an answer under these names.

    Raises:
        UnreadableAnswer: nothing does.
    """
    for name in names:
        try:
            answer = answer[name]
        except (TypeError, KeyError, IndexError) as exc:
            raise UnreadableAnswer(f"an answer without {name!r}") from exc
    return answer


def tokens_of(answer: Any, *names: str) -> int | None:
    """A number of tokens that an answer may have under these names."""
    for name in names:
        answer = answer.get(name) if isinstance(answer, dict) else None
    return answer if type(answer) is int and answer >= 0 else None
