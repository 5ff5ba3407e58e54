"""How texts go through OpenCLIP's towers, faster than OpenCLIP sends them and just as exactly.

Imports torch, for ``pipeline.embedders.openclip.embedder`` alone.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH
from open_clip.transformer import TextTransformer, Transformer, text_global_pool
from torch.nn import functional

from pipeline.embedders.openclip.blocks import block_at, is_plain_block
from pipeline.embedders.openclip.prefixes import PrefixTree
from pipeline.embedders.openclip.tokens import Tokens


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
        read = self._read_beginnings if self._shares_prefixes else self._read_positions
        features = read(tokens)
        projection = self._module.text_projection
        if isinstance(projection, torch.nn.Linear):
            projected: torch.Tensor = projection(features)
            return projected
        return features if projection is None else features @ projection

    def _read_beginnings(self, tokens: Tokens) -> torch.Tensor:
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

    def _read_positions(self, tokens: Tokens) -> torch.Tensor:
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


def context_length(config: Mapping[str, Any], module: torch.nn.Module) -> int:
    """How many tokens the model reads of a text, as OpenCLIP does.

    A tower of transformers' has positions for more (514 of RoBERTa, two of which no text reaches)
    than the model was trained with.
    """
    if config["text_cfg"].get("hf_model_name"):
        return int(config["text_cfg"].get("context_length") or DEFAULT_CONTEXT_LENGTH)
    return int(getattr(module, "context_length", None) or DEFAULT_CONTEXT_LENGTH)


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
