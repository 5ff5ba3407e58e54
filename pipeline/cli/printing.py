"""Other people's words on a terminal or in a log: no control sequence, no forged line, no text that
reads from right to left where it is written from left to right."""

import json
import re
import unicodedata
from typing import Any

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Format characters that belong to words: joiners of Persian, Hindi and emoji, the soft hyphen.
_OF_WORDS = "\u00ad\u200b\u200c\u200d\u2060\ufeff"
# Blanks of all kinds, and what only somebody's font or a newer Unicode knows.
_HARMLESS = {"Zs", "Co", "Cn"}
_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e\xa1-\xac\xae-\u05ff]")  # perhaps


def printable(text: str) -> str:
    """The same text in one line, with a replacement character for whatever does more than to be
    seen: control characters, line and paragraph separators, bidirectional controls, surrogates."""
    if text.isprintable():
        return text
    return "".join(char if _is_seen(char) else REPLACEMENT for char in text)


def printable_json(value: Any) -> str:
    """JSON in one line, in which such characters are escaped, so that nothing is lost."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return _NOT_PRINTABLE.sub(lambda m: m[0] if _is_seen(m[0]) else json.dumps(m[0])[1:-1], text)


def _is_seen(char: str) -> bool:
    return char.isprintable() or char in _OF_WORDS or unicodedata.category(char) in _HARMLESS
