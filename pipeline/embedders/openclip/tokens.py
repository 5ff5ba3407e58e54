"""The model's own tokenizer, with three habits of OpenCLIP's taken away.

OpenCLIP's tokenizers cut a long text silently, read ``<end_of_text>`` inside a text as the end of
the text, and (CLIPA models) drop random words of a long one. Everything else is as OpenCLIP does
it: for a text that fits, the tokens are equal.
"""

import functools
import hashlib
import json
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import regex  # type: ignore[import-untyped]  # what OpenCLIP's own pattern is written in

from pipeline.errors import PermanentRowError
from pipeline.modalities.text.windows import TextWindow, split_text

Tokens = npt.NDArray[np.int32]

# Case, punctuation, entities, digits, accents, another script: what tokenizers disagree about.
_PROBES = ("A Red bicycle, leaning!", "caf\u00e9 &amp; 3.14 na\u00efve_x", "\u732b\u3068\u72ac", "")


class Tokenizer:
    """Texts to token ids. Safe to use from many threads."""

    def __init__(self, tokenizer: Any, context_length: int) -> None:
        """Wrap OpenCLIP's ``tokenizer`` (a SimpleTokenizer or an HFTokenizer)."""
        self.context_length = context_length
        self._tokenizer = tokenizer
        self._hf = getattr(tokenizer, "tokenizer", None)  # None: OpenCLIP's own byte-pair encoding
        self._lock = threading.Lock()  # Hugging Face's tokenizers refuse a second borrower
        if self._hf is None:
            tokenizer.reduction_fn = None
            plain = tokenizer.pat.pattern.removeprefix("<start_of_text>|<end_of_text>|")
            tokenizer.pat = regex.compile(plain, tokenizer.pat.flags)
        self._empty = self.count("")

    def count(self, text: str) -> int:
        """Tokens of ``text`` with nothing cut off, start and end of text included."""
        return len(self._ids([text])[0])

    def encode(self, texts: Sequence[str]) -> Tokens:
        """Token ids, padded as the model wants it, shape (n, context_length).

        Raises:
            PermanentRowError: ``too_many_windows`` for a text that does not fit as a whole
                (``split`` makes windows that do), ``bad_text`` for one that is no Unicode.
        """
        ids = self._ids(texts)
        for text, own in zip(texts, ids, strict=True):
            if len(own) > self.context_length:
                raise PermanentRowError(
                    "too_many_windows",
                    f"the text beginning {text[:40]!r} has {len(own)} tokens and the model reads "
                    f"{self.context_length}; split it into windows first",
                )
        if self._hf is None:
            rows = np.zeros((len(ids), self.context_length), dtype=np.int32)
            for row, own in zip(rows, ids, strict=True):
                row[: len(own)] = own
            return rows
        if not texts:
            return np.empty((0, self.context_length), dtype=np.int32)
        with self._lock:
            return np.asarray(self._tokenizer(list(texts)).numpy(), dtype=np.int32)

    def split(self, text: str, overlap: int, max_windows: int) -> list[TextWindow]:
        """Windows of ``text`` that each fit, see ``pipeline.modalities.text.windows.split_text``.

        Raises:
            PermanentRowError: ``empty_text`` when nothing of the text reaches the model,
                ``bad_text``, ``too_many_windows``.
        """
        count = functools.cache(self.count)  # a caption is asked about twice
        windows = split_text(text, count, self.context_length, overlap, max_windows)
        if len(windows) == 1 and count(windows[0].text) == self._empty:
            raise PermanentRowError("empty_text", "the text holds no word that the model can read")
        return windows

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Each text's ids with the special tokens around it, neither cut nor padded."""
        try:
            if self._hf is None:
                start, end = self._tokenizer.sot_token_id, self._tokenizer.eot_token_id
                return [[start, *self._tokenizer.encode(text), end] for text in texts]
            if not texts:
                return []
            cleaned = [self._tokenizer.clean_fn(text) for text in texts]
            clips = self._tokenizer.tokenizer_mode == "clips"  # adds its special tokens by hand
            with self._lock:
                encoded = self._hf(
                    cleaned, add_special_tokens=not clips, padding=False, truncation=False,
                    verbose=False,
                )  # fmt: skip
            special = [0, 0, 0] if clips else []
            return [[*own, *special] for own in encoded["input_ids"]]
        except (UnicodeError, TypeError) as exc:
            raise PermanentRowError("bad_text", f"the text is no valid Unicode: {exc}") from exc

    def highest_probe_id(self) -> int:
        """The highest id in a few probes; the model's embedding table must reach it.

        Not of the vocabulary: tokenizers carry spare ids that no text gives.
        """
        return max(max(ids) for ids in self._ids(_PROBES) if ids)

    def describe(self) -> dict[str, Any]:
        """What decides a text's tokens, as JSON: equal behaviour, equal description.

        By content (vocabulary, and the tokens of a few probes), not by file or library version.
        """
        probes = self._ids(_PROBES)
        vocabulary = sorted(self._vocabulary().items())
        content = json.dumps([vocabulary, probes], separators=(",", ":"))
        return {
            "kind": type(self._tokenizer).__name__,
            "clean": self._tokenizer.clean_fn.__name__.removeprefix("_clean_"),
            "context_length": self.context_length,
            "padding": int(self.encode(["a"])[0, -1]),
            "vocabulary_size": len(vocabulary),
            "sha256": hashlib.sha256(content.encode()).hexdigest(),
        }

    def _vocabulary(self) -> dict[str, int]:
        if self._hf is None:
            return dict(self._tokenizer.encoder)
        return dict(self._hf.get_vocab())
