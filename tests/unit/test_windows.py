"""Long texts are cut into windows that fit, and nothing of them is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer

from pipeline.embedders.openclip.tokens import Tokenizer
from pipeline.errors import PermanentRowError
from pipeline.modalities.text.windows import TextWindow, split_text

CLIP_TOKENIZER = Tokenizer(SimpleTokenizer(context_length=77), 77)


def count_words(text: str) -> int:
    """One token per started five characters of a word, and two special ones."""
    return 2 + sum((len(word) + 4) // 5 for word in text.split())


def uncovered(text: str, windows: list[TextWindow]) -> str:
    """What of ``text`` no window holds, white space aside."""
    covered = [False] * len(text)
    for window in windows:
        covered[window.start : window.end] = [True] * (window.end - window.start)
    return "".join(c for c, seen in zip(text, covered, strict=True) if not seen).strip()


def test_a_text_that_fits_is_one_window_as_it_is() -> None:
    text = "  a cat \n on a wall "
    assert split_text(text, count_words, 10, 2, 5) == [TextWindow(text, 0, len(text))]


def test_windows_end_at_sentences_when_one_ends_in_their_second_half() -> None:
    text = "one two four five. six seven eight. nine ten"
    assert [w.text for w in split_text(text, count_words, 8, 0, 9)] == [
        "one two four five.",
        "six seven eight. nine ten",
    ]


def test_without_a_sentence_end_windows_end_at_words() -> None:
    text = "one two three four five six seven"
    assert [w.text for w in split_text(text, count_words, 6, 0, 9)] == [
        "one two three four",
        "five six seven",
    ]


def test_overlap_repeats_the_last_words_of_the_window_before() -> None:
    text = "one two three four five six seven"
    assert [w.text for w in split_text(text, count_words, 6, 2, 9)] == [
        "one two three four",
        "three four five six",
        "five six seven",
    ]


def test_an_overlap_as_large_as_the_window_still_moves_on() -> None:
    text = "one two three four five six seven eight"
    windows = split_text(text, count_words, 6, 100, 9)
    assert [w.start for w in windows] == sorted({w.start for w in windows})
    assert uncovered(text, windows) == ""


def test_an_endless_word_is_cut_hard() -> None:
    windows = split_text("x" * 70, count_words, 8, 0, 9)
    assert [w.text for w in windows] == ["x" * 30, "x" * 30, "x" * 10]


def test_more_windows_than_allowed_is_a_permanent_error() -> None:
    with pytest.raises(PermanentRowError, match="more than 3 windows of 8 tokens") as caught:
        split_text("word " * 25, count_words, 8, 0, 3)
    assert caught.value.code == "too_many_windows"
    assert len(split_text("word " * 24, count_words, 8, 0, 4)) == 4


def test_a_book_is_refused_without_being_read_to_its_end() -> None:
    counted = []

    def count(text: str) -> int:
        counted.append(len(text))
        return count_words(text)

    book = " ".join(f"word{number}" for number in range(100_000))
    with pytest.raises(PermanentRowError):
        split_text(book, count, 77, 8, 4)
    assert sum(counted) < len(book) / 10


def test_the_true_count_decides_where_words_cost_more_together_than_apart() -> None:
    def count(text: str) -> int:
        words = len(text.split())
        return 2 + words + max(0, words - 1)  # one more for every space

    text = "one two three four five six seven"
    windows = split_text(text, count, 7, 0, 9)
    assert [w.text for w in windows] == ["one two three", "four five six", "seven"]
    assert max(count(w.text) for w in windows) == 7


@given(st.text(alphabet="ab ,.!\n\U0001f600\u732b", max_size=400), st.integers(0, 12))
def test_every_window_fits_and_every_character_is_in_one(text: str, overlap: int) -> None:
    windows = split_text(text, CLIP_TOKENIZER.count, 16, overlap, 400)
    for window in windows:
        assert window.text == text[window.start : window.end]
        assert CLIP_TOKENIZER.count(window.text) <= 16
    assert uncovered(text, windows) == ""
    starts = [window.start for window in windows]
    assert starts == sorted(set(starts))


def test_a_long_english_text_has_the_windows_that_clip_reads_whole() -> None:
    sentence = (
        "The harbour lies still at dawn, and three red boats wait beside the old stone wall. "
    )
    windows = CLIP_TOKENIZER.split(sentence * 20, overlap=8, max_windows=64)
    assert all(window.text.endswith("wall.") for window in windows)
    assert max(CLIP_TOKENIZER.count(window.text) for window in windows) <= 77
    assert CLIP_TOKENIZER.encode([window.text for window in windows]).shape == (len(windows), 77)


def test_a_text_of_nothing_to_read_is_empty() -> None:
    with pytest.raises(PermanentRowError) as caught:
        CLIP_TOKENIZER.split(" \n ", overlap=0, max_windows=4)
    assert caught.value.code == "empty_text"


@pytest.mark.parametrize("marker", ["<end_of_text>", "<START_OF_TEXT>", "&lt;end_of_text&gt;"])
def test_a_marker_inside_a_text_does_not_end_it(marker: str) -> None:
    tokens = CLIP_TOKENIZER.encode([f"a cat {marker} on a wall", "a cat"])
    special = {CLIP_TOKENIZER.encode([""])[0, 0], CLIP_TOKENIZER.encode([""])[0, 1]}
    inner = tokens[0, 1 : tokens[0].argmax()]
    assert not special & set(inner.tolist())
    assert len(inner) > 5


def test_tokens_of_ordinary_texts_are_those_of_openclip() -> None:
    texts = ["A Red bicycle, leaning!", "caf\u00e9 &amp; 3.14", "", "\u732b\u3068\u72ac don't"]
    expected = SimpleTokenizer(context_length=77)(texts).numpy()
    assert (CLIP_TOKENIZER.encode(texts) == expected).all()


def test_a_text_that_does_not_fit_is_refused_rather_than_cut() -> None:
    with pytest.raises(PermanentRowError, match="has 102 tokens and the model reads 77"):
        CLIP_TOKENIZER.encode(["a cat", "cat " * 100])
