"""The tokenizer."""

import re
import zlib

import torch


class SimpleTokenizer:
    """Here: a token a word, by its checksum."""

    def __init__(self, bpe_path: str, context_length: int = 77) -> None:
        with open(bpe_path) as file:  # noqa: PTH123
            self.known = file.read().split()
        self.encoder = {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
        self.cache = {name: name for name in self.encoder}
        self.pat = re.compile(
            r"""<\|startoftext\|>|<\|endoftext\|>|[a-z]+|[0-9]|[^\sa-z0-9]+""", re.IGNORECASE
        )
        self.context_length = context_length

    def encode(self, text: str) -> list[int]:
        found = []
        for token in self.pat.findall(text.lower()):
            self.cache.setdefault(token, token)
            found.append(self.encoder.get(token, 1 + zlib.crc32(token.encode()) % 49_000))
        return found

    def __call__(self, texts: str | list[str], context_length: int | None = None) -> torch.Tensor:
        rows = []
        for text in [texts] if isinstance(texts, str) else texts:
            ids = [49406, *self.encode(text)][: (context_length or self.context_length) - 1]
            ids.append(49407)
            rows.append(ids + [0] * ((context_length or self.context_length) - len(ids)))
        found = torch.tensor(rows, dtype=torch.long)
        return found[0] if len(found) == 1 else found
