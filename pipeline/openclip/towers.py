"""How inputs go through OpenCLIP's towers, faster than OpenCLIP sends them and just as exactly.

Imported, with torch, by ``pipeline.openclip.loading`` and ``pipeline.embedder`` alone.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from open_clip.transformer import (
    ResidualAttentionBlock,
    TextTransformer,
    Transformer,
    VisionTransformer,
    text_global_pool,
)
from torch.nn import functional

from pipeline.openclip.prefixes import PrefixTree
from pipeline.openclip.tokens import Tokens


class CausalTextTower:
    """A causal text tower that is run on the distinct beginnings of a batch of texts alone.

    Its output is read at the end-of-text token, and no position sees a later one: what is padded
    behind the end is work for nothing (66 of 77 positions for a caption of 9 words), and so is
    what two texts begin with in common, the second time. OpenCLIP's ``encode_text`` adds the whole
    position table to every row, hence this forward.
    """

    def __init__(self, module: torch.nn.Module, pool: str, end_id: int | None) -> None:
        self._module: Any = module
        self._pool = pool
        self._end_id = end_id
        transformer: Any = self._module.transformer
        self._shares_prefixes = (
            type(transformer) is Transformer
            and transformer.batch_first
            and all(is_plain_block(block) for block in transformer.resblocks)
        )

    def end_of_text(self, tokens: Tokens) -> npt.NDArray[np.int64]:
        """The position of each row that the tower's output is read at, shape (n,)."""
        marks = tokens if self._pool == "argmax" else tokens == self._end_id
        positions: npt.NDArray[np.int64] = marks.argmax(axis=1)
        return positions

    def encode(self, tokens: Tokens) -> torch.Tensor:
        """Features (n, dimensions) of tokens (n, length), any length up to the context.

        Quickest where texts that begin alike lie next to each other.
        """
        features = (self._read if self._shares_prefixes else self._read_all)(tokens)
        projection = self._module.text_projection
        if isinstance(projection, torch.nn.Linear):
            projected: torch.Tensor = projection(features)
            return projected
        return features if projection is None else features @ projection

    def _read(self, tokens: Tokens) -> torch.Tensor:
        """The last hidden state at each end of text, (n, width), over the tree of beginnings."""
        tower, (n, length) = self._module, tokens.shape
        ends = self.end_of_text(tokens)
        tree = PrefixTree.of(tokens, ends)
        node_at, seen_at = self._on_device(tree.node_at), self._on_device(tree.seen_at)
        hidden = self._embed(self._on_device(tree.tokens), self._on_device(tree.depths))
        *blocks, last = tower.transformer.resblocks
        for block in blocks:
            joint = block.attn.project(block.ln_1(hidden))
            rows = joint.index_select(0, node_at).view(n, length, -1)
            q, k, v = block.attn.heads(rows)
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            mixed = mixed.transpose(1, 2).flatten(2).flatten(0, 1).index_select(0, seen_at)
            hidden = hidden + block.ls_1(block.attn.out(mixed))
            hidden = hidden + block.ls_2(block.mlp(block.ln_2(hidden)))
        rows = hidden.index_select(0, node_at).view(n, length, -1)
        read = block_at(last, rows, self._on_device(ends), self._mask(length, hidden.dtype))
        features: torch.Tensor = tower.ln_final(read)[:, 0]
        return features

    def _read_all(self, tokens: Tokens) -> torch.Tensor:
        """The same by the tower's own blocks, whatever they are, at every position."""
        tower, length = self._module, tokens.shape[1]
        ids = self._on_device(tokens).long()
        hidden = self._embed(ids, torch.arange(length, device=ids.device))
        hidden = tower.transformer(hidden, attn_mask=self._mask(length, hidden.dtype))
        features: torch.Tensor = text_global_pool(
            tower.ln_final(hidden), ids, self._pool, self._end_id
        )
        return features

    def _embed(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        dtype = self._module.transformer.get_cast_dtype()
        embedded = self._module.token_embedding(ids).to(dtype)
        hidden: torch.Tensor = embedded + self._module.positional_embedding[positions].to(dtype)
        return hidden

    def _mask(self, length: int, dtype: torch.dtype) -> torch.Tensor:
        mask: torch.Tensor = self._module.attn_mask[:length, :length].to(dtype)
        return mask

    def _on_device(self, array: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(self._module.positional_embedding.device)


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
        n, length, _ = query.shape
        q, k, v = self.heads(self.project(query))
        if attn_mask is not None and attn_mask.ndim == 3:  # CoCa's, (n * heads, length, length)
            attn_mask = attn_mask.view(n, self._heads, length, length)
        return self._mix(q, k, v, attn_mask), None

    def at(
        self, x: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """What one position of each row gathers from all, (n, 1, width).

        Args:
            positions: (n,).
            mask: (length, length), added to the scores.
        """
        (q,) = self.heads(self.project(_at(x, positions), 0, 1))
        k, v = self.heads(self.project(x, 1, 3))
        return self._mix(q, k, v, None if mask is None else mask[positions][:, None, None, :])

    def project(self, x: torch.Tensor, first: int = 0, last: int = 3) -> torch.Tensor:
        """Some of queries, keys and values side by side: (..., width) to (..., parts * width)."""
        width = x.shape[-1]
        weight = self._weight[first * width : last * width]
        bias = None if self._bias is None else self._bias[first * width : last * width]
        return functional.linear(x, weight, bias)

    def heads(self, joint: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Apart again: (n, length, parts * width) to each (n, heads, length, width of a head)."""
        n, length, _ = joint.shape
        of_a_head = self._weight.shape[1] // self._heads
        parts = joint.view(n, length, -1, self._heads, of_a_head)
        return parts.permute(2, 0, 3, 1, 4).unbind(0)

    def out(self, mixed: torch.Tensor) -> torch.Tensor:
        """The projection of what the heads gathered, (..., width)."""
        gathered: torch.Tensor = self._out(mixed)
        return gathered

    def _mix(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).flatten(2))


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


def _at(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """One position of each row: (n, length, width) to (n, 1, width)."""
    return x[torch.arange(len(x), device=x.device), positions].unsqueeze(1)


def is_plain_block(block: Any) -> bool:
    """Whether ``block_at`` knows how to compute it."""
    return type(block) is ResidualAttentionBlock and type(block.attn) is SelfAttention


def block_at(
    block: Any, x: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """A block's output at one position of each row, (n, 1, width), exactly.

    The last block of a tower is read there alone: the other positions are needed as keys and
    values, no further. That saves five sixths of one block, of the twelve of a ViT-B.
    """
    one = _at(x, positions) + block.ls_1(block.attn.at(block.ln_1(x), positions, mask))
    out: torch.Tensor = one + block.ls_2(block.mlp(block.ln_2(one)))
    return out


class LastBlock(torch.nn.Module):
    """The last block of an image tower that is read at its class token, computed for it alone."""

    def __init__(self, block: ResidualAttentionBlock) -> None:
        super().__init__()
        self._block: Any = block

    def get_weight_dtype(self) -> torch.dtype:
        """Asked of a tower's first block, which may be its last."""
        dtype: torch.dtype = self._block.get_weight_dtype()
        return dtype

    def forward(self, x: torch.Tensor, **_: None) -> torch.Tensor:
        """From (n, length, width) to (n, 1, width)."""
        return block_at(self._block, x, torch.zeros(len(x), dtype=torch.int64, device=x.device))


def cut_last_block(module: torch.nn.Module) -> None:
    """Put ``LastBlock`` in place where the image tower is a ViT that is read at its class token."""
    visual: Any = getattr(module, "visual", None)
    if type(visual) is not VisionTransformer or type(visual.transformer) is not Transformer:
        return
    blocks = visual.transformer.resblocks
    if (
        visual.pool_type == "tok"
        and visual.attn_pool is None
        and not visual.output_tokens
        and is_plain_block(blocks[-1])
    ):
        blocks[-1] = LastBlock(blocks[-1])
