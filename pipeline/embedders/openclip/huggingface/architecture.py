"""OpenCLIP's ``model_cfg`` of a ``config.json`` that transformers wrote."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError

Config = Mapping[str, Any]

# What transformers leaves out of a file: it is at its default there.
_TEXT = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "eos_token_id": 49407,
}
_VISION = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
_OF_SIGLIP = {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}
_SIGLIP_TEXT = _TEXT | _OF_SIGLIP | {
    "vocab_size": 32000,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "max_position_embeddings": 64,
}  # fmt: skip
_SIGLIP_VISION = _VISION | _OF_SIGLIP | {"patch_size": 16, "vision_use_head": True}

# The end-of-text token that every CLIP had until transformers 4.30, none of them truly: its towers
# are then read where the highest id stands.
_LEGACY_END = 2


def model_config(file: Path, config: Config) -> dict[str, Any]:
    """The architecture, as OpenCLIP's ``model_cfg`` says it.

    Args:
        file: where ``config`` is from, for the errors.

    Raises:
        ModelError: it is of a kind that OpenCLIP has no towers for, naming the kind; or it has
            a setting that they do not.
    """
    kind = config.get("model_type")
    made = _BY_KIND.get(str(kind))
    if made is None:
        said = _NAFLEX if kind == "siglip2" else f"OpenCLIP's towers are those of {_known()}"
        raise ModelError(f"{file}: the model_type is {kind!r}; {said}")
    try:
        return made(config)
    except _CannotSayError as exc:
        raise ModelError(f"{file}: {exc}, which OpenCLIP's towers of {kind} cannot have") from exc
    except (TypeError, ValueError, ZeroDivisionError, AttributeError) as exc:
        raise ModelError(f"{file} is no configuration of {kind}: {exc!r}") from exc


_NAFLEX = (
    "this is SigLIP 2 in its NaFlex form, which takes images of any shape as patches, and OpenCLIP "
    "has no tower for it; take one of a fixed resolution, such as google/siglip2-base-patch16-224"
)


class _CannotSayError(Exception):
    """A setting for which OpenCLIP has no word."""


def _clip(config: Config) -> dict[str, Any]:
    text, vision = _part(config, "text_config", _TEXT), _part(config, "vision_config", _VISION)
    end = text["eos_token_id"]
    if not (_is_legacy(config, end) or end == text["vocab_size"] - 1):
        text_end = {"pool_type": "eos", "eos_id": end}
    else:
        text_end = {}  # the highest id of a text, which is how OpenCLIP reads a CLIP
    head_width = vision["hidden_size"] // vision["num_attention_heads"]
    return {
        "embed_dim": config.get("projection_dim", 512),
        **({"quick_gelu": True} if _activation(text, vision) == "quick_gelu" else {}),
        "vision_cfg": {
            "image_size": _square(vision, "image_size"),
            "layers": vision["num_hidden_layers"],
            "width": vision["hidden_size"],
            **({} if head_width == 64 else {"head_width": head_width}),
            **_ratio(vision),
            "patch_size": _square(vision, "patch_size"),
            **_norm(vision, usual=1e-5),
            **_gelu(vision),
        },
        "text_cfg": _text_cfg(text) | _norm(text, usual=1e-5) | _gelu(text) | text_end,
    }


def _siglip(config: Config) -> dict[str, Any]:
    text = _part(config, "text_config", _SIGLIP_TEXT)
    vision = _part(config, "vision_config", _SIGLIP_VISION)
    dimensions = text.get("projection_size") or text["hidden_size"]
    if vision["hidden_size"] != dimensions:
        raise _CannotSayError(
            f"texts have {dimensions} dimensions and images {vision['hidden_size']}"
        )
    if not vision["vision_use_head"]:
        raise _CannotSayError("vision_use_head is false")
    if vision["layer_norm_eps"] != 1e-6:
        raise _CannotSayError(f"vision_config.layer_norm_eps is {vision['layer_norm_eps']}")
    activation = _activation(text, vision)
    if activation == "quick_gelu":
        raise _CannotSayError(f"hidden_act is {activation!r}")
    return {
        "embed_dim": dimensions,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": _square(vision, "image_size"),
            "timm_model_name": "vit_base_patch16_siglip_224",
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
            # Of our own: what the model of that name has other than its usual sizes.
            "timm_kwargs": {
                "img_size": _square(vision, "image_size"),
                "patch_size": _square(vision, "patch_size"),
                "embed_dim": vision["hidden_size"],
                "depth": vision["num_hidden_layers"],
                "num_heads": vision["num_attention_heads"],
                "mlp_ratio": _ratio(vision).get("mlp_ratio", 4.0),
                "act_layer": "gelu_tanh" if activation == "gelu_pytorch_tanh" else "gelu",
            },
        },
        "text_cfg": {
            **_text_cfg(text),
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            **_norm(text, usual=1e-5),
            **_gelu(text),
        },
    }


_BY_KIND: dict[str, Callable[[Config], dict[str, Any]]] = {
    "clip": _clip,
    "metaclip_2": _clip,
    "siglip": _siglip,
}


def _known() -> str:
    return ", ".join(_BY_KIND)


def _part(config: Config, name: str, usual: Config) -> dict[str, Any]:
    """``text_config`` or ``vision_config``; an old file's ``*_config_dict`` wins, as there."""
    own = dict(config.get(name) or {})
    older = config.get(f"{name}_dict")
    return {**usual, **own, **({**usual, **older} if older else {})}


def _is_legacy(config: Config, end: Any) -> bool:
    return bool(end == _LEGACY_END and config["model_type"] == "clip")


def _text_cfg(text: Config) -> dict[str, Any]:
    return {
        "context_length": text["max_position_embeddings"],
        "vocab_size": text["vocab_size"],
        "width": text["hidden_size"],
        "heads": text["num_attention_heads"],
        "layers": text["num_hidden_layers"],
        **_ratio(text),
    }


def _ratio(part: Config) -> dict[str, Any]:
    """How many times wider the middle of a block is; OpenCLIP multiplies and cuts the rest off."""
    inner, width = int(part["intermediate_size"]), int(part["hidden_size"])
    ratio = inner / width
    if ratio == 4:
        return {}
    return {"mlp_ratio": ratio if int(width * ratio) == inner else (inner + 0.5) / width}


def _norm(part: Config, *, usual: float) -> dict[str, Any]:
    eps = part["layer_norm_eps"]
    return {} if eps == usual else {"norm_kwargs": {"eps": eps}}


def _gelu(part: Config) -> dict[str, Any]:
    tanh = part["hidden_act"] == "gelu_pytorch_tanh"
    return {"act_kwargs": {"approximate": "tanh"}} if tanh else {}


def _activation(text: Config, vision: Config) -> str:
    """The one of both towers."""
    for part in (text, vision):
        if part["hidden_act"] not in ("gelu", "quick_gelu", "gelu_pytorch_tanh"):
            raise _CannotSayError(f"hidden_act is {part['hidden_act']!r}")
    if text["hidden_act"] != vision["hidden_act"]:
        raise _CannotSayError(
            f"hidden_act is {text['hidden_act']!r} of texts and {vision['hidden_act']!r} of images"
        )
    return str(text["hidden_act"])


def _square(vision: Config, name: str) -> int:
    if vision.get("num_channels", 3) != 3:
        raise _CannotSayError(f"num_channels is {vision['num_channels']}")
    if not isinstance(vision[name], int):
        raise _CannotSayError(f"vision_config.{name} is {vision[name]}")
    return int(vision[name])
