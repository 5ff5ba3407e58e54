"""How much of the source items one claim may fetch, beside how many."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClaimBounds:
    """In bytes, as UTF-8.

    Attributes:
        bytes: of references and metadata in one claim, which has at least one row in any case.
        text_bytes: of a reference that is the content itself; a longer one is not fetched.
        reference_bytes: the same of any other, such as a path or a ``data:`` URI.
    """

    bytes: int = 16 * 2**20
    text_bytes: int = 2**20
    reference_bytes: int = 192 * 2**20 + 1024


DEFAULT = ClaimBounds()
