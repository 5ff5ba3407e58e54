"""Opens an EmbeddingGemma 2. Imports torch and transformers."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.errors import ConfigurationError, MissingExtra, ModelError

try:
    import torch  # noqa: F401 (the modules below need it)
    from transformers import EmbeddingGemma2Config, EmbeddingGemma2Processor
except ImportError as exc:
    raise MissingExtra("EmbeddingGemma 2 (by transformers 5.23 or newer)", "embed") from exc

from pipeline.embedders.base import PRECISION_FLOOR
from pipeline.embedders.embeddinggemma import checkpoint as checkpoints
from pipeline.embedders.embeddinggemma.audio_encoder import AudioEncoder
from pipeline.embedders.embeddinggemma.checkpoint import GemmaCheckpoint
from pipeline.embedders.embeddinggemma.description import EmbeddingGemmaDescription
from pipeline.embedders.embeddinggemma.image_encoder import ImageEncoder
from pipeline.embedders.embeddinggemma.model import GemmaModel
from pipeline.embedders.embeddinggemma.spec import LEAST_DIMENSIONS, GemmaSpec, parse
from pipeline.embedders.embeddinggemma.text_encoder import TextEncoder
from pipeline.embedders.embeddinggemma.tokens import Tokens
from pipeline.embedders.local.device import choose_device, fastest_precision
from pipeline.embedders.local.fixed_inputs import TEXTS, images, least_cosine, sounds
from pipeline.modalities import AUDIO, IMAGE, TEXT, Encoder, Modality
from pipeline.vectors import Vectors

logger = logging.getLogger(__name__)

PRECISIONS = ("float32", "bfloat16")
# Of config.json, what decides no vector.
_NOT_DESCRIBED = ("transformers_version", "dtype", "architectures", "_name_or_path")


@dataclass(frozen=True)
class _Part:
    """A modality of the model.

    Attributes:
        fixed: contents by which two precisions of it are compared.
        preprocessing: what its inputs are made by, as far as it has settings.
    """

    modality: Modality
    encoder: Encoder
    fixed: Sequence[Any]
    preprocessing: Mapping[str, Any] = field(default_factory=dict)


class GemmaEmbedder:
    """One EmbeddingGemma 2: its description, and an encoder for each modality that it has.

    Args:
        precision: float32 or bfloat16.

    Raises:
        ModelError: see ``checkpoint.find`` and ``GemmaModel``.
    """

    def __init__(
        self, spec: GemmaSpec, checkpoint: GemmaCheckpoint, device: str, precision: str, batch: int
    ) -> None:
        config, processor = _read(checkpoint)
        full = int(config.text_config.embedding_dim)
        dimensions = spec.dimensions or full
        if not min(LEAST_DIMENSIONS, full) <= dimensions <= full:
            raise ModelError(
                f"{spec.text}: the model's vectors have {full} dimensions, of which "
                f"{LEAST_DIMENSIONS} to {full} can be kept"
            )
        chosen = choose_device(device)
        model = GemmaModel(
            checkpoint,
            config,
            chosen,
            precision,
            batch or (64 if chosen.type == "cuda" else 16),
            dimensions,
        )
        tokens = Tokens(processor.tokenizer, checkpoint.prompts, checkpoint.context_length)
        visual = spec.visual_tokens or int(processor.image_processor.max_soft_tokens)
        seconds = processor.audio_seq_length * processor.audio_ms_per_token / 1000
        parts = [_Part(TEXT, TextEncoder(model, tokens), TEXTS)]
        if config.vision_config is not None:
            sees = processor.image_processor
            encoder: Encoder = ImageEncoder(model, tokens, sees, visual)
            parts.append(_Part(IMAGE, encoder, images(), _settled(sees)))
        if config.audio_config is not None:
            encoder = AudioEncoder(model, tokens, processor, seconds)
            heard = sounds(encoder.sampling_rate)
            parts.append(_Part(AUDIO, encoder, heard, _settled(processor.feature_extractor)))
        self._parts = parts
        self.encoders: Mapping[str, Encoder] = {p.modality.name: p.encoder for p in parts}
        self.description = EmbeddingGemmaDescription(
            model=spec.text,
            dimensions=dimensions,
            precision=precision,
            weights_sha256=checkpoint.weights_sha256,
            context_length=checkpoint.context_length,
            config=_described(config.to_dict()),
            tokenizer_sha256=tokens.sha256(),
            query_prompt=checkpoint.prompts["query"],
            item_prompt=checkpoint.prompts["item"],
            visual_tokens=0 if config.vision_config is None else visual,
            preprocessing={p.modality.name: p.preprocessing for p in parts if p.preprocessing},
            full_dimensions=full,
        )

    def embed_fixed_inputs(self) -> Vectors:
        """The vectors by which two precisions of the model are compared."""
        return np.concatenate([p.encoder.embed(p.encoder.prepare(p.fixed)) for p in self._parts])


def opened(
    spec: str, device: str, precision: str, batch_size: int, weights_sha256: str | None
) -> GemmaEmbedder:
    """See ``Family.open``."""
    _check_precision(precision)
    parsed = parse(spec)
    checkpoint = checkpoints.find(parsed, weights_sha256)
    if precision != "auto":
        return GemmaEmbedder(parsed, checkpoint, device, precision, batch_size)
    exact = GemmaEmbedder(parsed, checkpoint, device, "float32", batch_size)
    if fastest_precision(choose_device(device)) != "bfloat16":
        return exact
    lower = GemmaEmbedder(parsed, checkpoint, device, "bfloat16", batch_size)
    cosine = least_cosine(exact.embed_fixed_inputs(), lower.embed_fixed_inputs())
    if cosine >= PRECISION_FLOOR:
        return lower
    logger.warning(
        "The model does not bear the fastest precision and runs in float32.",
        extra={"precision": "bfloat16", "cosine": cosine, "floor": PRECISION_FLOOR},
    )
    return exact


def opened_new(spec: str, device: str, precision: str) -> GemmaEmbedder:
    """See ``Family.open_new``."""
    if precision == "bfloat16":
        cosine = cosine_to_float32(spec, precision, device)
        if cosine < PRECISION_FLOOR:
            raise ModelError(
                f"{spec} does not bear {precision}: its vectors have a cosine of {cosine:.6f} to "
                f"those of float32, and {PRECISION_FLOOR} is the least; set PIPELINE_PRECISION=auto"
            )
    return opened(spec, device, precision, 0, None)


def cosine_to_float32(spec: str, precision: str, device: str) -> float:
    """See ``Family.cosine_to_float32``."""
    exact = opened(spec, device, "float32", 0, None).embed_fixed_inputs()
    return least_cosine(exact, opened(spec, device, precision, 0, None).embed_fixed_inputs())


def _check_precision(precision: str) -> None:
    if precision not in ("auto", *PRECISIONS):
        raise ConfigurationError(
            f"EmbeddingGemma 2 runs in {' or '.join(PRECISIONS)}, not in {precision}: what lies "
            "between its layers does not fit into float16; set PIPELINE_PRECISION=auto"
        )


def _read(checkpoint: GemmaCheckpoint) -> tuple[Any, Any]:
    """The configuration and the processor, of the folder's files alone."""
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = EmbeddingGemma2Config.from_pretrained(checkpoint.folder, **options)
        return config, EmbeddingGemma2Processor.from_pretrained(checkpoint.folder, **options)
    except Exception as exc:  # transformers raises nearly anything for a file that is wrong
        reason = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
        raise ModelError(
            f"{checkpoint.folder} cannot be read by transformers ({reason}); save the model and "
            "its processor there: save_pretrained(folder)"
        ) from exc


def _described(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _described(value) if isinstance(value, Mapping) else value
        for name, value in config.items()
        if name not in _NOT_DESCRIBED and value is not None
    }


def _settled(processor: Any) -> dict[str, Any]:
    """What decides the pixels or the spectra that it makes; the budget has a field of its own."""
    return {
        name: value
        for name, value in processor.to_dict().items()
        if isinstance(value, (bool, int, float, str, list)) and name != "max_soft_tokens"
    }
