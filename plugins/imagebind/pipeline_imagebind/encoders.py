"""Texts, images and sounds, prepared as ``imagebind.data`` prepares files. Imports ImageBind."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import regex  # type: ignore[import-untyped]
import torch
from imagebind import data
from imagebind.models.imagebind_model import ModalityType
from imagebind.models.multimodal_preprocessors import SimpleTokenizer
from PIL import Image

from pipeline.errors import PermanentRowError
from pipeline.modalities import Input, Role
from pipeline.modalities.image.fitting import Fit
from pipeline.modalities.text.windows import TextWindow, split_text
from pipeline.vectors import Vectors
from pipeline_imagebind.model import Model

SIDE = 224  # pixels
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
_MEAN, _STD = np.array(MEAN, dtype=np.float32), np.array(STD, dtype=np.float32)
CONTEXT = 77  # tokens
SAMPLING_RATE = 16_000
# Of a sound it hears three clips, and the vectors' mean is the sound's; ten seconds is what it was
# trained on.
WINDOW_SECONDS, CLIP_SECONDS, CLIPS = 10.0, 2, 3
MEL_BINS, MEL_FRAMES = 128, 204
MEL_MEAN, MEL_STD = -4.268, 9.138
_LEAST_SAMPLES = 400  # of one frame of the spectrum
_MOST_CACHED = 100_000  # words whose pieces the tokenizer remembers

# ImageBind says so of each sound that is shorter than a clip, by the root logger.
logging.getLogger().addFilter(
    lambda record: not str(record.msg).startswith("Large gap between audio n_frames")
)


class ModelEncoder:
    """An encoder by one of ImageBind's towers; queries and items are embedded alike."""

    key: str

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def batch_size(self) -> int:
        return self._model.batch_size

    @property
    def most_inputs(self) -> int:
        return self._model.batch_size

    def embed(self, inputs: Sequence[Input], role: Role = "item") -> Vectors:
        """See ``Encoder.embed``."""
        return self._model.embed(self.key, inputs)


class TextEncoder(ModelEncoder):
    """What a text says is never a special token, as it is with the reference's tokenizer."""

    key = ModalityType.TEXT

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self._tokenizer: Any = SimpleTokenizer(bpe_path=data.return_bpe_path())
        plain = self._tokenizer.pat.pattern.replace(r"<\|startoftext\|>|<\|endoftext\|>|", "")
        self._tokenizer.pat = regex.compile(plain, regex.IGNORECASE)
        self._tokenizer.cache.clear()

    def split(self, text: str, overlap: int, max_windows: int) -> list[TextWindow]:
        """See ``pipeline.modalities.text.TextEncoder``."""
        return split_text(text, self._count, CONTEXT, overlap, max_windows)

    def prepare(self, contents: Sequence[str]) -> list[Input]:
        """Token ids, int64, shape (77,)."""
        self._forget()
        return [self._tokenizer(text).numpy() for text in contents]

    def _count(self, text: str) -> int:
        self._forget()
        return len(self._tokenizer.encode(text)) + 2

    def _forget(self) -> None:
        if len(self._tokenizer.cache) > _MOST_CACHED:
            self._tokenizer.cache.clear()


class ImageEncoder(ModelEncoder):
    """Images; the frames of films and the pages of documents come here too."""

    key = ModalityType.VISION
    fit = Fit(SIDE, SIDE, "shortest", "bicubic")

    def prepare(self, contents: Sequence[Image.Image]) -> list[Input]:
        """float32, shape (3, 224, 224).

        Raises:
            PermanentRowError: ``corrupt``.
        """
        return [self._prepare(image) for image in contents]

    def _prepare(self, image: Image.Image) -> Input:
        try:
            pixels = np.asarray(self.fit(image), dtype=np.float32) / np.float32(255)
        except (OSError, ValueError, ArithmeticError, SyntaxError) as exc:
            raise PermanentRowError("corrupt", f"the image cannot be resized: {exc}") from exc
        scaled = (pixels - _MEAN) / _STD
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))


class AudioEncoder(ModelEncoder):
    """Sounds as log-mel spectra of three clips at even distances."""

    key = ModalityType.AUDIO
    sampling_rate = SAMPLING_RATE
    seconds = WINDOW_SECONDS

    def prepare(self, contents: Sequence[Input]) -> list[Input]:
        """float32, shape (3, 1, 128, 204).

        Raises:
            PermanentRowError: ``empty_file``: it is too short to be heard.
        """
        return [self._prepare(samples) for samples in contents]

    def _prepare(self, samples: Input) -> Input:
        if len(samples) < _LEAST_SAMPLES:
            raise PermanentRowError(
                "empty_file",
                f"the sound has {len(samples)} samples at {SAMPLING_RATE} Hz, and ImageBind hears "
                f"nothing of fewer than {_LEAST_SAMPLES}",
            )
        sampler = data.ConstantClipsPerVideoSampler(
            clip_duration=CLIP_SECONDS, clips_per_video=CLIPS
        )
        # One tensor for all clips: each is freed of its mean in place, where it overlaps another
        # for that one as well, and the model was trained so.
        waveform = torch.tensor(samples, dtype=torch.float32)[None]
        clips = []
        for start, end in data.get_clip_timepoints(sampler, waveform.size(1) / SAMPLING_RATE):
            clip = waveform[:, int(start * SAMPLING_RATE) : int(end * SAMPLING_RATE)]
            spectrum = data.waveform2melspec(clip, SAMPLING_RATE, MEL_BINS, MEL_FRAMES)
            clips.append((spectrum - MEL_MEAN) / MEL_STD)
        found: Input = torch.stack(clips).numpy()
        return found
