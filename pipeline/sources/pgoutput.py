"""The messages of PostgreSQL's logical decoding, as far as they name the rows that changed.

The format is that of the plugin ``pgoutput``, protocol version 1, of which every server from
PostgreSQL 10 on has it: https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Truncated:
    """All rows of a table went at once."""


@dataclass
class KeyReader:
    """Reads the keys of the rows that changed, of one table.

    Args:
        columns: the key's columns, in its order.
        encoding: the database's, as Python calls it.
    """

    columns: Sequence[str]
    encoding: str = "utf-8"
    _places: dict[int, list[int] | None] = field(default_factory=dict)

    def read(self, message: bytes) -> list[tuple[str, ...]] | Truncated | None:
        """The keys that a message names, as texts; None: it names none that could be read.

        An update names two where the key itself changed.
        """
        kind, body = message[:1], message[1:]
        if kind == b"R":
            self._relation(body)
        elif kind == b"T":
            return Truncated()
        elif kind in {b"I", b"U", b"D"}:
            return self._changed(body)
        return []

    def _relation(self, body: bytes) -> None:
        (relation,) = struct.unpack_from(">I", body)
        at = body.index(b"\0", body.index(b"\0", 4) + 1) + 1  # past the names of schema and table
        (count,) = struct.unpack_from(">H", body, at + 1)  # past the replica identity
        at += 3
        places = {}
        for n in range(count):
            end = body.index(b"\0", at + 1)  # past its flags
            places[body[at + 1 : end].decode(self.encoding)] = n
            at = end + 9
        known = all(column in places for column in self.columns)
        self._places[relation] = [places[column] for column in self.columns] if known else None

    def _changed(self, body: bytes) -> list[tuple[str, ...]] | None:
        (relation,) = struct.unpack_from(">I", body)
        places = self._places.get(relation)
        if places is None:  # a column was renamed since
            return None
        keys, at = [], 4
        while at < len(body):
            values, at = _tuple(body, at + 1)
            key = [values[place] for place in places]
            if any(value is None for value in key):
                return None
            keys.append(tuple(value.decode(self.encoding) for value in key if value is not None))
        return keys


def _tuple(body: bytes, at: int) -> tuple[list[bytes | None], int]:
    """The values of a row, None for what is null or not told, and where the next one begins."""
    (count,) = struct.unpack_from(">H", body, at)
    at += 2
    values: list[bytes | None] = []
    for _ in range(count):
        kind = body[at : at + 1]
        at += 1
        if kind in {b"n", b"u"}:
            values.append(None)
            continue
        (length,) = struct.unpack_from(">I", body, at)
        values.append(body[at + 4 : at + 4 + length])
        at += 4 + length
    return values, at
