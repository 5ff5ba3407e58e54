"""Sounds through EmbeddingGemma 2. Imports torch.

The processor cuts what is longer than it hears at once, and says nothing; here sounds come as
windows of no more than that (``pipeline.modalities.audio``).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pipeline.embedders.embeddinggemma.model import GemmaModel, Tower, padded
from pipeline.embedders.embeddinggemma.tokens import Tokens
from pipeline.embedders.embeddinggemma.tower_encoder import TowerEncoder
from pipeline.errors import PermanentRowError
from pipeline.modalities.base import Input


class AudioEncoder(TowerEncoder):
    """The audio tower with the model's own feature extractor.

    Args:
        processor: transformers' of this model.
        seconds: that it hears at once.
    """

    tower = Tower.HEARS

    def __init__(self, model: GemmaModel, tokens: Tokens, processor: Any, seconds: float) -> None:
        self.seconds = seconds
        self.sampling_rate = int(processor.feature_extractor.sampling_rate)
        super().__init__(model, tokens)
        self._processor = processor
        # Fewer samples than this make no token at all.
        self._least = int(processor.feature_extractor.frame_length)

    def prepare(self, contents: Sequence[Input]) -> list[Input]:
        """The samples, float32, shape (n,).

        Raises:
            PermanentRowError: ``empty_file``: it is too short to be heard.
        """
        for samples in contents:
            if len(samples) < self._least:
                raise PermanentRowError(
                    "empty_file",
                    f"the sound has {len(samples)} samples at {self.sampling_rate} Hz, and the "
                    f"model hears nothing of fewer than {self._least}",
                )
        return [np.ascontiguousarray(samples, dtype=np.float32) for samples in contents]

    def _encode(self, batch: Sequence[Input]) -> torch.Tensor:
        features = dict(
            self._processor.feature_extractor(
                list(batch), truncation=False, return_tensors="pt", return_attention_mask=True
            )
        )
        config = self._model.config
        ids = [
            self._tokens.standing_for(
                config.boa_token_id,
                config.audio_token_id,
                config.eoa_token_index,
                self._processor.compute_sscp(np.asarray(mask)),
            )
            for mask in features["input_features_mask"]
        ]
        return self._model.embed(padded(ids, self._tokens.pad) | features)
