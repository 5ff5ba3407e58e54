"""The tree of a batch's beginnings: every position finds its own, and none is there twice."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.embedders.openclip.prefixes import PrefixTree


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Texts of few words, so that many begin alike; each read up to a position of its own."""
    n, length = draw(st.integers(1, 8)), draw(st.integers(1, 6))
    row = st.lists(st.integers(0, 2), min_size=length, max_size=length)
    tokens = np.array(draw(st.lists(row, min_size=n, max_size=n)), dtype=np.int32)
    ends = draw(st.lists(st.integers(0, length - 1), min_size=n, max_size=n))
    return tokens, np.array(ends)


def beginnings(tokens: np.ndarray, ends: np.ndarray) -> list[tuple[int, ...]]:
    """Of every position, row by row; () behind an end of text."""
    return [
        tuple(row[: position + 1].tolist()) if position <= end else ()
        for row, end in zip(tokens, ends, strict=True)
        for position in range(len(row))
    ]


@given(batches())
def test_every_position_is_at_the_node_of_its_own_beginning(
    batch: tuple[np.ndarray, np.ndarray],
) -> None:
    tokens, ends = batch
    tree = PrefixTree.of(tokens, ends)
    at = beginnings(tokens, ends)
    assert len(tree.tokens) == len(tree.depths) == len(tree.seen_at)
    assert len(tree.node_at) == tokens.size
    for position, beginning in enumerate(at):
        node = tree.node_at[position]
        if beginning:
            assert at[tree.seen_at[node]] == beginning
            assert (tree.tokens[node], tree.depths[node] + 1) == (beginning[-1], len(beginning))


@given(batches())
def test_no_beginning_of_sorted_texts_is_there_twice(batch: tuple[np.ndarray, np.ndarray]) -> None:
    tokens, _ = batch
    length = tokens.shape[1]
    # Each ends as a text of a model does: with the one token 3, and nothing behind it.
    ends = np.array([row.argmin() for row in tokens])
    tokens[np.arange(length) > ends[:, None]] = 0
    tokens[np.arange(len(tokens)), ends] = 3
    tokens = np.unique(tokens, axis=0)
    ends = tokens.argmax(axis=1)
    distinct = set(beginnings(tokens, ends)) - {()}
    assert len(PrefixTree.of(tokens, ends).tokens) == len(distinct)


def test_captions_that_begin_alike_share_their_beginning() -> None:
    start, a, red, green, bicycle, cat, end = 10, 1, 2, 3, 4, 5, 11
    tokens = np.array([
        [start, a, cat, end, 0],
        [start, a, red, bicycle, end],
        [start, a, red, cat, end],
        [start, green, cat, end, 0],
    ])  # fmt: skip
    tree = PrefixTree.of(tokens, tokens.argmax(axis=1))
    assert tree.tokens.tolist() == [
        start, a, cat, end, red, bicycle, end, cat, end, green, cat, end,
    ]  # fmt: skip
    assert tree.depths.tolist() == [0, 1, 2, 3, 2, 3, 4, 3, 4, 1, 2, 3]
    assert tree.node_at.reshape(4, 5)[2].tolist() == [0, 1, 4, 7, 8]
