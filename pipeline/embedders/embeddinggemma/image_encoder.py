"""Images through EmbeddingGemma 2. Imports torch.

Resizing goes on in any thread; the rest, which makes four times the bytes of it, on the device's.
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


class ImageEncoder(TowerEncoder):
    """The vision tower with the model's own image processor.

    Its resizing is torchvision's, which no decoder process imports; Pillow's differs by up to 2 of
    256 levels. So it has no ``fit``.

    Args:
        processor: transformers' of this model.
        visual_tokens: of an image at most.
    """

    tower = Tower.SEES

    def __init__(
        self, model: GemmaModel, tokens: Tokens, processor: Any, visual_tokens: int
    ) -> None:
        super().__init__(model, tokens)
        self._processor = processor
        self._visual_tokens = visual_tokens

    def prepare(self, contents: Sequence[Image.Image]) -> list[Input]:
        """Resized, the sides' ratio kept: uint8, shape (3, height, width) each.

        Raises:
            PermanentRowError: ``corrupt``.
        """
        return [self._resized(image) for image in contents]

    def _resized(self, image: Image.Image) -> Input:
        own = self._processor
        pixels = torch.from_numpy(np.asarray(image.convert("RGB")).transpose(2, 0, 1).copy())
        try:
            resized = own.aspect_ratio_preserving_resize(
                image=pixels,
                patch_size=own.patch_size,
                max_patches=self._visual_tokens * own.pooling_kernel_size**2,
                pooling_kernel_size=own.pooling_kernel_size,
                resample=own.resample,
            )
        except (ValueError, RuntimeError) as exc:
            raise PermanentRowError("corrupt", f"the image cannot be resized: {exc}") from exc
        found: Input = resized.numpy()
        return found

    def _encode(self, batch: Sequence[Input]) -> torch.Tensor:
        features = dict(
            self._processor(
                [torch.from_numpy(pixels) for pixels in batch],
                do_resize=False,
                max_soft_tokens=self._visual_tokens,
                return_tensors="pt",
            )
        )
        times = features.pop("num_soft_tokens_per_image")
        config = self._model.config
        ids = [
            self._tokens.standing_for(
                config.boi_token_id, config.image_token_id, config.eoi_token_id, int(n)
            )
            for n in times
        ]
        return self._model.embed(padded(ids, self._tokens.pad) | features)
