"""One OpenCLIP model: texts and images in, unit vectors of one embedding space out. Imports torch.

Importing it takes seconds, so commands that need no model do not import it, and ``import pipeline``
never does. What is done differently from a plain OpenCLIP loop, without changing a result, is said
in the modules of the two encoders; weights are in bfloat16 where the CPU multiplies it natively
(twice the images/s of float32).
"""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.embedders.openclip.deferred import deferred_imports
from pipeline.errors import ConfigurationError, MissingExtra, ModelError

try:
    with deferred_imports():
        import open_clip  # noqa: F401 (the modules below need it)
    import torch
except ImportError as exc:
    raise MissingExtra("embedding", "embed") from exc

from pipeline.embedders.base import PRECISION_FLOOR
from pipeline.embedders.local.device import (
    DTYPES,
    check_int8,
    choose_device,
    fastest_precision,
)
from pipeline.embedders.local.fixed_inputs import TEXTS, images, least_cosine
from pipeline.embedders.openclip.checkpoints import Checkpoint
from pipeline.embedders.openclip.description import OpenClipDescription
from pipeline.embedders.openclip.finding import architecture_name, find_checkpoint
from pipeline.embedders.openclip.image_encoder import ImageEncoder
from pipeline.embedders.openclip.image_towers import images_at_once
from pipeline.embedders.openclip.int8 import use_int8
from pipeline.embedders.openclip.loading import load_model
from pipeline.embedders.openclip.model import OpenClipModel
from pipeline.embedders.openclip.preprocessing import fit_of, preprocess_config
from pipeline.embedders.openclip.text_encoder import TextEncoder
from pipeline.embedders.openclip.text_towers import context_length, is_causal
from pipeline.embedders.openclip.tokenizers import check_tokenizer, load_tokenizer
from pipeline.modalities import IMAGE, TEXT, Encoder, ReadOptions
from pipeline.settings import DEFAULT_MODEL
from pipeline.vectors import Vectors, unit_rows

logger = logging.getLogger(__name__)


class MultimodalEmbedder:
    """One OpenCLIP model that embeds texts and images into one space.

    One batch is on the device at a time, whoever calls; preparing and splitting may go on in many
    threads beside it.

    Args:
        model: a spec, see ``pipeline.embedders.openclip.checkpoints``; None: the settings' default.
        device: auto, cpu, cuda, cuda:1, mps.
        precision: auto, float32, bfloat16, float16, or int8 (CPU only). ``auto`` takes the fastest
            of the floating ones that keeps a cosine of 0.999 to float32 with this model on this
            device; ``description.precision`` says which, and that is what a space must store and
            load its model with.
        batch_size: inputs per forward pass; 0: 32, on a GPU 256. Halved, for good, whenever the
            device runs out of memory. With 0, a CPU gets fewer images at once where each is of
            more patches than a ViT-B/32's.

        weights_sha256: which weights it must have, where that is known.

    Attributes:
        description: what the vectors depend on.
        encoders: by modality; what the worker's stages call.

    Raises:
        ModelError: one line that says which file or name is wrong and what to do.
        ConfigurationError: a device or precision that this machine does not have.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        device: str = "auto",
        precision: str = "auto",
        batch_size: int = 0,
        weights_sha256: str | None = None,
    ) -> None:
        if precision != "auto" and precision not in DTYPES:
            raise ConfigurationError(
                f"precision {precision!r} is unknown; set auto, {', '.join(DTYPES)}"
            )
        spec = model or DEFAULT_MODEL
        # int8 is for one device only.
        chosen = choose_device("cpu" if precision == "int8" and device == "auto" else device)
        if precision == "int8":
            check_int8(chosen)
        self.model = OpenClipModel(chosen, batch_size or (256 if chosen.type == "cuda" else 32))
        checkpoint = find_checkpoint(spec, weights_sha256)
        self.model.use(*_loaded(checkpoint, precision, spec))
        if chosen.type == "cpu" and not batch_size:
            self.model.images_at_once = images_at_once(self.model.module)
        self.dimensions = int(checkpoint.model_config["embed_dim"])
        self._build_encoders(checkpoint, spec)
        if precision == "auto":
            precision = self._take_fastest_precision(checkpoint)
        self.description = self._describe(checkpoint, spec, precision)
        logger.info("The model is loaded.", extra={"model": spec, "precision": precision})

    @property
    def batch_size(self) -> int:
        """Inputs per forward pass."""
        return self.model.batch_size

    def embed_text(self, texts: Sequence[str]) -> Vectors:
        """Unit rows, float32, shape (n, dimensions), in the order of ``texts``.

        A text of more tokens than the model reads gets the mean direction of its windows.

        Raises:
            ModelError: the model gave a vector without a direction.
            PermanentRowError: ``bad_text``.
        """
        if isinstance(texts, str):
            raise TypeError("embed_text takes a list of texts")
        if not len(texts):
            return np.empty((0, self.dimensions), dtype=np.float32)
        distinct = list(dict.fromkeys(texts))
        windows = [self._windows(text) for text in distinct]
        rows = self._texts.embed(self._texts.prepare([w for own in windows for w in own]))
        pieces = np.split(rows, np.cumsum([len(own) for own in windows])[:-1])
        means = {t: own.mean(axis=0) for t, own in zip(distinct, pieces, strict=True)}
        return _without_nan(unit_rows([means[text] for text in texts]), "texts")

    def embed_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Unit rows, float32, shape (n, dimensions), in the order of ``images``.

        An image of any mode is rendered as ingestion renders its file: upright, on white, in sRGB.

        Raises:
            ModelError: the model gave a vector without a direction.
            PermanentRowError: ``too_large``, ``truncated`` or ``corrupt``.
        """
        rendered = [IMAGE.decoded(image, ReadOptions()).content for image in images]
        return _without_nan(self._images.embed(self._images.prepare(rendered)), "images")

    def cross_modal_similarity(
        self,
        text: str | Sequence[str],
        images: Image.Image | str | Path | Sequence[Image.Image | str | Path],
    ) -> Vectors:
        """Cosines, float32, shape (texts, images). Takes one or many; images also as paths.

        Raises:
            ModelError: the model gave a vector without a direction.
            RowError: a text or an image cannot be embedded.
        """
        texts = [text] if isinstance(text, str) else list(text)
        many = [images] if isinstance(images, (Image.Image, str, Path)) else list(images)
        with IMAGE.reader(self._images, ReadOptions()) as files:
            opened = [
                i if isinstance(i, Image.Image) else files.decode(Path(i).read_bytes()).content
                for i in many
            ]
        return self.embed_text(texts) @ self.embed_images(opened).T

    def embed_fixed_inputs(self) -> Vectors:
        """The vectors by which two precisions of one model are compared."""
        windows = [window for text in TEXTS for window in self._windows(text)]
        of_texts = self._texts.embed(self._texts.prepare(windows))
        of_images = self._images.embed(self._images.prepare(images()))
        return np.concatenate([of_texts, of_images])

    def cosine_to(self, exact: Vectors) -> float:
        """The least cosine to float32's vectors of the fixed inputs."""
        try:
            return least_cosine(exact, self.embed_fixed_inputs())
        except RuntimeError:  # an operator of this architecture that the precision lacks
            return 0.0

    def _build_encoders(self, checkpoint: Checkpoint, spec: str) -> None:
        module = self.model.module
        self._context = context_length(checkpoint.model_config, module)
        tokenizer = load_tokenizer(checkpoint, self._context, spec)
        check_tokenizer(tokenizer, module, spec)
        self._preprocess = preprocess_config(checkpoint, module)
        self._texts = TextEncoder(self.model, tokenizer, self.dimensions)
        self._images = ImageEncoder(
            self.model,
            fit_of(self._preprocess),
            self._preprocess.mean,
            self._preprocess.std,
            self.dimensions,
        )
        self.encoders: Mapping[str, Encoder] = {TEXT.name: self._texts, IMAGE.name: self._images}

    def _describe(self, checkpoint: Checkpoint, spec: str, precision: str) -> OpenClipDescription:
        bias = self.model.module.logit_bias
        return OpenClipDescription(
            model=spec,
            architecture=architecture_name(checkpoint.model_config),
            architecture_config=checkpoint.model_config,
            dimensions=self.dimensions,
            image_size=self._preprocess.size,
            context_length=self._context,
            text_is_causal=is_causal(self.model.module),
            mean=self._preprocess.mean,
            std=self._preprocess.std,
            interpolation=self._preprocess.interpolation,
            resize_mode=self._preprocess.resize_mode,
            fill_color=self._preprocess.fill_color,
            tokenizer=self._texts.tokenizer.describe(),
            precision=precision,
            weights_sha256=checkpoint.weights_sha256,
            logit_scale=math.exp(float(self.model.module.logit_scale)),
            logit_bias=None if bias is None else float(bias),
        )

    def _windows(self, text: str) -> list[str]:
        tokenizer = self._texts.tokenizer
        if tokenizer.count(text) <= tokenizer.context_length:
            return [text]
        return [window.text for window in tokenizer.split(text, 0, len(text))]

    def _take_fastest_precision(self, checkpoint: Checkpoint) -> str:
        """Leave float32 for the device's fastest precision, unless this model does not bear it."""
        fastest = fastest_precision(self.model.device)
        if fastest == "float32":
            return fastest
        exact, exact_module = self.embed_fixed_inputs(), self.model.module
        self.model.use(load_model(checkpoint, DTYPES[fastest]), fastest)
        cosine = self.cosine_to(exact)
        if cosine >= PRECISION_FLOOR:
            return fastest
        logger.warning(
            "The model does not bear the fastest precision and runs in float32.",
            extra={"precision": fastest, "cosine": cosine, "floor": PRECISION_FLOOR},
        )
        self.model.use(exact_module, "float32")
        return "float32"


def precision_cosine(model: str, precision: str, *, device: str = "auto") -> float:
    """The least cosine between float32 and ``precision`` over fixed texts and images.

    Below ``PRECISION_FLOOR`` (0.999) the precision must not be used with this model. Loads the
    model twice, one after the other.
    """
    exact = MultimodalEmbedder(model, device=device, precision="float32").embed_fixed_inputs()
    return MultimodalEmbedder(model, device=device, precision=precision).cosine_to(exact)


def embedder_of_new_space(model: str, *, device: str, precision: str) -> MultimodalEmbedder:
    """The model to create a space with, see ``Family.open_new``."""
    if precision in ("auto", "float32") or precision not in DTYPES:
        return MultimodalEmbedder(model, device=device, precision=precision)
    # One after the other: both might not fit.
    exact = MultimodalEmbedder(model, device=device, precision="float32").embed_fixed_inputs()
    embedder = MultimodalEmbedder(model, device=device, precision=precision)
    cosine = embedder.cosine_to(exact)
    if cosine < PRECISION_FLOOR:
        raise ModelError(
            f"{model} does not bear {precision}: its vectors have a cosine of {cosine:.6f} to "
            f"those of float32, and {PRECISION_FLOOR} is the least; set PIPELINE_PRECISION=auto"
        )
    return embedder


def _loaded(checkpoint: Checkpoint, precision: str, spec: str) -> tuple[torch.nn.Module, str]:
    """The module, and the precision it is in: float32 where ``auto`` is still to choose."""
    first = "float32" if precision == "auto" else precision
    module = load_model(checkpoint, DTYPES[first])
    if first == "int8" and not use_int8(module):
        raise ModelError(
            f"{spec} has no transformer blocks that int8 is for; set PIPELINE_PRECISION=auto"
        )
    return module, first


def _without_nan(rows: Vectors, what: str) -> Vectors:
    bad = np.flatnonzero(np.isnan(rows).any(axis=1))
    if bad.size:
        raise ModelError(
            f"the model gave no direction for {bad.size} of {len(rows)} {what} (first: number "
            f"{bad[0]}); try PIPELINE_PRECISION=float32, else its weights are damaged"
        )
    return rows
