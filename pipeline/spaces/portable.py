"""A space for machines that do not reach the database: what opens its model, and proves it.

Its row, its probes with their vectors, and the folders that its references may point into, as JSON.
"""

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.embedders import Embedder
from pipeline.errors import ConfigurationError
from pipeline.postgres.connections import Connection
from pipeline.sources.media_roots import media_roots
from pipeline.spaces import probes
from pipeline.spaces.late import late_modalities, proved_later
from pipeline.spaces.opening import load_model
from pipeline.spaces.probes import Probe, StoredProbes
from pipeline.spaces.space import Space

_TIMES = ("created_at", "activated_at", "retired_at")


@dataclass(frozen=True)
class PortableSpace:
    """A space with all that whoever embeds for it needs of the database.

    Attributes:
        media_roots: the folders that ``pipeline add`` and ``pipeline attach`` registered.
    """

    space: Space
    probes: StoredProbes
    media_roots: tuple[Path, ...]

    @classmethod
    def of(cls, connection: Connection, space: Space) -> "PortableSpace":
        """That of the database."""
        return cls(space, probes.stored(connection, space), tuple(media_roots(connection)))

    def open_model(self, *, device: str = "auto", batch_size: int = 0) -> Embedder:
        """Load the space's model and embed the probes with it, as ``spaces.opening`` does.

        Raises:
            ModelError: it cannot be loaded, is another one, or gives other vectors.
            MissingExtra: what loads it is not installed.
        """
        embedder = load_model(self.space, device=device, batch_size=batch_size)
        late = late_modalities(embedder)
        own = {probe.modality for probe, _ in self.probes.probes}
        probes.check(self.space, embedder, self.probes.of(own - late))
        return proved_later(self.space, embedder, self.probes.of(late))

    def to_json(self) -> dict[str, Any]:
        """What :meth:`from_json` reads."""
        row = asdict(self.space)
        for name in _TIMES:
            row[name] = row[name] and row[name].isoformat()
        return {
            "space": row,
            "libraries": dict(self.probes.libraries),
            "probes": [
                {
                    "modality": probe.modality,
                    "role": probe.role,
                    "content": base64.b64encode(probe.content).decode(),
                    "embedding": list(vector),
                }
                for probe, vector in self.probes.probes
            ],
            "media_roots": [str(root) for root in self.media_roots],
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "PortableSpace":
        """Of what :meth:`to_json` gave.

        Raises:
            ConfigurationError: it is something else, or of another release.
        """
        try:
            row = dict(told["space"])
            for name in _TIMES:
                row[name] = row[name] and datetime.fromisoformat(row[name])
            row["modalities"] = tuple(row["modalities"])
            known = [
                (
                    Probe(p["modality"], base64.b64decode(p["content"]), p.get("role", "item")),
                    p["embedding"],
                )
                for p in told["probes"]
            ]
            return cls(
                Space(**row),
                StoredProbes(known, told["libraries"]),
                tuple(Path(root) for root in told["media_roots"]),
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise ConfigurationError(
                f"this is no space that was exported by this release: {exc!r}; export it again"
            ) from exc
