"""About how many tokens a text has, for a tokenizer that only its server knows.

Rather too many than too few: what is over a model's context its server cuts off, and most do so
without a word.
"""

import re

_PIECE = re.compile(r"[A-Za-z0-9]+|[^\sA-Za-z0-9]", re.ASCII)
# Of letters of English words to a token: CLIP's and GPT's tokenizers have more.
_LETTERS = 4
# Of the start and the end of a text.
_SPECIAL = 2


def estimate(text: str) -> int:
    """Tokens, start and end of the text included."""
    count = _SPECIAL
    for piece in _PIECE.findall(text):
        if piece.isascii():
            count += -(-len(piece) // _LETTERS)
        else:
            count += len(piece.encode("utf-8", "surrogatepass")) - 1  # of bytes, as a rule
    return count
