"""How settings are named; what is almost named like one of ours is warned of, and nothing else.

It is no error, since orchestrators set variables of their own.
"""

import difflib
import functools
import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PREFIX = "PIPELINE_"
RENAMED = {"database_schema": "schema"}  # as people write it

logger = logging.getLogger(__name__)

# Variables that are read elsewhere: before there are settings, and by `space import`.
OTHERS = ("CONFIG", "IMPORT_URL", "LOG_FORMAT", "LOG_LEVEL")
# What Kubernetes and Docker tell their containers of a service called pipeline, or pipeline-x.
_INJECTED = re.compile(r"(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")
_LEAST_LIKENESS = 0.7  # MODLE is 0.8 of MODEL; VERSION is 0.62 of PRECISION, and means none of ours


def warn_of_variables(prefix: str, names: Iterable[str]) -> None:
    """Of those in the environment that are near to one of ours; others may be anybody's."""
    known = [*names, *OTHERS]
    for variable in os.environ:
        start, name = variable[: len(prefix)].upper(), variable[len(prefix) :].upper()
        if start != prefix or name in map(str.upper, known) or _INJECTED.fullmatch(name):
            continue
        if near := nearest(name, known):
            warn_once(variable, prefix + near.upper())


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of the known names that this one was perhaps meant to be."""
    by_upper = {one.upper(): one for one in known}
    near = difflib.get_close_matches(name, by_upper, n=1, cutoff=_LEAST_LIKENESS)
    return by_upper[near[0]] if near else None


@functools.cache  # a command may read its settings twice
def warn_once(found: str, near: str | None) -> None:
    """Say that this means nothing, and what was perhaps meant."""
    logger.warning(
        "%s is no setting and does nothing%s",
        found,
        f"; did you mean {near}?" if near else "",
        extra={"nearest": near},
    )


def only_known(values: dict[str, Any], file: Path, names: list[str]) -> dict[str, Any]:
    """The settings among what stands in a file; warns of keys that are none."""
    known = {*names, "DATABASE_URL", "PIPELINE_DATABASE_URL", "PIPELINE_SCHEMA"}
    for key in [key for key in values if key not in known]:
        warn_once(f"{file}: {key!r}", nearest(key.upper().removeprefix(PREFIX), names))
    return {key: value for key, value in values.items() if key in known}


def variables_of(name: str) -> list[str]:
    """The environment variables of a setting, the one that wins first."""
    plain = name.lower().removeprefix(PREFIX.lower())
    plain = RENAMED.get(plain, plain)
    return [PREFIX + plain.upper(), *(["DATABASE_URL"] if plain == "database_url" else [])]


def is_unset(variable: str, value: str | None) -> bool:
    """An empty URL is none: a compose file's ``${DATABASE_URL:-}`` cannot leave it out."""
    return variable.upper() in variables_of("database_url") and not (value or "").strip()
