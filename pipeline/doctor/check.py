"""What a check says."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. ``fix`` is a command or a statement; empty where all is well."""

    name: str
    ok: bool
    found: str
    fix: str = ""
