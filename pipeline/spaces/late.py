"""Encoders whose part of the model is loaded late: their probes come before their first input.

A space of texts alone then never loads the tower that hears, and nothing unproved is written.
"""

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pipeline.embedders import Description, Embedder
from pipeline.embedders.isolation import loads_late
from pipeline.modalities import Encoder, Input, Role
from pipeline.spaces import probes
from pipeline.spaces.probes import StoredProbes
from pipeline.spaces.space import Space
from pipeline.vectors import Vectors


def late_modalities(embedder: Embedder) -> set[str]:
    """Those whose encoder is loaded late."""
    return {name for name, encoder in embedder.encoders.items() if loads_late(encoder)}


def proved_later(space: Space, embedder: Embedder, left: StoredProbes) -> Embedder:
    """The embedder, with encoders that embed the probes that were left before anything else."""
    names = {probe.modality for probe, _ in left.probes}
    return _Proving(space, embedder, left, names) if names else embedder


class _Proving:
    def __init__(
        self, space: Space, embedder: Embedder, left: StoredProbes, names: Collection[str]
    ) -> None:
        self._embedder = embedder
        proving = {n: _ProvedEncoder(space, embedder, n, left.of([n])) for n in names}
        self.encoders: Mapping[str, Encoder] = {**embedder.encoders, **proving}

    @property
    def description(self) -> Description:
        return self._embedder.description

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)


class _ProvedEncoder:
    """The encoder in all but its first call, which embeds its modality's probes.

    Raises:
        ModelError: from that call on: its vectors are not those of the space.
    """

    def __init__(
        self, space: Space, embedder: Embedder, modality: str, known: StoredProbes
    ) -> None:
        self._space, self._embedder, self._known = space, embedder, known
        self._encoder = embedder.encoders[modality]
        self._is_proved = False
        self._lock = threading.Lock()

    @property
    def batch_size(self) -> int:
        return self._encoder.batch_size

    @property
    def most_inputs(self) -> int:
        return self._encoder.most_inputs

    def prepare(self, contents: Sequence[Any]) -> Sequence[Input]:
        return self._encoder.prepare(contents)

    def embed(self, inputs: Sequence[Input], role: Role = "item") -> Vectors:
        with self._lock:
            if not self._is_proved:
                probes.check(self._space, self._embedder, self._known)
                self._is_proved = True
        return self._encoder.embed(inputs, role)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)
