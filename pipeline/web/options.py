"""How the pages work, and what they may take."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pipeline.modalities import ReadOptions
from pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class WebOptions:
    """How the pages work.

    Attributes:
        token: that whoever asks has to know; empty: none.
        hosts: names that the server is called by, beside this machine's own and numbers; None:
            whoever mounts the pages checks who asks, and by which name.
        upload_bytes: of a file to search by.
        uploads_in_all: of all such files at a time.
        cache_folder: where small images are kept; None: nowhere.
        cache_bytes: how much of them.
        allows_writes: whether failed rows may be brought back and removed, and spaces paused, with
            the login's own rights.
    """

    token: str = ""
    hosts: Sequence[str] | None = None
    upload_bytes: int = 64 * 2**20
    uploads_in_all: int = 256 * 2**20
    cache_folder: Path | None = None
    cache_bytes: int = 256 * 2**20
    allows_writes: bool = False
    read: ReadOptions = field(default_factory=ReadOptions)

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        token: str = "",
        hosts: Sequence[str] | None = None,
        cache_folder: Path | None = None,
        allows_writes: bool = False,
    ) -> Self:
        """As the settings say; a file is bounded as one that is ingested."""
        return cls(
            token=token,
            hosts=hosts,
            upload_bytes=min(settings.max_bytes, settings.query_queue_bytes // 4),
            uploads_in_all=settings.query_queue_bytes,
            cache_folder=cache_folder,
            allows_writes=allows_writes,
            read=ReadOptions.of(settings),
        )
