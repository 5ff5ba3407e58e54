"""OpenCLIP models: built, and filled with exactly the weights of one checkpoint. Imports torch.

OpenCLIP's own ``create_model`` is not used because it can return random or partly random weights
(no tag, no file in a folder), interpolates position tables of another image size silently, and
only warns when a tag was trained with QuickGELU and the architecture is not.
"""

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file

from pipeline.embedders.local.files import check_safetensors
from pipeline.embedders.openclip.blocks import cut_last_block, use_self_attention
from pipeline.embedders.openclip.checkpoints import Checkpoint
from pipeline.embedders.openclip.deferred import deferred_imports
from pipeline.embedders.openclip.finding import architecture_name
from pipeline.embedders.openclip.huggingface.tensors import in_openclips_layout
from pipeline.embedders.openclip.tower_configs import text_tower_folder
from pipeline.embedders.openclip.without_memory import without_memory
from pipeline.errors import ModelError


def load_model(checkpoint: Checkpoint, dtype: torch.dtype) -> torch.nn.Module:
    """The model with every parameter taken from the checkpoint, on the CPU, in ``dtype``.

    Raises:
        ModelError: the weights are no plain tensors, cut short, not finite, or of another
            architecture.
    """
    state = _read_weights(checkpoint.weights)
    if checkpoint.saved_as is not None:
        state = in_openclips_layout(state, checkpoint.saved_as)
    try:
        # First without memory and random numbers: ViT-H-14 builds in 0.1 s instead of 20.
        with deferred_imports(), without_memory():
            module = _build(checkpoint.model_config, checkpoint.tokenizer_folder)
        _fill(module, state, checkpoint, dtype)
    except _LeftEmptyError:
        module = _build(checkpoint.model_config, checkpoint.tokenizer_folder)
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


def _build(config: Mapping[str, Any], folder: Path | None = None) -> torch.nn.Module:
    arguments = copy.deepcopy(dict(config))
    text, vision = arguments["text_cfg"], arguments["vision_cfg"]
    if text.get("hf_model_name"):
        text["hf_model_pretrained"] = False  # every weight comes from the checkpoint
        text["hf_model_name"] = str(text_tower_folder(text["hf_model_name"], folder))
    if vision.get("timm_model_name"):
        vision["timm_model_pretrained"] = False
    sizes = vision.pop("timm_kwargs", None)
    custom = arguments.pop("custom_text", False) or text.get("hf_model_name")
    if custom and "multimodal_cfg" in arguments:
        kind = open_clip.CoCa
    else:
        kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    try:
        module: Any = kind(**arguments)
        if sizes is not None:  # OpenCLIP has no word for a tower of timm's with other sizes
            name, pool = vision["timm_model_name"], vision["timm_pool"]
            module.visual.trunk = timm.create_model(name, num_classes=0, global_pool=pool, **sizes)
    except (TypeError, ValueError, KeyError, AssertionError, RuntimeError, OSError) as exc:
        if torch.empty(0).is_meta:
            raise _LeftEmptyError from exc
        raise ModelError(f"OpenCLIP cannot build the model from model_cfg: {exc}") from exc
    built: torch.nn.Module = module
    return built


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
