"""Films through EmbeddingGemma 2: the frames of a segment, in order. Imports torch.

The model's own processor opens files and chooses frames of the whole; here frames come from the
decoder processes, a second apart, segment by segment (``pipeline.modalities.video``).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipeline.embedders.embeddinggemma.model import GemmaModel, Tower, padded
from pipeline.embedders.embeddinggemma.tokens import Tokens
from pipeline.embedders.embeddinggemma.tower_encoder import TowerEncoder
from pipeline.errors import PermanentRowError
from pipeline.modalities.base import Input
from pipeline.modalities.image.thumbnail import Thumbnail

# Pixels of a frame's longer side on its way from the decoder process. Of 70 tokens a frame the
# model sees some 535 x 300 of 16:9; a hundred whole frames of a film would fill the process.
_SIDE = 640


class VideoEncoder(TowerEncoder):
    """The vision tower with the model's own video processor."""

    tower = Tower.SEES
    fit = Thumbnail(_SIDE)

    def __init__(self, model: GemmaModel, tokens: Tokens, processor: Any) -> None:
        self.frames_per_second = float(processor.fps)
        self.most_frames = int(processor.max_frames)
        super().__init__(model, tokens)
        self._processor = processor

    @property
    def batch_size(self) -> int:
        return max(1, self._model.batch_size // 4)

    def prepare(self, contents: Sequence[Sequence[Image.Image]]) -> list[Input]:
        """Resized, the sides' ratio kept: uint8, shape (frames, 3, height, width) each.

        Raises:
            PermanentRowError: ``corrupt``.
        """
        return [self._resized(frames) for frames in contents]

    def _resized(self, frames: Sequence[Image.Image]) -> Input:
        own = self._processor
        pixels = np.stack([np.asarray(image.convert("RGB")) for image in frames])
        try:
            resized = own.aspect_ratio_preserving_resize(
                video=torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()),
                patch_size=own.patch_size,
                max_patches=own.max_soft_tokens * own.pooling_kernel_size**2,
                pooling_kernel_size=own.pooling_kernel_size,
                resample=own.resample,
            )
        except (ValueError, RuntimeError) as exc:
            raise PermanentRowError("corrupt", f"the frames cannot be resized: {exc}") from exc
        found: Input = resized.numpy()
        return found

    def _encode(self, batch: Sequence[Input]) -> torch.Tensor:
        made = self._processor(
            videos=[torch.from_numpy(frames) for frames in batch],
            do_resize=False,
            do_sample_frames=False,
            return_tensors="pt",
        )
        names = ("pixel_values_videos", "video_position_ids", "num_frames_per_video")
        config = self._model.config
        ids = [
            self._tokens.standing_for(
                config.boi_token_id, config.video_token_id, config.eoi_token_id, int(n), len(frames)
            )
            for n, frames in zip(made["num_soft_tokens_per_video"], batch, strict=True)
        ]
        return self._model.embed(padded(ids, self._tokens.pad) | {n: made[n] for n in names})
