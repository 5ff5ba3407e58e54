"""How long a server asks to be left alone."""

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_STEPS = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
# A number larger than this is a time of the clock.
_CLOCK = 10**9


def asked_seconds(headers: Mapping[str, str]) -> float | None:
    """``Retry-After`` if there is one, else the longest ``x-ratelimit-reset*``; None: neither.

    Seconds, a date, a time of the clock, or steps such as ``6m0s``. What is none of these is
    taken for nothing.
    """
    lower = {name.lower(): value.strip() for name, value in headers.items()}
    if (after := _seconds(lower.get("retry-after", ""))) is not None:
        return after
    resets = [
        seconds
        for name, value in lower.items()
        if name.startswith("x-ratelimit-reset") and (seconds := _seconds(value)) is not None
    ]
    return max(resets, default=None)


def _seconds(value: str) -> float | None:
    if re.fullmatch(r"\d+(\.\d+)?", value):
        seconds = float(value)
        return max(0.0, seconds - time.time()) if seconds > _CLOCK else seconds
    if value and _STEPS.sub("", value) == "":
        return sum(float(number) * _SECONDS[unit] for number, unit in _STEPS.findall(value))
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
