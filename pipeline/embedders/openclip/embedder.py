"""The model: texts and images in, unit vectors of one embedding space out.

The only door to torch and OpenCLIP; the parts behind it are in ``pipeline.embedders.openclip``.
Importing it takes seconds, so commands that need no model do not import it, and ``import
pipeline`` never does.

What is done differently from a plain OpenCLIP loop, each without changing a result:

* weights in bfloat16 where the CPU multiplies it natively (twice the images/s of float32),
* texts cut after their end-of-text token, and what several begin with in common computed once:
  exact for a causal text tower, where no position sees a later one,
* pixels stay uint8 until they are on the device and are normalised there,
* equal inputs of one call are embedded once.
"""

import hashlib
import logging
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from pipeline.errors import (
    ConfigurationError,
    MissingExtra,
    ModelError,
    OutOfMemory,
    PermanentRowError,
)

try:
    import torch
    from open_clip.transform import PreprocessCfg, image_transform_v2
except ImportError as exc:
    raise MissingExtra("embedding", "embed") from exc

from pipeline.embedders.description import ModelDescription
from pipeline.embedders.openclip.checkpoints import Checkpoint, sha256_of
from pipeline.embedders.openclip.image_towers import tokens_of_a_picture
from pipeline.embedders.openclip.int8 import use_int8
from pipeline.embedders.openclip.loading import (
    architecture_name,
    find_checkpoint,
    load_model,
    load_tokenizer,
    preprocess_config,
)
from pipeline.embedders.openclip.text_towers import causal_text_tower, is_causal
from pipeline.embedders.openclip.tokens import Tokens
from pipeline.modalities.text.windows import TextWindow
from pipeline.settings import DEFAULT_MODEL
from pipeline.vectors import Vectors, unit_rows

__all__ = [
    "ModelDescription",
    "MultimodalEmbedder",
    "OutOfMemory",
    "TextWindow",
    "embedder_of_new_space",
    "precision_cosine",
    "unit_rows",
]

logger = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]
# What lies between the layers; the weights as well, but for int8.
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.float32,
}
PRECISION_FLOOR = 0.999  # least cosine to float32 that a lower precision must hold


class MultimodalEmbedder:
    """One OpenCLIP model that embeds texts and images into one space.

    One batch is on the device at a time, whoever calls; the ``prepare_*`` methods and
    ``split_text`` may run in many threads beside it.

    Args:
        model: a spec, see ``pipeline.embedders.openclip.checkpoints``; None: the settings' default.
        device: auto, cpu, cuda, cuda:1, mps.
        precision: auto, float32, bfloat16, float16, or int8 (CPU only). ``auto`` takes the fastest
            of the floating ones that keeps a cosine of 0.999 to float32 with this model on this
            device; ``description.precision`` says which, and that is what a space must store and
            load its model with.
        batch_size: inputs per forward pass; 0: 32, on a GPU 256. Halved, for good, whenever the
            device runs out of memory. With 0, a CPU gets fewer pictures at once where each is of
            more patches than a ViT-B/32's.

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
    ) -> None:
        if precision != "auto" and precision not in DTYPES:
            raise ConfigurationError(
                f"precision {precision!r} is unknown; set auto, {', '.join(DTYPES)}"
            )
        spec = model or DEFAULT_MODEL
        if precision == "int8" and device == "auto":
            device = "cpu"  # the one that it is for
        self._device = _device(device)
        self.batch_size = batch_size or (256 if self._device.type == "cuda" else 32)
        self._lock = threading.Lock()
        if precision == "int8":
            _check_int8(self._device)
        checkpoint = find_checkpoint(spec)
        first = "float32" if precision == "auto" else precision
        module = load_model(checkpoint, DTYPES[first])
        if first == "int8" and not use_int8(module):
            raise ModelError(
                f"{spec} has no transformer blocks that int8 is for; set PIPELINE_PRECISION=auto"
            )
        self._use(module, first)
        self._pictures_at_once = (
            _pictures_at_once(self._model)
            if self._device.type == "cpu" and not batch_size
            else self.batch_size
        )
        context = int(getattr(self._model, "context_length", None) or 77)
        self._tokenizer = load_tokenizer(checkpoint, context, spec)
        self._preprocess = preprocess_config(checkpoint, self._model)
        # ToTensor and Normalize, the last two steps, are done on the device.
        self._resize_and_crop = image_transform_v2(self._preprocess, is_train=False).transforms[:-2]
        self._mean = torch.tensor(self._preprocess.mean, device=self._device).view(3, 1, 1)
        self._std = torch.tensor(self._preprocess.std, device=self._device).view(3, 1, 1)
        self.dimensions = int(checkpoint.model_config["embed_dim"])
        self._check_tokenizer(spec)
        bias = self._model.logit_bias
        if precision == "auto":
            precision = self._take_fastest_precision(checkpoint)
        self.description = ModelDescription(
            model=spec,
            architecture=architecture_name(checkpoint.model_config),
            architecture_config=checkpoint.model_config,
            dimensions=self.dimensions,
            image_size=self._preprocess.size,
            context_length=context,
            text_is_causal=is_causal(self._model),
            mean=self._preprocess.mean,
            std=self._preprocess.std,
            interpolation=self._preprocess.interpolation,
            resize_mode=self._preprocess.resize_mode,
            fill_color=self._preprocess.fill_color,
            tokenizer=self._tokenizer.describe(),
            precision=precision,
            weights_sha256=sha256_of(checkpoint.weights),
            # Six digits: the last bit of exp() is the machine's, and the fingerprint is not.
            logit_scale=float(f"{math.exp(float(self._model.logit_scale)):.6g}"),
            logit_bias=None if bias is None else float(bias),
        )
        logger.info("The model is loaded.", extra={"model": spec, "precision": precision})

    # what applications call

    def embed_text(self, texts: Sequence[str]) -> Vectors:
        """Unit rows, float32, shape (n, dimensions), in the order of ``texts``.

        A text of more tokens than the model reads gets the mean direction of its windows.

        Raises:
            ModelError: the model gave a vector without a direction.
            PermanentRowError: ``bad_text``.
        """
        if isinstance(texts, str):
            raise TypeError("embed_text takes a list of texts")
        distinct = list(dict.fromkeys(texts))
        parts = [self._parts(text) for text in distinct]
        rows = self.embed_prepared_texts(self.prepare_texts([p for own in parts for p in own]))
        ends = np.cumsum([len(own) for own in parts])
        pieces = np.split(rows, ends[:-1]) if distinct else []
        means = {t: own.mean(axis=0) for t, own in zip(distinct, pieces, strict=True)}
        return _without_nan(unit_rows(self._stack([means[text] for text in texts])), "texts")

    def embed_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Unit rows, float32, shape (n, dimensions), in the order of ``images``.

        Raises:
            ModelError: the model gave a vector without a direction.
            PermanentRowError: ``corrupt``, an image that cannot be resized.
        """
        pixels = [self.prepare_image(image) for image in images]
        return _without_nan(self.embed_prepared_images(pixels), "images")

    def cross_modal_similarity(
        self,
        text: str | Sequence[str],
        images: Image.Image | str | Path | Sequence[Image.Image | str | Path],
    ) -> Vectors:
        """Cosines, float32, shape (texts, images). Takes one or many; images also as paths."""
        texts = [text] if isinstance(text, str) else list(text)
        many = [images] if isinstance(images, (Image.Image, str, Path)) else list(images)
        opened = [i if isinstance(i, Image.Image) else _open_image(Path(i)) for i in many]
        return self.embed_text(texts) @ self.embed_images(opened).T

    # what the worker's stages call

    def prepare_image(self, image: Image.Image) -> Pixels:
        """The model's own resizing and cropping: uint8, shape (3, height, width).

        Exactly OpenCLIP's transform up to ``ToTensor``; the rest happens on the device.

        Raises:
            PermanentRowError: ``corrupt``.
        """
        try:
            fitted = _without_long_tails(image, self._preprocess)
            for step in self._resize_and_crop:
                fitted = step(fitted)
        except (OSError, ValueError, ArithmeticError, SyntaxError) as exc:
            raise PermanentRowError("corrupt", f"the image cannot be resized: {exc}") from exc
        return np.ascontiguousarray(np.asarray(fitted, dtype=np.uint8).transpose(2, 0, 1))

    def prepare_texts(self, texts: Sequence[str]) -> Tokens:
        """Token ids, int32, shape (n, context length). Every text must fit (``split_text``).

        Raises:
            PermanentRowError: ``too_many_windows`` for a text that does not fit, ``bad_text``.
        """
        return self._tokenizer.encode(texts)

    def split_text(self, text: str, overlap: int, max_windows: int) -> list[TextWindow]:
        """Windows of ``text`` that each fit into the context, by the model's own tokens.

        Raises:
            PermanentRowError: ``empty_text``, ``bad_text``, ``too_many_windows``.
        """
        return self._tokenizer.split(text, overlap, max_windows)

    def embed_prepared_images(self, batch: Sequence[Pixels]) -> Vectors:
        """Unit rows, float32, shape (n, dimensions); a row that failed is NaN throughout.

        Raises:
            OutOfMemory: embed the batch in halves.
        """
        first: dict[bytes, int] = {}
        keys = [hashlib.blake2b(p.tobytes(), digest_size=16).digest() for p in batch]
        for position, key in enumerate(keys):
            first.setdefault(key, position)
        distinct = [batch[position] for position in first.values()]
        chunks = []
        if distinct:
            most = min(self.batch_size, self._pictures_at_once)
            # About equal, rather than full ones and a small one of what is left.
            batches = np.array_split(np.stack(distinct), math.ceil(len(distinct) / most))
            chunks = [self._embed_pixels(pixels) for pixels in batches]
        return self._in_order(chunks, list(first), keys)

    def embed_prepared_texts(self, tokens: Tokens) -> Vectors:
        """Unit rows, float32, shape (n, dimensions); a row that failed is NaN throughout.

        Raises:
            OutOfMemory: embed the batch in halves.
        """
        # Sorted as well: what begins alike lies side by side, and the model sees it once.
        distinct, place = np.unique(tokens, axis=0, return_inverse=True)
        lengths = self._lengths(distinct)
        # Longest first, by doublings: a batch is as wide as its longest text.
        order = np.argsort(-np.ceil(np.log2(lengths)), kind="stable")
        rows = np.empty((len(distinct), self.dimensions), dtype=np.float32)
        begin = 0
        while begin < len(order):
            # As many tokens as batch_size texts of full length: short texts want large batches.
            count = _rows_that_fit(lengths[order[begin:]], self.batch_size * tokens.shape[1])
            some = order[begin : begin + count]
            rows[some] = self._embed_tokens(distinct[some, : lengths[some].max()])
            begin += count
        return unit_rows(rows[place.ravel()])

    # the parts

    def _check_tokenizer(self, spec: str) -> None:
        """Refuse a tokenizer that is not this model's: it has ids that the model does not."""
        tower = getattr(self._model, "text", self._model)
        embedding = getattr(tower, "token_embedding", None)
        known = embedding.num_embeddings if embedding is not None else None
        highest = self._tokenizer.highest_probe_id()
        if known is not None and highest >= known:
            raise ModelError(
                f"the tokenizer of {spec} gives ids up to {highest} and the model knows {known}; "
                "put the model's own tokenizer files into its folder"
            )

    def _take_fastest_precision(self, checkpoint: Checkpoint) -> str:
        """Leave float32 for the device's fastest precision, unless this model does not bear it."""
        fastest = _fastest_precision(self._device)
        if fastest == "float32":
            return fastest
        exact, exact_model = self._embed_fixed_inputs(), self._model
        self._use(load_model(checkpoint, DTYPES[fastest]), fastest)
        cosine = self._cosine_to(exact)
        if cosine >= PRECISION_FLOOR:
            return fastest
        logger.warning(
            "The model does not bear the fastest precision and runs in float32.",
            extra={"precision": fastest, "cosine": cosine, "floor": PRECISION_FLOOR},
        )
        self._use(exact_model, "float32")
        return "float32"

    def _cosine_to(self, exact: Vectors) -> float:
        """The least cosine to float32's vectors of the fixed inputs."""
        try:
            return _least_cosine(exact, self._embed_fixed_inputs())
        except RuntimeError:  # an operator of this architecture that the precision lacks
            return 0.0

    def _use(self, model: torch.nn.Module, precision: str) -> None:
        self._dtype = DTYPES[precision]
        self._model: Any = model.to(self._device)
        if self._device.type == "cuda":
            self._model = self._model.to(memory_format=torch.channels_last)
        self._text_tower = causal_text_tower(self._model)

    def _embed_fixed_inputs(self) -> Vectors:
        texts = self.prepare_texts([part for text in _FIXED_TEXTS for part in self._parts(text)])
        images = [self.prepare_image(image) for image in _fixed_images()]
        return np.concatenate(
            [self.embed_prepared_texts(texts), self.embed_prepared_images(images)]
        )

    def _parts(self, text: str) -> list[str]:
        if self._tokenizer.count(text) <= self._tokenizer.context_length:
            return [text]
        return [w.text for w in self._tokenizer.split(text, 0, len(text))]

    def _stack(self, rows: Sequence[Vectors]) -> Vectors:
        return np.stack(rows) if rows else np.empty((0, self.dimensions), dtype=np.float32)

    def _in_order(self, chunks: list[Vectors], distinct: list[bytes], keys: list[bytes]) -> Vectors:
        """Rows of the distinct inputs, in ``distinct``'s order, back to one row per input."""
        rows = np.concatenate(chunks) if chunks else self._stack([])
        place = {key: row for row, key in enumerate(distinct)}
        return unit_rows(rows[[place[key] for key in keys]]) if keys else rows

    def _lengths(self, tokens: Tokens) -> npt.NDArray[np.int64]:
        """How many tokens of each row the model has to see."""
        if self._text_tower is None:
            return np.full(len(tokens), tokens.shape[1], dtype=np.int64)
        return self._text_tower.end_of_text(tokens) + 1

    def _embed_tokens(self, tokens: Tokens) -> Vectors:
        def encode(batch: Tokens) -> torch.Tensor:
            if self._text_tower is not None:
                return self._text_tower.encode(batch)
            ids = torch.from_numpy(batch.astype(np.int64)).to(self._device)
            features: torch.Tensor = self._model.encode_text(ids)
            return features

        return self._forward(encode, tokens)

    def _embed_pixels(self, pixels: Pixels) -> Vectors:
        def encode(batch: Pixels) -> torch.Tensor:
            scaled = torch.from_numpy(batch).to(self._device).to(torch.float32)
            scaled = (scaled.div_(255).sub_(self._mean)).div_(self._std)
            scaled = scaled.to(self._dtype)
            if self._device.type == "cuda":
                scaled = scaled.contiguous(memory_format=torch.channels_last)
            features: torch.Tensor = self._model.encode_image(scaled)
            return features

        return self._forward(encode, pixels)

    def _forward(
        self, encode: Callable[[npt.NDArray[Any]], torch.Tensor], batch: npt.NDArray[Any]
    ) -> Vectors:
        try:
            with self._lock, torch.inference_mode():
                features = encode(batch)
                rows: Vectors = features.to(torch.float32).cpu().numpy()
                return rows
        except (MemoryError, RuntimeError) as exc:
            if "CUDA error" in str(exc):  # the context is lost: nothing will work any more
                raise ModelError(f"the device {self._device} failed ({exc}); restart") from exc
            if not _is_out_of_memory(exc):
                raise
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            self.batch_size = max(1, self.batch_size // 2)
            self._pictures_at_once = max(1, self._pictures_at_once // 2)
            raise OutOfMemory(
                f"{len(batch)} inputs do not fit into the memory of {self._device}; set a smaller "
                "PIPELINE_BATCH_SIZE"
            ) from exc


def precision_cosine(model: str, precision: str, *, device: str = "auto") -> float:
    """The least cosine between float32 and ``precision`` over fixed texts and images.

    Below ``PRECISION_FLOOR`` (0.999) the precision must not be used with this model. Loads the
    model twice, one after the other.
    """
    exact = MultimodalEmbedder(model, device=device, precision="float32")._embed_fixed_inputs()
    return MultimodalEmbedder(model, device=device, precision=precision)._cosine_to(exact)


def embedder_of_new_space(model: str, *, device: str, precision: str) -> MultimodalEmbedder:
    """The model to create a space with, in a precision that it bears.

    Workers load a space's precision as it is, so what is chosen by hand is looked at here.

    Raises:
        ModelError: its vectors have a cosine of less than 0.999 to those of float32.
    """
    if precision in ("auto", "float32") or precision not in DTYPES:
        return MultimodalEmbedder(model, device=device, precision=precision)
    # One after the other: both might not fit.
    exact = MultimodalEmbedder(model, device=device, precision="float32")._embed_fixed_inputs()
    embedder = MultimodalEmbedder(model, device=device, precision=precision)
    cosine = embedder._cosine_to(exact)
    if cosine < PRECISION_FLOOR:
        raise ModelError(
            f"{model} does not bear {precision}: its vectors have a cosine of {cosine:.6f} to "
            f"those of float32, and {PRECISION_FLOOR} is the least; set PIPELINE_PRECISION=auto"
        )
    return embedder


_FIXED_TEXTS = (
    "a photo of a cat",
    "two red bicycles leaning against a brick wall in the rain",
    "42",
    "The harbour at dawn, seen from the hill: small boats, gulls, fog, and one bright window.",
    # Four alone said 0.9991 of a model in 7 bits whose next 256 texts went down to 0.9987.
    "a woman in a yellow raincoat walks her dog past the closed market",
    "black leather boots, size 42",
    "an old map of the northern coast with three lighthouses marked in ink",
    "sunset",
    "children play football between parked cars on a narrow street",
    "close-up of a bee on a purple thistle, shallow depth of field",
    "invoice no. 2024-117, paid",
    "a plate of pasta with tomatoes and basil next to a glass of water",
    "snow on the roofs of a small mountain village at night",
    "diagram of a steam engine with labelled valves",
    "two men repair a fishing net while a cat watches from the wall",
    "an empty train platform, blurred lights of a train, and a forgotten umbrella on a bench",
)


def _fixed_images() -> list[Image.Image]:
    """A ramp, a chessboard, noise and a disc: smooth, regular, rough and plain."""
    y, x = np.mgrid[0:256, 0:256]
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3))
    disc = (x - 128) ** 2 + (y - 128) ** 2 < 80**2
    pictures = [
        np.stack([x, y, 255 - x], axis=-1),
        np.repeat(((x // 32 + y // 32) % 2 * 255)[..., None], 3, axis=-1),
        noise,
        np.where(disc[..., None], (200, 30, 40), (230, 230, 210)),
    ]
    return [Image.fromarray(picture.astype(np.uint8)) for picture in pictures]


def _least_cosine(exact: Vectors, lower: Vectors) -> float:
    cosines = (exact * lower).sum(axis=1)
    return float(np.nan_to_num(cosines, nan=0.0).min())


def _device(device: str) -> torch.device:
    """The device by name. Raises ConfigurationError when this machine does not have it."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as exc:
        reason = str(exc).splitlines()[0]
        raise ConfigurationError(
            f"device {device!r} cannot be used ({reason}); set auto, cpu, cuda, cuda:1 or mps"
        ) from exc
    return chosen


def _check_int8(device: torch.device) -> None:
    if device.type != "cpu":
        raise ConfigurationError(
            f"precision int8 is for CPUs and not for {device}; set PIPELINE_DEVICE=cpu, or create "
            "a space in another precision"
        )
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        raise ConfigurationError(
            "precision int8 needs a torch with oneDNN, which this one lacks; set "
            "PIPELINE_PRECISION=auto for a new space"
        )


def _fastest_precision(device: torch.device) -> str:
    """What the device multiplies fastest.

    bfloat16 on a CPU without native support is slower than float32 (it is emulated).
    """
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    if device.type == "cpu" and {"avx512_bf16", "amx_bf16"} & _cpu_flags():
        return "bfloat16"
    return "float32"


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:  # no Linux: float32 is always right
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def _without_long_tails(image: Image.Image, preprocess: PreprocessCfg) -> Image.Image:
    """Crop a very long image to about what the centre crop keeps, before it is resized.

    Resizing the shorter side of a 1 x 30,000 image to 224 makes one of 224 x 6.7 million pixels
    (4.5 GB), of which all but the middle 224 are thrown away.
    """
    if preprocess.resize_mode != "shortest":
        return image
    short, long = min(image.size), max(image.size)
    if long <= _LONG * short:
        return image
    keep = _LONG * short + (long - _LONG * short) % 2  # symmetric, so that the centre stays
    left, top = ((side - min(side, keep)) // 2 for side in image.size)
    return image.crop((left, top, image.width - left, image.height - top))


_LONG = 16


def _pictures_at_once(model: torch.nn.Module) -> int:
    """How many pictures have about the tokens of 32 for a ViT-B/32, which keep a CPU busy.

    With more, the outputs of layers leave its caches, and are too large for the heap to keep.
    """
    tokens = tokens_of_a_picture(model)
    return 32 if tokens is None else max(1, min(32, _TOKENS_AT_ONCE // tokens))


_TOKENS_AT_ONCE = 32 * 50


def _rows_that_fit(lengths: npt.NDArray[np.int64], positions: int) -> int:
    """How many of the first rows, padded to the longest of them, take so many positions."""
    taken = np.maximum.accumulate(lengths) * np.arange(1, len(lengths) + 1)
    return max(1, int(np.searchsorted(taken, positions, side="right")))


def _open_image(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def _without_nan(rows: Vectors, what: str) -> Vectors:
    bad = np.flatnonzero(np.isnan(rows).any(axis=1))
    if bad.size:
        raise ModelError(
            f"the model gave no direction for {bad.size} of {len(rows)} {what} (first: number "
            f"{bad[0]}); try PIPELINE_PRECISION=float32, else its weights are damaged"
        )
    return rows


def _is_out_of_memory(exc: BaseException) -> bool:
    if isinstance(exc, (MemoryError, torch.OutOfMemoryError)):
        return True
    return "not enough memory" in str(exc) or "can't allocate memory" in str(exc)
