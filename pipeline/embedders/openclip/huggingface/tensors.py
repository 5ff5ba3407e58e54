"""Weights as transformers names them, in OpenCLIP's names and shapes. Imports torch."""

import re
from collections.abc import Mapping

import torch

State = dict[str, torch.Tensor]

_IN_A_BLOCK = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_IN_A_TIMM_BLOCK = {
    "self_attn.out_proj": "attn.proj",
    "layer_norm1": "norm1",
    "layer_norm2": "norm2",
}
_CLIP = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.": "ln_final.",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.": "visual.conv1.",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.": "visual.ln_pre.",  # sic
    "vision_model.post_layernorm.": "visual.ln_post.",
}
_SIGLIP = {
    "text_model.embeddings.token_embedding.weight": "text.token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "text.positional_embedding",
    "text_model.final_layer_norm.": "text.ln_final.",
    "text_model.head.": "text.text_projection.",
    "vision_model.embeddings.patch_embedding.": "visual.trunk.patch_embed.proj.",
    "vision_model.embeddings.position_embedding.weight": "visual.trunk.pos_embed",
    "vision_model.post_layernorm.": "visual.trunk.norm.",
    "vision_model.head.probe": "visual.trunk.attn_pool.latent",
    "vision_model.head.layernorm.": "visual.trunk.attn_pool.norm.",
    "vision_model.head.mlp.": "visual.trunk.attn_pool.mlp.",
    "vision_model.head.attention.out_proj.": "visual.trunk.attn_pool.proj.",
}
_BLOCK = re.compile(r"(text|vision)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")


def in_openclips_layout(state: Mapping[str, torch.Tensor], saved_as: str) -> State:
    """The same weights for the model that ``architecture`` describes.

    What has no place there keeps its name, so that it is refused by it.

    Args:
        saved_as: the ``model_type``.
    """
    siglip = saved_as == "siglip"
    converted: State = {}
    joined: dict[str, State] = {}
    for name, tensor in state.items():
        if name.endswith("embeddings.position_ids"):  # 0, 1, 2, ...; until transformers 4.31
            continue
        if (block := _BLOCK.fullmatch(name)) is not None:
            place, part = _place_in(block, siglip)
            if part is None:
                converted[place] = tensor
            else:
                joined.setdefault(place, {})[part] = tensor
        elif siglip:
            converted |= _of_siglip(name, tensor)
        else:
            converted |= _of_clip(name, tensor)
    for place, parts in joined.items():
        if parts.keys() == {"q", "k", "v"}:
            converted[place] = torch.cat([parts[part] for part in "qkv"])
    return converted


def _place_in(block: re.Match[str], siglip: bool) -> tuple[str, str | None]:
    """OpenCLIP's name of a tensor of a block, and which part of that tensor it is."""
    tower, number, name, kind = block.groups()
    timm = siglip and tower == "vision"
    if tower == "vision":
        prefix = f"visual.{'trunk.blocks' if timm else 'transformer.resblocks'}.{number}"
    else:
        prefix = f"{'text.' if siglip else ''}transformer.resblocks.{number}"
    if (part := re.fullmatch(r"self_attn\.([qkv])_proj", name)) is not None:
        return f"{prefix}.attn.{f'qkv.{kind}' if timm else f'in_proj_{kind}'}", part[1]
    names = _IN_A_TIMM_BLOCK if timm else _IN_A_BLOCK
    return f"{prefix}.{names.get(name, name)}.{kind}", None


def _of_clip(name: str, tensor: torch.Tensor) -> State:
    if name == "text_projection.weight":
        return {"text_projection": tensor.T.contiguous()}
    if name == "visual_projection.weight":
        return {"visual.proj": tensor.T.contiguous()}
    return {_renamed(name, _CLIP): tensor}


def _of_siglip(name: str, tensor: torch.Tensor) -> State:
    head = "vision_model.head.attention.in_proj_"
    if name.startswith(head):  # queries; keys and values in one
        kind, width = name.removeprefix(head), len(tensor) // 3
        pool = "visual.trunk.attn_pool"
        return {f"{pool}.q.{kind}": tensor[:width], f"{pool}.kv.{kind}": tensor[width:]}
    renamed = _renamed(name, _SIGLIP)
    return {renamed: tensor[None] if renamed.endswith(".pos_embed") else tensor}


def _renamed(name: str, names: Mapping[str, str]) -> str:
    for theirs, ours in names.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name
