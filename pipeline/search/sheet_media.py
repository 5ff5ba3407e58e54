"""What a contact sheet shows of its results: an image of each, and sounds and films to play.

What a result refers to was written by whoever may write source items. So it is loaded as an
ingestion would load it (``pipeline/loaders``), decoded in a process of its own, and put into the
page: an image as a small copy, and what is played as it is, once its bytes are known to be a sound
or a film.
"""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pipeline import modalities
from pipeline.errors import RowError
from pipeline.search.moments import moment_of
from pipeline.search.results import MultimodalDocument
from pipeline.search.thumbnails import Thumbnails
from pipeline.settings import Settings

_SIDE = 400  # pixels: twice what a card is wide, for screens with small ones
# Of what can be played, in bytes: of one, and of a page, which a browser has to open whole.
_MOST_PLAYED = 8 * 2**20
_MOST_ON_A_PAGE = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Shown:
    """Of one result.

    Attributes:
        image: WebP; None: there is none.
        played: the content itself, with ``media_type``; None: it is not played.
        why: it is not shown; None: it is, or there is nothing to be shown.
    """

    image: bytes | None = None
    played: bytes | None = None
    media_type: str = ""
    why: RowError | None = None


@dataclass
class Showing:
    """Loads and decodes what is to be shown, for many threads at once, until it is closed."""

    settings: Settings
    media_roots: Sequence[Path] = ()
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._left = _MOST_ON_A_PAGE
        self._thumbnails = Thumbnails(self.settings, lambda: self.media_roots, _SIDE)

    def all_of(self, documents: Sequence[MultimodalDocument]) -> Iterator[tuple[int, Shown]]:
        """By id, what there is to be seen or heard of each."""
        with ThreadPoolExecutor(self.settings.load_workers) as threads:
            shown = threads.map(self._of, documents)
            yield from zip((document.id for document in documents), shown, strict=True)

    def of_query(self, data: bytes) -> bytes | None:
        """A small image of a file that is the query; None: there is none."""
        return self._thumbnails.of_file(data)

    def _of(self, document: MultimodalDocument) -> Shown:
        modality = modalities.find(str(document.modality))
        if modality is None or modality.inline:
            return Shown()
        try:
            data = self._thumbnails.load(document.content_ref).data
            image = self._thumbnails.of(modality, moment_of(document), data)
        except RowError as exc:
            return Shown(why=exc)
        kind = modality.played_as(data) if modality.sniff(data) else None
        if kind is None or not self._has_room_for(len(data)):
            return Shown(image)
        return Shown(image, data, kind)

    def _has_room_for(self, size: int) -> bool:
        with self._lock:
            if size > min(_MOST_PLAYED, self._left):
                return False
            self._left -= size
            return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thumbnails.close()
