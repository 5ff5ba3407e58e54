"""Where a text may be cut that no blank divides, by Unicode's own rules and dictionaries (ICU).

UAX 29 says what a user takes for one character and where words end, UAX 14 what may not begin or
end a line: a full stop stays with what it ends. Chinese, Japanese, Thai, Lao, Khmer and Burmese
write words without blanks, so ICU finds those by dictionaries.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, pairwise

from pipeline.errors import MissingExtra

try:
    from icu4py.breakers import CharacterBreaker, LineBreaker, WordBreaker
except ImportError as exc:
    raise MissingExtra("cutting such a text", "embed") from exc

_LOCALE = "und"


def units(text: str) -> Iterator[tuple[int, int]]:
    """Borders of the words of a text without blanks, each with the marks that belong to it."""
    lines, line, start = _ends(LineBreaker(text, _LOCALE)), 0, 0
    for end in _ends(WordBreaker(text, _LOCALE)):
        while line < end:
            line = next(lines)
        if line == end:
            yield start, end
            start = end


def lines(text: str) -> Iterator[tuple[int, int]]:
    """What a line may not be broken within: of a script without a dictionary a syllable."""
    return pairwise(chain([0], _ends(LineBreaker(text, _LOCALE))))


def last_border(text: str, start: int, end: int) -> int:
    """The last end of a character, as users take it, in ``text[start:end]``; at least 1 further.

    What people see as one, such as a family of emoji, stays whole, unless it is all there is.
    """
    # Whether a character ends there depends on what comes before and on the one that follows.
    found = [start + one for one in _ends(CharacterBreaker(text[start : end + 1], _LOCALE))]
    return max((one for one in found if one <= end), default=end)


def _ends(segments: Iterable[str]) -> Iterator[int]:
    end = 0
    for segment in segments:
        end += len(segment)
        yield end
