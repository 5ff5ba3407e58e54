"""What a modality is and what an encoder does: the two contracts that a new kind of content meets.

A modality knows how its content is recognised, decoded and cut into parts. An encoder is one
model's way to embed one modality. Neither knows of the database, the queue or where content lies.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TypeAlias

from pipeline.errors import PermanentRowError
from pipeline.modalities.moments import Moment

# For types alone: a decoder process imports this module, and so does a run with nothing to do.
if TYPE_CHECKING:
    import numpy.typing as npt

    from pipeline.modalities.decoding.task import Prepare, Task
    from pipeline.settings import Settings
    from pipeline.vectors import Vectors

Input: TypeAlias = "npt.NDArray[Any]"
# What is embedded to be found, and what is embedded to find it: some models tell the two apart.
Role = Literal["item", "query"]


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What decoding and cutting may take; see the settings of the same names."""

    max_bytes: int = 64 * 2**20
    max_pixels: int = 50_000_000
    max_side: int = 30_000
    decode_timeout_seconds: float = 60.0
    decode_cpu_seconds: float = 10.0
    decode_memory_bytes: int = 0
    decode_processes: int = 0
    keep_gps: bool = False
    text_overlap_tokens: int = 8
    max_windows: int = 512
    max_media_seconds: float = 14_400.0
    max_frame_pixels: int = 17_000_000
    max_parts: int = 2000
    max_decoded_bytes: int = 256 * 2**20
    media_cpu_seconds: float = 300.0
    media_timeout_seconds: float = 900.0
    video_segment_seconds: float = 10.0
    audio_overlap_seconds: float = 1.0

    @classmethod
    def of(cls, settings: "Settings") -> Self:
        return cls(**{name: getattr(settings, name) for name in cls.__slots__})


# Not frozen, these two: there is one of each for every text, and freezing triples what one costs.
@dataclass(slots=True)
class Decoded:
    """Content as a person would read, see or hear it.

    Attributes:
        content: in memory, as the modality's encoders take it: a text, an RGB image.
        notes: what the file held and what was done to it, for the item's metadata.
    """

    content: Any
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Part:
    """What becomes one item: the whole of some content, or a window, a segment, a page of it.

    Attributes:
        content: what the encoder prepares.
        notes: what is to be said of this part, for the item's metadata.
        shown: what the item keeps instead of the source item's reference: a window's own text.
        sha256: of what decides the part's vector; None: the whole content does.
    """

    content: Any
    notes: Mapping[str, Any] = field(default_factory=dict)
    shown: str | None = None
    sha256: bytes | None = None


def at_least_one(parts: list[Part]) -> list[Part]:
    """The same parts. What has none is never embedded, so nobody would ever say that it is done.

    Raises:
        PermanentRowError: ``empty_file``: there is none.
    """
    if not parts:
        raise PermanentRowError("empty_file", "there is nothing in it that could be embedded")
    return parts


class Encoder(Protocol):
    """One modality of one model.

    Attributes:
        batch_size: so many inputs are worth a call.
        most_inputs: more than this many are better handed over in several calls; at least 1.

    An encoder may have two more, which are False where it has not: ``tells_roles``, whether a query
    and an item of the same content have different vectors; ``loads_late``, whether its part of the
    model is loaded when its first input comes.
    """

    @property
    def batch_size(self) -> int: ...
    @property
    def most_inputs(self) -> int: ...

    def prepare(self, contents: Sequence[Any]) -> Sequence[Input]:
        """The model's own preprocessing, one input per content. Called in any thread.

        Raises:
            RowError: of one of the contents; the others may be prepared without it.
        """

    def embed(self, inputs: Sequence[Input], role: Role = "item") -> "Vectors":
        """Unit rows, float32, shape (n, dimensions); a row that failed is NaN throughout.

        Raises:
            OutOfMemory: embed the inputs in halves.
            ModelError: the device is broken.
        """


class Reader:
    """Decodes one modality for one encoder, for many threads at once, until it is closed.

    Content that can crash, stall or fill the memory with its decoder wants a reader of its own,
    which decodes in other processes; this one decodes where it is called.
    """

    def __init__(self, modality: "Modality", encoder: Encoder, options: ReadOptions) -> None:
        self.modality = modality
        self.encoder = encoder
        self.options = options

    def decode(self, data: bytes) -> Decoded:
        """As :meth:`Modality.decode`, safely. Raises RowError."""
        return self.modality.decode(data, self.options)

    def parts(self, decoded: Decoded) -> list[Part]:
        """As :meth:`Modality.parts`. Raises RowError."""
        return self.modality.parts(decoded, self.encoder, self.options)

    def kept_notes(self, notes: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Of the notes of an item with the same content, those that decoding would give again.

        None: they do not tell, so that the content is to be decoded.
        """
        return {}

    def close(self) -> None:
        """End what was started for it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Modality(ABC):
    """A kind of content. One object of it is registered with ``pipeline.modalities.register``.

    Attributes:
        name: as in ``source_items.modality``: lower-case letters, digits and _, at most 20.
        media: the media type's top level: text, image, audio, video or application.
        inline: whether a source item's reference is the content itself, so that nothing is loaded.
        description: one sentence for people.
        suffixes: endings of files that `pipeline add` takes for this modality, such as ``.jpg``.
        told_suffixes: endings that its files share with those of others: they are taken for it
            where somebody says so.
        columns: usual names of a table's column that holds it.
        derived_from: whose encoder embeds its parts where a model has none for itself; None: such
            a model does not embed it.
    """

    name: ClassVar[str]
    media: ClassVar[str]
    description: ClassVar[str]
    inline: ClassVar[bool] = False
    suffixes: ClassVar[frozenset[str]] = frozenset()
    told_suffixes: ClassVar[frozenset[str]] = frozenset()
    columns: ClassVar[tuple[str, ...]] = ()
    derived_from: ClassVar["Modality | None"] = None

    def may_end_in(self, suffix: str) -> bool:
        """Whether a file of it may be called so."""
        return suffix in self.suffixes or suffix in self.told_suffixes

    def sniff(self, head: bytes) -> bool:
        """Whether content that begins so is of this modality."""
        return False

    def accepts(self, value: object) -> bool:
        """Whether a Python object, given as a query, is opened content of this modality."""
        return False

    def decoded(self, value: Any, options: ReadOptions) -> Decoded:
        """An object that it :meth:`accepts`, as :meth:`decode` would give it of the object's file.

        Raises:
            RowError: what is wrong with it.
        """
        return Decoded(value)

    @abstractmethod
    def decode(self, data: bytes, options: ReadOptions) -> Decoded:
        """Decode content, in this process.

        Raises:
            RowError: what is wrong with it; never half of it.
        """

    def to_bytes(self, decoded: Decoded) -> bytes | None:
        """A file that decodes to the same, for whoever embeds elsewhere; None: there is none."""
        return None

    def parts(self, decoded: Decoded, encoder: Encoder, options: ReadOptions) -> list[Part]:
        """The parts that become items, each of which ``encoder`` takes; at least one.

        Raises:
            RowError: it cannot be cut so.
        """
        return [Part(decoded.content, decoded.notes)]

    def reader(self, encoder: Encoder, options: ReadOptions) -> Reader:
        """What a worker decodes this modality with."""
        return Reader(self, encoder, options)

    def preview(
        self, moment: Moment | None, options: ReadOptions, prepare: "Prepare"
    ) -> "Task | None":
        """What decodes an image of a part, for people to look at; None: there is none of it.

        The last array of its answers is that image.

        Args:
            moment: which part; None: nobody knows.
            prepare: called in the decoder process with the image; can be pickled.

        Raises:
            RowError: ``missing_extra``.
        """
        return None

    def played_as(self, data: bytes) -> str | None:
        """The media type by which a browser plays this content; None: it is nothing to be played,
        or no browser does."""
        return None

    @abstractmethod
    def probes(self) -> list[bytes]:
        """A few inputs, the same every time, that show a model or a library that changed.

        What is stored with a space is embedded again whenever its model is opened, so every input
        should touch another part of the preprocessing.
        """
