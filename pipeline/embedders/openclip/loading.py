"""OpenCLIP models: find, build, fill with exactly the weights of one checkpoint.

Imported, with torch, by ``pipeline.embedders.openclip.embedder`` alone.

OpenCLIP's own ``create_model`` is not used because it can return random or partly random weights
(no tag, no file in a folder), interpolates position tables of another image size silently, and
only warns when a tag was trained with QuickGELU and the architecture is not.
"""

import copy
import difflib
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from safetensors import SafetensorError
from safetensors.torch import load_file

from pipeline.embedders.openclip.blocks import cut_last_block, use_self_attention
from pipeline.embedders.openclip.checkpoints import (
    CONFIG_NAME,
    Checkpoint,
    ModelSpec,
    check_safetensors,
    parse_spec,
    read_config,
    read_folder,
)
from pipeline.embedders.openclip.hub import (
    TOKENIZER_FILES,
    fetch_config,
    fetch_tokenizer,
    fetch_weights,
)
from pipeline.embedders.openclip.tokens import Tokenizer
from pipeline.errors import ModelError

logger = logging.getLogger(__name__)

_OWN_TOKENIZER = tuple(file for file in TOKENIZER_FILES if file != "config.json")
_PREPROCESS_FIELDS = ("mean", "std", "interpolation", "resize_mode", "fill_color")


# where a model is


def find_checkpoint(model: str) -> Checkpoint:
    """The checkpoint that a spec names, downloaded if it has to be.

    Raises:
        ModelError: one line that names what is missing or unknown and what to do.
    """
    spec = parse_spec(model)
    if spec.folder is not None:
        return read_folder(spec.folder)
    if spec.hub_id is not None:
        return _from_hub(spec.hub_id)
    assert spec.architecture is not None
    config = open_clip.get_model_config(spec.architecture)
    if config is None:
        raise ModelError(
            f"{spec.architecture!r} is no architecture of OpenCLIP"
            f"{_close(spec.architecture, open_clip.list_models())}; "
            "open_clip.list_models() lists them, and a local folder works too"
        )
    if spec.weights is not None and spec.tag is None:
        preprocess = _common_preprocess(spec.architecture)
    else:
        preprocess = _config_of_tag(spec)
    if preprocess.get("quick_gelu"):  # the tag was trained so: the weights are wrong without it
        config["quick_gelu"] = True
    if spec.weights is not None:
        return Checkpoint(config, preprocess, spec.weights, spec.weights.parent)
    return Checkpoint(config, preprocess, _fetch_tag(preprocess, model))


def _close(word: str, words: Sequence[str]) -> str:
    """The known names nearest to ``word``, as the end of a clause."""
    by_lower = {known.lower(): known for known in words}
    close = difflib.get_close_matches(word.lower(), list(by_lower), n=4, cutoff=0.5)
    return f" (close: {', '.join(by_lower[name] for name in close)})" if close else ""


def _config_of_tag(spec: ModelSpec) -> dict[str, Any]:
    tags = open_clip.list_pretrained_tags_by_model(spec.architecture)
    if spec.tag is None:
        some = ", ".join(f"{spec.architecture}/{tag}" for tag in tags[:4])
        raise ModelError(
            f"{spec.architecture} is an architecture without weights; name pretrained ones"
            + (f", such as {some}" if some else f": {spec.architecture}:/path/file.safetensors")
        )
    config: dict[str, Any] = dict(open_clip.get_pretrained_cfg(spec.architecture, spec.tag))
    if not config:
        known = _close(spec.tag, tags) or (f" (there are: {', '.join(tags[:8])})" if tags else "")
        raise ModelError(f"{spec.architecture} has no pretrained tag {spec.tag!r}{known}")
    return config


def _common_preprocess(architecture: str) -> dict[str, Any]:
    """The preprocessing of weights without a tag: the one that all tags of it agree on."""
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    configs = [open_clip.get_pretrained_cfg(architecture, tag) for tag in tags]
    common = [{name: c.get(name) for name in _PREPROCESS_FIELDS} for c in configs]
    if any(config != common[0] for config in common):
        raise ModelError(
            f"weights of {architecture} are preprocessed in more than one way; say whose they "
            f"are like: {architecture}/{tags[0]}:/path/file.safetensors, or use a folder with "
            f"{CONFIG_NAME}"
        )
    return common[0] if common else {}


def _fetch_tag(config: Mapping[str, Any], model: str) -> Path:
    if config.get("hf_hub"):
        return fetch_weights(str(config["hf_hub"]))
    try:  # a few old tags are files of the web, cached and checked by OpenCLIP
        return Path(open_clip.download_pretrained_from_url(config["url"]))
    except (OSError, RuntimeError, KeyError) as exc:
        raise ModelError(
            f"the weights of {model} cannot be fetched ({exc}); go online once, or name a file: "
            f"{model}:/path/file.safetensors"
        ) from exc


def _from_hub(hub_id: str) -> Checkpoint:
    model_config, preprocess = read_config(fetch_config(hub_id))
    return Checkpoint(model_config, preprocess, fetch_weights(f"{hub_id}/"))


def architecture_name(config: Mapping[str, Any]) -> str:
    """OpenCLIP's name of a model configuration, ``custom`` if it is none of its own."""
    for name in open_clip.list_models():
        if open_clip.get_model_config(name) == config:
            return str(name)
    return "custom"


# how it is built


def load_model(checkpoint: Checkpoint, dtype: torch.dtype) -> torch.nn.Module:
    """The model with every parameter taken from the checkpoint, on the CPU, in ``dtype``.

    Raises:
        ModelError: the weights are no plain tensors, cut short, not finite, or of another
            architecture.
    """
    state = _read_weights(checkpoint.weights)
    try:
        # Without memory and random numbers first: ViT-H-14 builds in 0.1 s instead of 20.
        with torch.device("meta"):
            module = _build(checkpoint.model_config)
        _fill(module, state, checkpoint, dtype)
    except _LeftEmptyError:
        module = _build(checkpoint.model_config)
        _fill(module, state, checkpoint, dtype)
    use_self_attention(module)
    cut_last_block(module)
    module.to(dtype).eval().requires_grad_(False)
    for name in ("logit_scale", "logit_bias"):  # the temperature is described, so kept exactly
        if name in state:
            parameter = getattr(module, name)
            parameter.data = state[name].float().reshape(parameter.shape)
    return module


class _LeftEmptyError(Exception):
    """Some tensor is neither in the checkpoint nor one that we know how to make."""


def _build(config: Mapping[str, Any]) -> torch.nn.Module:
    arguments = copy.deepcopy(dict(config))
    text, vision = arguments["text_cfg"], arguments["vision_cfg"]
    if text.get("hf_model_name"):
        text["hf_model_pretrained"] = False  # every weight comes from the checkpoint
    if vision.get("timm_model_name"):
        vision["timm_model_pretrained"] = False
    custom = arguments.pop("custom_text", False) or text.get("hf_model_name")
    if custom and "multimodal_cfg" in arguments:
        kind = open_clip.CoCa
    else:
        kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    try:
        module: torch.nn.Module = kind(**arguments)
    except (TypeError, ValueError, KeyError, AssertionError, RuntimeError, OSError) as exc:
        if torch.empty(0).is_meta:
            raise _LeftEmptyError from exc
        raise ModelError(f"OpenCLIP cannot build the model from model_cfg: {exc}") from exc
    return module


def _read_weights(file: Path) -> dict[str, torch.Tensor]:
    if file.suffix == ".safetensors":
        check_safetensors(file)
        try:
            return dict(load_file(file))
        except (SafetensorError, OSError) as exc:
            raise ModelError(f"{file} cannot be read: {exc}; download it again") from exc
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = torch.load(file, map_location="cpu", weights_only=True)
        loaded = loaded.get("state_dict", loaded)
        state = {key.removeprefix("module."): value for key, value in loaded.items()}
        if not all(isinstance(value, torch.Tensor) for value in state.values()):
            raise TypeError("it holds more than tensors")
    except Exception as exc:  # torch.load raises nearly anything for a broken or hostile file
        raise ModelError(
            f"{file} is a pickle that holds more than plain tensors, or is damaged, and is not "
            "opened (it could run code); get the model's .safetensors instead"
        ) from exc
    return state


def _fill(
    module: torch.nn.Module,
    weights: Mapping[str, torch.Tensor],
    checkpoint: Checkpoint,
    dtype: torch.dtype,
) -> None:
    """Load ``weights``: all of them, each where it belongs, and nothing left over."""
    own = module.state_dict()
    state = convert_state_dict(module, dict(weights))
    if "positional_embedding" in state and "positional_embedding" not in own:
        state = convert_to_custom_text_state_dict(state)
    state.pop("text.transformer.embeddings.position_ids", None)  # dropped by transformers 4.31
    for name in ("logit_scale", "logit_bias"):  # a scalar here, one element there
        if name in state and name in own and state[name].numel() == own[name].numel():
            state[name] = state[name].reshape(own[name].shape)
    _check_fit(own, state, checkpoint)
    for name, tensor in state.items():
        if tensor.is_floating_point():
            # A copy: the file may be replaced while the model runs.
            state[name] = tensor.to(dtype, copy=True)
            if not torch.isfinite(torch.stack(torch.aminmax(state[name]))).all():
                raise ModelError(
                    f"{checkpoint.weights}: {name} holds values that are not finite in {dtype}; "
                    "download it again, or set PIPELINE_PRECISION=float32"
                )
    module.load_state_dict(state, strict=True, assign=True)
    for part in module.modules():
        mask = part._buffers.get("attn_mask")
        if mask is not None and mask.is_meta:  # not in checkpoints; the only one CLIP makes
            part._buffers["attn_mask"] = torch.full(mask.shape, -torch.inf).triu_(1)
        held = [*part._parameters.values(), *part._buffers.values(), *vars(part).values()]
        if any(isinstance(tensor, torch.Tensor) and tensor.is_meta for tensor in held):
            raise _LeftEmptyError


def _check_fit(
    own: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], checkpoint: Checkpoint
) -> None:
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in state and state[name].shape != tensor.shape
    ]
    faults = {
        "of another shape": shapes,
        "missing": sorted(own.keys() - state.keys()),
        "unexpected": sorted(state.keys() - own.keys()),
    }
    said = [
        f"{len(names)} {fault} ({'; '.join(names[:2])}{'; ...' if len(names) > 2 else ''})"
        for fault, names in faults.items()
        if names
    ]
    if said:
        name = architecture_name(checkpoint.model_config)
        raise ModelError(
            f"{checkpoint.weights} holds weights of another architecture than {name}: tensors "
            f"{', '.join(said)}; name the architecture that it was trained with"
        )


def load_tokenizer(checkpoint: Checkpoint, context_length: int, model: str) -> Tokenizer:
    """The tokenizer that the model was trained with.

    Raises:
        ModelError: its files are neither in the model's folder nor to be had from the hub.
    """
    text = checkpoint.model_config["text_cfg"]
    options = dict(text.get("tokenizer_kwargs") or {})
    name = text.get("hf_tokenizer_name") or text.get("hf_model_name")
    if not name:
        return Tokenizer(SimpleTokenizer(context_length=context_length, **options), context_length)
    folder = checkpoint.tokenizer_folder
    if folder is None or not any((folder / file).is_file() for file in _OWN_TOKENIZER):
        try:
            folder = fetch_tokenizer(name)
        except ModelError as exc:
            raise ModelError(
                f"{model} has no tokenizer beside its weights and {name} cannot be fetched; go "
                "online once, or put its tokenizer.json and tokenizer_config.json into the "
                "model's folder"
            ) from exc
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raw = HFTokenizer(
                str(folder),
                context_length=context_length,
                tokenizer_mode=text.get("tokenizer_mode"),
                **options,
            )
    except ImportError as exc:
        raise ModelError(f"the tokenizer of {model} needs: pip install transformers") from exc
    except Exception as exc:  # what transformers raises for a broken file varies
        raise ModelError(
            f"the tokenizer in {folder} cannot be read ({type(exc).__name__}); copy the model's "
            "tokenizer.json and tokenizer_config.json there again"
        ) from exc
    return Tokenizer(raw, context_length)


def preprocess_config(checkpoint: Checkpoint, module: torch.nn.Module) -> PreprocessCfg:
    """Size, crop, mean and standard deviation of the images, from the checkpoint and the model.

    Raises:
        ModelError: the configuration names something that OpenCLIP does not know.
    """
    values = merge_preprocess_dict(PreprocessCfg(), checkpoint.preprocess_config)
    size = getattr(module.visual, "image_size", values["size"])
    values["size"] = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    known = {
        "interpolation": ("bicubic", "bilinear", "random"),
        "resize_mode": ("shortest", "longest", "squash"),
        "mode": ("RGB",),
    }
    for name, choices in known.items():
        if values[name] not in choices:
            raise ModelError(
                f"preprocess_cfg of {checkpoint.weights.parent}: {name} is {values[name]!r}; "
                f"OpenCLIP knows {', '.join(choices)}"
            )
    for name in ("mean", "std"):
        given = values[name]
        values[name] = tuple(given) if isinstance(given, (tuple, list)) else (given,) * 3
    return PreprocessCfg(**values)
