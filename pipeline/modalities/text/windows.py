"""Long texts into windows that each fit into a model's context.

CLIP reads 77 tokens and SigLIP 64; OpenCLIP's tokenizers cut the rest off silently. Here nothing
is cut off: a long text becomes several windows, and each becomes an item of its own (a part).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pipeline.errors import PermanentRowError

CountTokens = Callable[[str], int]

_WORD = re.compile(r"\S+")
# Scripts that write words without blanks between them: Thai, Lao, Burmese, Khmer; and what Chinese
# and Japanese are written in, with their marks and the full-width forms.
_PHRASES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_WITHOUT_BLANKS = re.compile(
    f"[{_PHRASES}\u2e80-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef"
    "\U00020000-\U0003ffff]"
)
# Full stops of other scripts: Hindi, Arabic and Urdu, Armenian, Ethiopic, Burmese, Khmer, Chinese.
_MARKS = ".!?…\u0964\u0965\u061f\u06d4\u0589\u1362\u104a\u104b\u17d4\u17d5。！？\uff0e\uff61"  # noqa: RUF001  (full-width marks are meant)
_SENTENCE_END = re.compile(rf"[{_MARKS}][\"'”’»)\]」』】》〉）\uff63]*$")  # noqa: RUF001
# Thai and Lao have no full stop; there a blank ends a phrase.
_PHRASE_END = re.compile(rf"[{_PHRASES}](?=\s)")


@dataclass(frozen=True)
class TextWindow:
    """``text`` is ``whole[start:end]`` of the text it was cut from; offsets are characters."""

    text: str
    start: int
    end: int


def split_text(
    text: str, count_tokens: CountTokens, context: int, overlap: int, max_windows: int
) -> list[TextWindow]:
    """Cut ``text`` into windows of at most ``context`` tokens, in order, covering every word.

    A text that fits is one window, unchanged. Otherwise windows end at the last sentence end in
    their second half, else at a word border; a single word that is too long is cut between two
    characters. Words that no blank divides are found by Unicode's rules (``segments``).

    Args:
        count_tokens: the model's own count, start and end of text included.
        overlap: tokens that a window repeats from the one before, rounded down to whole words.

    Raises:
        PermanentRowError: ``too_many_windows``.
    """
    # A token is rarely over 8 characters long, so a longer text is not worth a count as a whole.
    if len(text) <= 8 * context and count_tokens(text) <= context:
        return [TextWindow(text, 0, len(text))]
    special = count_tokens("")
    room = context - special
    sizes: dict[str, int] = {}

    def size(word: str) -> int:
        if word not in sizes:
            sizes[word] = count_tokens(word) - special
        return sizes[word]

    words = _words(text, size, room, most=2 * room * max_windows)
    if words is None:
        raise _too_many(max_windows, context)
    windows: list[TextWindow] = []
    first = 0
    while first < len(words):
        if len(windows) == max_windows:
            raise _too_many(max_windows, context)
        last = _last_word(text, words, first, size, room)
        # Tokens of words are not quite additive (cleaning, merges): the true count decides.
        while last > first and count_tokens(_between(text, words, first, last)) > context:
            last -= 1
        start, end = words[first][0], words[last][1]
        windows.append(TextWindow(text[start:end], start, end))
        if last == len(words) - 1:
            break
        first = _repeat_from(text, words, first, last, size, overlap)
    return windows or [TextWindow(text, 0, len(text))]


def _too_many(max_windows: int, context: int) -> PermanentRowError:
    return PermanentRowError(
        "too_many_windows",
        f"the text needs more than {max_windows} windows of {context} tokens; split it into "
        "several rows or raise PIPELINE_MAX_WINDOWS",
    )


def _words(text: str, size: CountTokens, room: int, most: int) -> list[tuple[int, int]] | None:
    """Borders of every word; a word of more than ``room`` tokens in pieces that fit.

    None as soon as the words have more than ``most`` tokens, so that a book is not read to its
    end only to be refused.
    """
    words: list[tuple[int, int]] = []
    for match in _WORD.finditer(text):
        for start, end in _pieces(text, *match.span(), size, room):
            words.append((start, end))
            most -= size(text[start:end])
            if most < 0:
                return None
    return words


def _pieces(
    text: str, start: int, end: int, size: CountTokens, room: int
) -> Iterator[tuple[int, int]]:
    """The words within what stands between two blanks, in pieces that fit."""
    units: Iterable[tuple[int, int]] = [(0, end - start)]
    if _WITHOUT_BLANKS.search(text, start, end):
        # Late: loading ICU takes longer than cutting a text, and few texts need it.
        from pipeline.modalities.text import segments

        units = segments.units(text[start:end])
    elif not text[start:end].isascii() and _longest_fit(text, start, end, size, room) < end:
        # Of a script that is in no list of ours: Tibetan, Javanese, Balinese, Yi.
        from pipeline.modalities.text import segments

        units = segments.lines(text[start:end])
    for first, last in units:
        begin = start + first
        while begin < start + last:
            cut = _longest_fit(text, begin, start + last, size, room)
            yield begin, cut
            begin = cut


def _longest_fit(text: str, start: int, end: int, size: CountTokens, room: int) -> int:
    """The furthest border such that ``text[start:border]`` fits, at least one character on."""
    # Galloping first: measuring all of an endless word again and again would be quadratic.
    low, step = start + 1, max(room, 1)
    while True:
        high = min(start + step, end)
        if size(text[start:high]) > room:
            break
        if high == end:
            return end
        low, step = high, step * 2
    while high - low > 1:
        middle = (low + high) // 2
        if size(text[start:middle]) <= room:
            low = middle
        else:
            high = middle
    if text[start : low + 1].isascii():
        return low
    from pipeline.modalities.text import segments  # late, as above

    return segments.last_border(text, start, low)


def _last_word(
    text: str, words: list[tuple[int, int]], first: int, size: CountTokens, room: int
) -> int:
    """The word to end a window on that begins at ``first``."""
    used, last, sentence = 0, first, -1
    for index in range(first, len(words)):
        start, end = words[index]
        used += size(text[start:end])
        if used > room and index > first:
            break
        last = index
        if 2 * used >= room and _ends_sentence(text, start, end):
            sentence = index
    else:
        return last  # the rest of the text fits
    return sentence if sentence >= 0 else last


def _ends_sentence(text: str, start: int, end: int) -> bool:
    return (
        _SENTENCE_END.search(text[start:end]) is not None
        or _PHRASE_END.match(text, end - 1) is not None
    )


def _repeat_from(
    text: str, words: list[tuple[int, int]], first: int, last: int, size: CountTokens, overlap: int
) -> int:
    """The word the next window begins at: some before ``last``, yet always after ``first``."""
    begin, left = last + 1, overlap
    while begin - 1 > first:
        start, end = words[begin - 1]
        left -= size(text[start:end])
        if left < 0:
            break
        begin -= 1
    return begin


def _between(text: str, words: list[tuple[int, int]], first: int, last: int) -> str:
    return text[words[first][0] : words[last][1]]
