"""Text as it goes to the model.

A text is cleaned once, here, before its tokens are counted: the same sentence in another Unicode
form, or with a stray NUL, has the same vector.
"""

import unicodedata

from pipeline.errors import PermanentRowError

_MAX_JUNK = 0.1  # more control characters than this is no text but some binary format
_KEPT_CONTROLS = "\t\n\r"


def clean_text(text: str) -> str:
    """NFC, without control characters, lone surrogates or outer white space.

    Halves of a surrogate pair (from JSON escapes or UTF-16) are joined, a lone one becomes
    U+FFFD, a control character becomes a space. Idempotent.

    Raises:
        PermanentRowError: ``empty_text`` when nothing visible is left; ``bad_text`` when more
            than a tenth of the characters had to be replaced.
    """
    if text.isprintable() and "\ufffd" not in text:
        # Nothing to mend: no control character, no surrogate, no white space but the blank.
        mended = unicodedata.normalize("NFC", text).strip()
        if mended:
            return mended
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    visible = "".join(" " if _is_control(char) else char for char in joined)
    cleaned = unicodedata.normalize("NFC", visible).strip()
    if not any(_is_visible(char) for char in cleaned):
        raise PermanentRowError(
            "empty_text", "the text is empty or white space; expected at least one character"
        )
    junk = sum(_is_control(char) or char == "\ufffd" for char in joined)
    if junk > max(1, _MAX_JUNK * len(cleaned)):
        raise PermanentRowError(
            "bad_text",
            f"{junk} of {len(joined)} characters are NUL, control or broken characters; "
            "expected text, this looks like binary data",
        )
    return cleaned


def _is_control(char: str) -> bool:
    return unicodedata.category(char) == "Cc" and char not in _KEPT_CONTROLS


def _is_visible(char: str) -> bool:
    return not char.isspace() and unicodedata.category(char) not in {"Cc", "Cf"}
