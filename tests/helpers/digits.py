"""A third modality with a model for it, as somebody's plug-in would bring them: files of numbers.

One modality object and one encoder; the package knows nothing of either.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline import modalities
from pipeline.errors import PermanentRowError
from pipeline.modalities import Decoded, Encoder, Modality, Part, ReadOptions, Role
from pipeline.vectors import Vectors, unit_rows
from tests.helpers.fakes import FAKE_DIMENSIONS, FAKE_FAMILY, FakeEmbedder

MAGIC = b"digits\n"
Numbers = npt.NDArray[np.float32]


class Digits(Modality):
    """A file that begins with ``digits``; each further line, numbers, is a part of its own."""

    name = "digits"
    media = "application"
    description = "Lines of numbers in a file that begins with the word digits."
    suffixes = frozenset({".digits"})
    columns = ("digits",)

    def sniff(self, head: bytes) -> bool:
        return head.startswith(MAGIC)

    def accepts(self, value: object) -> bool:
        return isinstance(value, list) and all(isinstance(v, np.ndarray) for v in value)

    def decode(self, data: bytes, options: ReadOptions) -> Decoded:
        if not self.sniff(data):
            raise PermanentRowError("unsupported_format", "a file of digits begins with digits")
        lines = data.decode("ascii", "replace").splitlines()[1:]
        try:
            numbers = [np.array(line.split(), dtype=np.float32) for line in lines]
        except ValueError as exc:
            raise PermanentRowError("corrupt", f"these are no digits: {exc}") from exc
        if not numbers:
            raise PermanentRowError("empty_file", "a file of digits has a line of them")
        return Decoded(numbers, {"lines": len(numbers)})

    def parts(self, decoded: Decoded, encoder: Encoder, options: ReadOptions) -> list[Part]:
        return [
            Part(line, {**decoded.notes, "line": n}, sha256=line.tobytes().ljust(32, b"\0")[:32])
            for n, line in enumerate(decoded.content, 1)
        ]

    def probes(self) -> list[bytes]:
        return [MAGIC + b"1 2 3\n", MAGIC + b"9 8 7 6\n0 0 1\n"]


class DigitsEncoder:
    """As a vector, the numbers themselves: of the length of the fake's vectors, and unit length."""

    batch_size = 4
    most_inputs = 8

    def prepare(self, contents: Sequence[Numbers]) -> list[Numbers]:
        if any(len(numbers) > FAKE_DIMENSIONS for numbers in contents):
            raise PermanentRowError("too_large", f"a line has at most {FAKE_DIMENSIONS} digits")
        return [np.pad(numbers, (0, FAKE_DIMENSIONS - len(numbers))) for numbers in contents]

    def embed(self, inputs: Sequence[npt.NDArray[Any]], role: Role = "item") -> Vectors:
        return unit_rows(np.stack(list(inputs)))


class DigitsEmbedder(FakeEmbedder):
    """The fake with a third encoder."""

    def __init__(self, dimensions: int = FAKE_DIMENSIONS) -> None:
        super().__init__(dimensions)
        self.encoders[DIGITS.name] = DigitsEncoder()


DIGITS = Digits()


def install() -> None:
    """Make them known to this process, as an installed plug-in would be."""
    modalities.register(DIGITS)
    FAKE_FAMILY.make = DigitsEmbedder
