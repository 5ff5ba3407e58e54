"""Text as it goes to the model, and references as they may be shown.

A text is cleaned once, here, before its tokens are counted: the same sentence in another Unicode
form, or with a stray NUL, has the same vector.
"""

import re
import unicodedata

from pipeline.errors import PermanentRowError

_MAX_JUNK = 0.1  # more control characters than this is no text but some binary format
_KEPT_CONTROLS = "\t\n\r"
_URL = re.compile(r"(?i)\b[a-z][a-z0-9+.-]*:[/\\][^\s'\"<>]+")
_SCHEME = re.compile(r"(?i)^[a-z][a-z0-9+.-]*:[/\\]+")
_USER_INFO_WITH_SLASH = re.compile(r":(?!\d*$)")  # a password that holds a slash, not a port
_MAX_SHOWN = 300


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


def redact(ref: str) -> str:
    """A reference as logs and errors may show it: no user info, no query values, no payload."""
    if ref[:5].lower() == "data:":
        head, _, payload = ref.partition(",")
        return _shorten(f"{_printable(head)},({len(payload)} characters)")
    return _shorten(_redact_url(_printable(ref)))


def redact_message(message: str) -> str:
    """The same for every URL inside somebody else's message."""
    return _shorten(_URL.sub(lambda m: _redact_url(m[0]), _printable(message)))


def _redact_url(url: str) -> str:
    head = _SCHEME.match(url)
    if head is None:
        return url
    url, _, fragment = url.partition("#")
    url, mark, query = url.partition("?")
    rest = url[head.end() :]
    host, _, path = rest.partition("/")
    if "@" in host or ("@" in path and _USER_INFO_WITH_SLASH.search(host)):
        rest = "...@" + rest.rpartition("@")[2]
    if mark:
        names = [pair.partition("=")[0] for pair in re.split("[&;]", query) if "=" in pair]
        rest += mark + ("&".join(f"{name}=..." for name in names) or "...")
    return head[0] + rest + ("#..." if fragment else "")


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."
