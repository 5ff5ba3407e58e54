"""What ``pyproject.toml`` declares, and which modules that is."""

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]


def normal(name: str) -> str:
    """As package indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def distributions(requirements: Iterable[str]) -> set[str]:
    """Their names; an extra of our own stands for what is in it."""
    found: set[str] = set()
    for line in requirements:
        parts = re.match(r"([\w.-]+)(?:\[([\w,-]+)\])?", line)
        assert parts
        if parts[1] == PROJECT["project"]["name"]:
            found |= of_extras(parts[2].split(","))
        else:
            found.add(normal(parts[1]))
    return found


def of_extras(names: Iterable[str]) -> set[str]:
    return {found for name in names for found in distributions(EXTRAS[name])}


BASE = distributions(PROJECT["project"]["dependencies"])
DEV = distributions(PROJECT["dependency-groups"]["dev"])
# Module -> the distributions that have it.
PROVIDED_BY = {
    module: {normal(name) for name in names} for module, names in packages_distributions().items()
}
MODULES_OF_EXTRAS = sorted(
    module for module, names in PROVIDED_BY.items() if names & of_extras(["all"])
)
