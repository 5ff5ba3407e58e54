"""Texts through an OpenCLIP model. Imports torch.

Texts are cut after their end-of-text token, and what several begin with in common is computed once:
exact for a causal text tower, where no position sees a later one. Equal texts of one call are
embedded once.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from pipeline.embedders.openclip.model import OpenClipModel
from pipeline.embedders.openclip.tokens import Tokenizer, Tokens
from pipeline.modalities.base import Input, Role
from pipeline.modalities.text.windows import TextWindow
from pipeline.vectors import Vectors, unit_rows

# Sorting and sharing want many texts; beyond this they gain no more.
MOST_TEXTS = 8192


class TextEncoder:
    """The text tower with its tokenizer.

    Args:
        dimensions: of a vector.
    """

    most_inputs = MOST_TEXTS

    def __init__(self, model: OpenClipModel, tokenizer: Tokenizer, dimensions: int) -> None:
        self.tokenizer = tokenizer
        self._model = model
        self._dimensions = dimensions

    @property
    def batch_size(self) -> int:
        return self._model.batch_size

    def split(self, text: str, overlap: int, max_windows: int) -> list[TextWindow]:
        """See ``pipeline.modalities.text.TextEncoder``."""
        return self.tokenizer.split(text, overlap, max_windows)

    def count(self, text: str) -> int:
        """Tokens of ``text``, start and end of text included."""
        return self.tokenizer.count(text)

    def prepare(self, contents: Sequence[str]) -> list[Tokens]:
        """Token ids, int32, shape (context length,) each. Every text must fit (``split``).

        Raises:
            PermanentRowError: ``too_many_windows`` for a text that does not fit, ``bad_text``.
        """
        return list(self.tokenizer.encode(contents))

    def embed(self, inputs: Sequence[Input], role: Role = "item") -> Vectors:
        """See ``Encoder.embed``; queries and items are embedded alike."""
        if not len(inputs):
            return np.empty((0, self._dimensions), dtype=np.float32)
        # Sorted as well: what begins alike lies side by side, and the model sees it once.
        distinct, place = np.unique(np.stack(inputs), axis=0, return_inverse=True)
        lengths = self._lengths(distinct)
        # Longest first, by doublings: a batch is as wide as its longest text.
        order = np.argsort(-np.ceil(np.log2(lengths)), kind="stable")
        rows = np.empty((len(distinct), self._dimensions), dtype=np.float32)
        begin = 0
        while begin < len(order):
            # As many tokens as batch_size texts of full length: short texts want large batches.
            positions = self._model.batch_size * distinct.shape[1]
            some = order[begin : begin + _rows_that_fit(lengths[order[begin:]], positions)]
            rows[some] = self._model.forward(self._encode, distinct[some, : lengths[some].max()])
            begin += len(some)
        return unit_rows(rows[place.ravel()])

    def _lengths(self, tokens: Tokens) -> npt.NDArray[np.int64]:
        """How many tokens of each row the model has to see."""
        if self._model.text_tower is None:
            return np.full(len(tokens), tokens.shape[1], dtype=np.int64)
        return self._model.text_tower.end_of_text(tokens) + 1

    def _encode(self, batch: Tokens) -> torch.Tensor:
        if self._model.text_tower is not None:
            return self._model.text_tower.encode(batch)
        ids = torch.from_numpy(batch.astype(np.int64)).to(self._model.device)
        features: torch.Tensor = self._model.module.encode_text(ids)
        return features


def _rows_that_fit(lengths: npt.NDArray[np.int64], positions: int) -> int:
    """How many of the first rows, padded to the longest of them, take so many positions."""
    taken = np.maximum.accumulate(lengths) * np.arange(1, len(lengths) + 1)
    return max(1, int(np.searchsorted(taken, positions, side="right")))
