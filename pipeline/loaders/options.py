"""What a loader may do, and the interface that every one has."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from pipeline.loaders.content import Deadline
from pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """See the settings of the same names."""

    media_roots: tuple[Path, ...] = ()
    http_allow_private: tuple[str, ...] = ()
    buckets: tuple[str, ...] = ()
    load_workers: int = 8
    load_timeout_seconds: float = 30.0
    connect_timeout_seconds: float = 5.0
    max_bytes: int = 64 * 2**20
    http_per_host: int = 4

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(**{name: getattr(settings, name) for name in cls.__slots__})


class SchemeLoader(Protocol):
    """Loads the references of some schemes, for many threads at once.

    Made of the options; connects to nothing before it is asked.
    """

    @property
    def schemes(self) -> tuple[str, ...]: ...

    def load(self, reference: str, deadline: Deadline) -> tuple[bytes, Mapping[str, Any]]:
        """The content, at most ``max_bytes`` of it, and notes on it. Raises RowError."""

    def stat(self, reference: str, deadline: Deadline) -> Mapping[str, Any]:
        """What of ``etag``, ``size`` and ``mtime`` is known without the content; RowError."""

    def close(self) -> None:
        """Close what it keeps open."""
