"""The distinct beginnings of a batch of texts, which a causal tower needs to see only once.

No position of a causal tower sees a later one: what two texts begin with in common is equal in
every layer. Start-of-text alone is one position of seventeen in captions of 5 to 20 words; "a photo
of a" is five. Imports no torch.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.embedders.openclip.tokens import Tokens

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PrefixTree:
    """A batch of n texts, ``length`` tokens wide, as the tree of their beginnings.

    A node is a beginning of one or more texts, up to their end of text; it stands for the last
    token of that beginning. Positions are counted through the batch, row by row.

    Attributes:
        tokens: each node's token, shape (nodes,).
        depths: its position in the text, shape (nodes,).
        seen_at: a position of the batch that is at this node, shape (nodes,).
        node_at: the node of every position, shape (n * length,); behind the end of a text any.
    """

    tokens: Positions
    depths: Positions
    seen_at: Positions
    node_at: Positions

    @classmethod
    def of(cls, tokens: Tokens, ends: Positions) -> "PrefixTree":
        """The tree of texts (n, length), each read up to its position in ``ends`` (n,).

        Texts that begin alike share nodes where they lie next to each other, as sorted ones do.
        """
        n, length = tokens.shape
        columns = np.arange(length)
        as_above = np.zeros((n, length), dtype=bool)
        as_above[1:] = np.logical_and.accumulate(tokens[1:] == tokens[:-1], axis=1)
        as_above[1:] &= columns <= ends[:-1, None]  # what lies behind an end is no beginning
        is_node = ~as_above & (columns <= ends[:, None])
        seen_at = np.flatnonzero(is_node)
        numbers = np.zeros((n, length), dtype=np.int64)
        numbers.ravel()[seen_at] = np.arange(len(seen_at))
        rows = np.maximum.accumulate(np.where(is_node, np.arange(n)[:, None], 0), axis=0)
        return cls(
            tokens=tokens.ravel()[seen_at].astype(np.int64),
            depths=seen_at % length,
            seen_at=seen_at,
            node_at=numbers[rows, columns].ravel(),
        )
