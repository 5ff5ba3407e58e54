"""How long, as people write it."""

import re

from pipeline.cli.output import wrong

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(option: str, text: str) -> float:
    """In seconds, of ``90``, ``90s``, ``15m``, ``2h`` or ``1d``; anything else is wrong usage."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip())
    seconds = float(found[1]) * _SECONDS[found[2] or "s"] if found else 0.0
    if not 1 <= seconds <= 366 * 86400:
        wrong(option, f"{text!r} is no time; write 90s, 15m, 2h or 1d, a second at least")
    return seconds
