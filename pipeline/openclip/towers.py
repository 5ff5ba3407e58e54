"""How inputs go through OpenCLIP's towers, faster than OpenCLIP sends them and just as exactly.

Imported, with torch, by ``pipeline.openclip.loading`` and ``pipeline.embedder`` alone.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from open_clip.transformer import ResidualAttentionBlock, TextTransformer, text_global_pool
from torch.nn import functional

from pipeline.openclip.tokens import Tokens


class CausalTextTower:
    """A causal text tower that can be run on the first tokens alone.

    No position of a causal tower sees a later one, and its output is read at the end-of-text
    token: what is padded behind it is work for nothing (66 of 77 positions for a caption of 9
    words). OpenCLIP's ``encode_text`` adds the whole position table, hence this forward.
    """

    def __init__(self, module: torch.nn.Module, pool: str, end_id: int | None) -> None:
        self._module: Any = module
        self._pool = pool
        self._end_id = end_id

    def end_of_text(self, tokens: Tokens) -> npt.NDArray[np.int64]:
        """The position of each row that the tower's output is read at, shape (n,)."""
        marks = tokens if self._pool == "argmax" else tokens == self._end_id
        positions: npt.NDArray[np.int64] = marks.argmax(axis=1)
        return positions

    def encode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Features (n, dimensions) of int64 tokens (n, length), any length up to the context."""
        tower, length = self._module, tokens.shape[1]
        dtype = tower.transformer.get_cast_dtype()
        hidden = tower.token_embedding(tokens).to(dtype)
        hidden = hidden + tower.positional_embedding[:length].to(dtype)
        mask = tower.attn_mask[:length, :length].to(dtype)
        hidden = tower.transformer(hidden, attn_mask=mask)
        hidden = tower.ln_final(hidden)
        features: torch.Tensor = text_global_pool(hidden, tokens, self._pool, self._end_id)
        projection = tower.text_projection
        if isinstance(projection, torch.nn.Linear):
            projected: torch.Tensor = projection(features)
            return projected
        return features if projection is None else features @ projection


def is_causal(module: torch.nn.Module) -> bool:
    """Whether the text tower masks later positions: its mask is looked at, not its name."""
    mask = getattr(_text_tower(module), "attn_mask", None)
    if not isinstance(mask, torch.Tensor) or mask.ndim != 2 or mask.shape[0] != mask.shape[1]:
        return False
    causal = torch.full_like(mask, -torch.inf).triu_(1)
    return bool(torch.equal(mask, causal))


def causal_text_tower(module: torch.nn.Module) -> CausalTextTower | None:
    """The tower to cut texts with, None where every position counts.

    That is: SigLIP (not causal, reads the last position), CoCa (appends a token of its own),
    Hugging Face towers, and whatever is no plain CLIP or TextTransformer.
    """
    tower = _text_tower(module)
    if type(tower) is open_clip.CLIP:  # its text tower's parts are its own
        pool, end_id = tower.text_pool_type, tower.text_eos_id
    elif type(tower) is TextTransformer and not (
        tower.cls_emb is not None or tower.use_pad_mask or tower.output_tokens
    ):
        pool, end_id = tower.pool_type, tower.eos_id
    else:
        return None
    readable = pool in ("argmax", "eos")  # 'last' reads the padding
    return CausalTextTower(tower, pool, end_id) if readable and is_causal(module) else None


def _text_tower(module: torch.nn.Module) -> Any:
    return getattr(module, "text", module)


class SelfAttention(torch.nn.Module):
    """``torch.nn.MultiheadAttention`` for one input, on the same parameters.

    The original transposes a batch-first input before it projects it, and the strided matrix
    product that follows takes a third of the time in bfloat16 on a CPU.
    """

    def __init__(self, attention: torch.nn.MultiheadAttention) -> None:
        super().__init__()
        self._heads = attention.num_heads
        self._weight = attention.in_proj_weight
        self._bias = attention.in_proj_bias
        self._out = attention.out_proj

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        need_weights: bool = False,
        attn_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, None]:
        """Called as ResidualAttentionBlock does: all three the same, (n, length, width)."""
        n, length, width = query.shape
        joint = functional.linear(query, self._weight, self._bias)
        heads = joint.view(n, length, 3, self._heads, width // self._heads).permute(2, 0, 3, 1, 4)
        q, k, v = heads.unbind(0)
        if attn_mask is not None and attn_mask.ndim == 3:  # CoCa's, (n * heads, length, length)
            attn_mask = attn_mask.view(n, self._heads, length, length)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
        return self._out(mixed.transpose(1, 2).reshape(n, length, width)), None


def use_self_attention(module: torch.nn.Module) -> None:
    """Put ``SelfAttention`` in place wherever a tower of OpenCLIP's own attends to itself."""
    block: Any
    for block in module.modules():
        if type(block) is not ResidualAttentionBlock or hasattr(block, "ln_1_kv"):
            continue
        attention = block.attn
        if (
            type(attention) is torch.nn.MultiheadAttention
            and attention.batch_first
            and attention.in_proj_weight is not None
            and attention.bias_k is None
            and not attention.add_zero_attn
        ):
            block.attn = SelfAttention(attention)
