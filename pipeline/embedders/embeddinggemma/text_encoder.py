"""Texts through EmbeddingGemma 2. Imports torch.

Equal texts of one call are embedded once, and batches hold texts of about one length.
"""

from collections.abc import Sequence

import numpy as np
import torch

from pipeline.embedders.embeddinggemma.model import GemmaModel, padded
from pipeline.embedders.embeddinggemma.tokens import Tokens
from pipeline.errors import PermanentRowError
from pipeline.modalities.base import Input, Role
from pipeline.modalities.text.windows import TextWindow, split_text
from pipeline.vectors import Vectors, unit_rows

MOST_TEXTS = 2048


class TextEncoder:
    """The language model with its tokenizer; a query's vector is not that of an item."""

    most_inputs = MOST_TEXTS
    tells_roles = True

    def __init__(self, model: GemmaModel, tokens: Tokens) -> None:
        self.tokens = tokens
        self._model = model

    @property
    def batch_size(self) -> int:
        return self._model.batch_size

    def split(self, text: str, overlap: int, max_windows: int) -> list[TextWindow]:
        """See ``pipeline.modalities.text.TextEncoder``."""
        context = self.tokens.context_length
        return split_text(text, self.tokens.count, context, overlap, max_windows)

    def prepare(self, contents: Sequence[str]) -> list[Input]:
        """The texts themselves, in UTF-8: which prompt goes before them is said with :meth:`embed`.

        Raises:
            PermanentRowError: ``too_many_windows`` for a text that does not fit (``split`` makes
                windows that do), ``bad_text``.
        """
        for text in contents:
            tokens = self.tokens.count(text)
            if tokens > self.tokens.context_length:
                raise PermanentRowError(
                    "too_many_windows",
                    f"the text beginning {text[:40]!r} has {tokens} tokens and the model reads "
                    f"{self.tokens.context_length}; split it into windows first",
                )
        return [np.frombuffer(text.encode(), dtype=np.uint8) for text in contents]

    def embed(self, inputs: Sequence[Input], role: Role = "item") -> Vectors:
        """See ``Encoder.embed``."""
        if not len(inputs):
            return np.empty((0, self._model.dimensions), dtype=np.float32)
        texts = [one.tobytes().decode() for one in inputs]
        distinct = list(dict.fromkeys(texts))
        ids = self.tokens.of(distinct, role)
        order = sorted(range(len(distinct)), key=lambda n: -len(ids[n]))
        found: dict[str, Vectors] = {}
        begin = 0
        while begin < len(order):
            some = order[begin : begin + self._model.batch_size]
            rows = self._model.forward(self._encode, [ids[n] for n in some])
            found |= {distinct[n]: row for n, row in zip(some, rows, strict=True)}
            begin += len(some)
        return unit_rows(np.stack([found[text] for text in texts]))

    def _encode(self, batch: Sequence[list[int]]) -> torch.Tensor:
        return self._model.embed(padded(batch, self.tokens.pad))
