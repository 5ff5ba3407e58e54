"""Good files made bad, the same way for the same number."""

import random
from collections.abc import Callable

_EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\x01")


def _flip(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 40)):
        data[chance.randrange(len(data))] = chance.randrange(256)


def _flip_the_head(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 20)):
        data[chance.randrange(8, min(len(data), 600))] = chance.randrange(256)


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(8, len(data)) :]


def _leave_out(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(8, len(data))
    del data[start : start + chance.randint(1, 2000)]


def _repeat(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(8, len(data))
    data[start:start] = data[start : start + chance.randint(1, 2000)]


def _erase(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(8, len(data))
    end = min(len(data), start + chance.randint(1, 2000))
    data[start:end] = bytes(end - start)


def _exaggerate(data: bytearray, chance: random.Random) -> None:
    """Sizes and counts stand in fours of bytes, at the beginning and at the end."""
    for _ in range(chance.randint(1, 6)):
        near = chance.choice((min(len(data), 600), len(data)))
        start = chance.randrange(8, near - 4)
        if chance.random() < 0.5:
            start = len(data) - start
        data[start : start + 4] = chance.choice(_EXTREMES)


_KINDS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(_flip, _flip_the_head, _cut, _leave_out, _repeat, _erase, _exaggerate),
)


def mutated(data: bytes, number: int) -> bytes:
    """The file with one or two kinds of damage."""
    chance = random.Random(number)
    changed = bytearray(data)
    for _ in range(chance.randint(1, 2)):
        chance.choice(_KINDS)(changed, chance)
        if len(changed) < 700:
            break
    return bytes(changed)
