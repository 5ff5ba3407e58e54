"""What the texts of a column mean: a table of texts does not say which of them are numbers.

A column is of numbers where each of its values is one and none would lose a digit; a number with
leading zeros, such as a postal code, is a text.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

Value = int | float | bool | str
Convert = Callable[[str], Value]

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,30})")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,30})(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?")
_TRUTH = {"true": True, "false": False}


def number(text: str) -> int | float:
    """A number as JSON writes it; raises ValueError for one that a float would change."""
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(text)
    found = float(text)
    if not math.isfinite(found) or Decimal(text) != Decimal(repr(found)):
        raise ValueError(text)
    return found


def truth(text: str) -> bool:
    """``true`` or ``false``, in any case; raises ValueError for anything else."""
    try:
        return _TRUTH[text.lower()]
    except KeyError:
        raise ValueError(text) from None


# What a column may be, and how people are told.
KINDS: dict[str, Convert] = {"numbers": number, "true or false": truth}


def kinds(columns: Sequence[str], records: Iterable[Sequence[str]]) -> dict[str, str]:
    """By column its kind, where it has one: the values of all records are of it, or empty."""
    possible = {place: set(KINDS) for place in range(len(columns))}
    seen: set[int] = set()
    for fields in records:
        for place in list(possible):
            if place < len(fields) and (text := fields[place]):
                seen.add(place)
                possible[place] = {kind for kind in possible[place] if _is_of(kind, text)}
                if not possible[place]:
                    del possible[place]
        if not possible:
            break
    return {columns[place]: min(of) for place, of in possible.items() if place in seen}


def _is_of(kind: str, text: str) -> bool:
    try:
        KINDS[kind](text)
    except ValueError:
        return False
    return True
