"""Text as a modality."""

import hashlib
from typing import Protocol

from pipeline.modalities.base import Decoded, Encoder, Modality, Part, ReadOptions
from pipeline.modalities.text.cleaning import clean_text
from pipeline.modalities.text.windows import TextWindow

# Short, cut-worthy, upper case, punctuated, not Latin: each touches another part of a tokenizer.
PROBES = (
    "a photo of a cat",
    "Two RED bicycles, leaning against a brick wall -- in the rain!",
    "42",
    "naïve café, 北京, שלום, 🚲",
    "The harbour at dawn, seen from the hill: small boats, gulls, fog, and one bright window.",
)


class TextEncoder(Encoder, Protocol):
    """An encoder of texts knows its tokenizer, hence where a text is to be cut."""

    def split(self, text: str, overlap: int, max_windows: int) -> list[TextWindow]:
        """Windows of ``text`` that each fit into the context, by the model's own tokens.

        Raises:
            PermanentRowError: ``empty_text``, ``bad_text``, ``too_many_windows``.
        """


class Text(Modality):
    """A text in any language; a long one becomes several parts."""

    name = "text"
    media = "text"
    description = "A text; the reference is the text itself."
    inline = True
    columns = ("text", "caption", "title", "description")

    def accepts(self, value: object) -> bool:
        return isinstance(value, str)

    def decode(self, data: bytes, options: ReadOptions) -> Decoded:
        """Raises PermanentRowError: ``empty_text`` or ``bad_text``."""
        return Decoded(clean_text(data.decode("utf-8", "surrogatepass")))

    def parts(self, decoded: Decoded, encoder: Encoder, options: ReadOptions) -> list[Part]:
        split: TextEncoder = encoder  # type: ignore[assignment]  # what a text's encoder is
        windows = split.split(decoded.content, options.text_overlap_tokens, options.max_windows)
        return [
            Part(
                content=window.text,
                notes={}
                if len(windows) == 1
                else {"parts": len(windows), "start": window.start, "end": window.end},
                shown=window.text,
                sha256=hashlib.sha256(window.text.encode()).digest(),
            )
            for window in windows
        ]

    def probes(self) -> list[bytes]:
        return [text.encode() for text in PROBES]


TEXT = Text()
