"""What the values of settings may be, where a type alone does not say it."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from pipeline.references import STORES

# Of any duration: a week. Beyond some weeks neither PostgreSQL nor Python can wait at once.
LONGEST = 7 * 86_400.0
_PLACE = re.compile(f"({'|'.join(STORES)})://[^/\\s]+(/.*)?", re.IGNORECASE)


def no_boolean(value: Any) -> Any:
    """Anything but true and false, which Python takes for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is no value for it")
    return value


def _of_somebody(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as exc:
        raise ValueError(f"{path}: there is no home of that user") from exc


def _split_paths(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(Path(part) for part in value.split(os.pathsep) if part)
    return value


def _split_commas(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _place(entry: str) -> str:
    if not _PLACE.fullmatch(entry):
        raise ValueError(f"{entry!r} is no place; entries look like s3://bucket/prefix")
    return entry


def _network(entry: str) -> str:
    ipaddress.ip_network(entry, strict=False)
    return entry


def _can_be_a_schema(value: str) -> str:
    if not value or not value.isprintable() or len(value.encode()) > 63:
        raise ValueError("the name of a schema has 1 to 63 bytes, all of them printable")
    if value.startswith("pg_") or value == "information_schema":
        raise ValueError("that schema is PostgreSQL's own")
    return value


SchemaName = Annotated[str, AfterValidator(_can_be_a_schema)]
Duration = Annotated[float, Field(le=LONGEST)]
Days = Annotated[float, Field(ge=0, le=36_500)]
Device = Annotated[str, Field(pattern=r"^[a-z]+(:[0-9]+)?$")]
# ``~`` is somebody's home.
Folder = Annotated[Path, AfterValidator(_of_somebody)]
FolderIfAny = Annotated[Folder | None, BeforeValidator(lambda value: value or None)]
# With the system's path separator between.
Folders = Annotated[tuple[Folder, ...], NoDecode, BeforeValidator(_split_paths)]
# With commas between.
Places = Annotated[
    tuple[Annotated[str, AfterValidator(_place)], ...], NoDecode, BeforeValidator(_split_commas)
]
Networks = Annotated[
    tuple[Annotated[str, AfterValidator(_network)], ...], NoDecode, BeforeValidator(_split_commas)
]
