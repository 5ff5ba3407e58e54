"""What the encoders of images, films and sounds have in common. Imports torch."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch

from pipeline.embedders.embeddinggemma.model import GemmaModel, Tower
from pipeline.embedders.embeddinggemma.tokens import Tokens
from pipeline.modalities.base import Input, Role
from pipeline.vectors import Vectors, unit_rows


class TowerEncoder(ABC):
    """An encoder by a tower of the model, which is loaded when its first input comes."""

    loads_late = True
    tower: Tower

    def __init__(self, model: GemmaModel, tokens: Tokens) -> None:
        self._model = model
        self._tokens = tokens

    @property
    def batch_size(self) -> int:
        return self._model.batch_size

    @property
    def most_inputs(self) -> int:
        return self.batch_size

    def embed(self, inputs: Sequence[Input], role: Role = "item") -> Vectors:
        """See ``Encoder.embed``; queries and items are embedded alike."""
        if not len(inputs):
            return np.empty((0, self._model.dimensions), dtype=np.float32)
        self._model.need(self.tower)
        rows: list[Vectors] = []
        begin = 0
        while begin < len(inputs):
            some = inputs[begin : begin + self.batch_size]
            rows.append(self._model.forward(self._encode, some))
            begin += len(some)
        return unit_rows(np.concatenate(rows))

    @abstractmethod
    def _encode(self, batch: Sequence[Input]) -> torch.Tensor:
        """The mean over the tokens of each, shape (n, dimensions), not normalised."""
