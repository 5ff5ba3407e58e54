"""Texts to tokens, with the prompt of their role; and the tokens that stand for what is no text."""

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import PermanentRowError
from pipeline.modalities.base import Role

_PROBES = ("A Red bicycle, leaning!", "caf\u00e9 &amp; 3.14 na\u00efve_x", "\u732b\u3068\u72ac", "")


class Tokens:
    """The processor's tokenizer. Safe to use from many threads.

    What a text says is never a special token: ``<|image|>`` in a caption would stand for an image
    that is not there, and ``<pad>`` for nothing.
    """

    def __init__(self, tokenizer: Any, prompts: Mapping[Role, str], context_length: int) -> None:
        self.prompts = prompts
        self.context_length = context_length
        self.pad = int(tokenizer.pad_token_id)
        self._tokenizer = tokenizer
        self._lock = threading.Lock()  # Hugging Face's tokenizers refuse a second borrower
        self._around = self._ids([""])[0]
        self._longest: str = max(prompts.values(), key=lambda p: len(self._ids([p])[0]))
        self.nothing = self.count("")

    def count(self, text: str) -> int:
        """Tokens of a text with the longer of the prompts.

        Raises:
            PermanentRowError: ``bad_text``.
        """
        return len(self._ids([self._longest + text])[0])

    def of(self, texts: Sequence[str], role: Role) -> list[list[int]]:
        """Token ids of texts in a role. Raises PermanentRowError: ``bad_text``."""
        return self._ids([self.prompts[role] + text for text in texts])

    def standing_for(self, begin: int, inside: int, end: int, times: int) -> list[int]:
        """What the processor writes for an image or a sound of so many tokens."""
        first, last = self._around[0], self._around[-1]
        return [first, begin, *([inside] * times), end, last]

    def sha256(self) -> str:
        """Of what decides a text's tokens: equal behaviour, equal hash."""
        vocabulary = sorted(self._tokenizer.get_vocab().items())
        content = json.dumps([vocabulary, self._ids(_PROBES)], separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        try:
            with self._lock:
                encoded = self._tokenizer(
                    list(texts), padding=False, truncation=False, split_special_tokens=True,
                    verbose=False,
                )  # fmt: skip
        except (UnicodeError, TypeError) as exc:
            raise PermanentRowError("bad_text", f"the text is no valid Unicode: {exc}") from exc
        return [list(own) for own in encoded["input_ids"]]
