"""The file of settings: where it is, whether it may be trusted, and what is in it."""

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigurationError


def path() -> Path:
    """The one that ``PIPELINE_CONFIG`` names, else ``pipeline.toml`` in the current folder."""
    return Path(os.environ.get("PIPELINE_CONFIG") or "pipeline.toml")


def read(file: Path) -> dict[str, Any]:
    """What the TOML file holds, nothing where there is no file.

    Raises:
        ConfigurationError: it is no TOML, or somebody else may have written it.
    """
    if not file.is_file():
        return {}
    with file.open("rb") as opened:
        is_named = bool(os.environ.get("PIPELINE_CONFIG"))  # by hand, so it is meant
        reason = None if is_named else _not_ones_own(os.fstat(opened.fileno()))
        if reason is not None:
            raise ConfigurationError(
                f"{file.absolute()} is not read, since {reason}; take that right away, or set "
                "PIPELINE_CONFIG to its path if it is meant"
            )
        try:
            return tomllib.loads(opened.read().decode("utf-8-sig"))  # as Windows' editors save it
        except ValueError as exc:
            raise ConfigurationError(f"{file} cannot be read: {exc}") from exc


def _not_ones_own(found: os.stat_result) -> str | None:
    """Why somebody else may have written a file that merely lies in the current folder."""
    if found.st_uid not in (os.geteuid(), 0):
        return "it belongs to another user"
    if found.st_mode & stat.S_IWOTH:
        return "others may write it"
    # A umask of 002 leaves the bit to a group that is the user's own.
    if found.st_mode & stat.S_IWGRP and found.st_gid != _group_of(found.st_uid):
        return "its group may write it"
    return None


def _group_of(user: int) -> int:
    try:
        import pwd

        return pwd.getpwuid(user).pw_gid
    except (ImportError, KeyError):  # a system without it; a container's user, say
        return os.getegid()
