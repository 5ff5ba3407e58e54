"""Every setting, once.

Precedence: command line flag > environment (``PIPELINE_*``, and ``DATABASE_URL``) > the file
``pipeline.toml`` in the current folder (or the one ``PIPELINE_CONFIG`` names) > default.
Settings are read once, at the start of a command, and passed down. A name that is almost one of
them is warned of and does nothing; it is no error, since orchestrators set variables of their own.
"""

import difflib
import functools
import logging
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from pipeline import config_file
from pipeline.errors import ConfigurationError
from pipeline.setting_values import (
    Device,
    Duration,
    FolderIfAny,
    Folders,
    Networks,
    Places,
    no_boolean,
)

logger = logging.getLogger(__name__)

PREFIX = "PIPELINE_"
# Variables that are read elsewhere: before there are settings, and by `space import`.
OTHERS = ("CONFIG", "IMPORT_URL", "LOG_FORMAT", "LOG_LEVEL")
# What Kubernetes and Docker tell their containers of a service called pipeline, or pipeline-x.
_INJECTED = re.compile(r"(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")
_LEAST_LIKENESS = 0.7  # MODLE is 0.8 of MODEL; VERSION is 0.62 of PRECISION, and means none of ours

DEFAULT_MODEL = "ViT-B-32/laion2b_s34b_b79k"
DEFAULT_SCHEMA = "public"
Precision = Literal["auto", "float32", "bfloat16", "float16", "int8"]
VectorType = Literal["halfvec", "vector"]


class Settings(BaseSettings):
    """One frozen object; ``Settings.load(...)`` reads it and explains what is wrong in one line."""

    model_config = SettingsConfigDict(
        env_prefix="PIPELINE_", frozen=True, extra="forbid", populate_by_name=True
    )

    # where things are
    database_url: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("PIPELINE_DATABASE_URL", "DATABASE_URL", "database_url"),
        description="PostgreSQL to use; none: the embedded one",
    )
    database_schema: str = Field(
        DEFAULT_SCHEMA,
        validation_alias=AliasChoices("PIPELINE_SCHEMA", "schema", "database_schema"),
        description="where all that is ours is; fixed at the first migrate",
    )
    home: FolderIfAny = Field(None, description="folder of the embedded PostgreSQL's data")

    # the model of a new space; an existing space keeps the model it was created with
    model: str = Field(DEFAULT_MODEL, description="ARCH/TAG, hf-hub:..., a local folder, or 'demo'")
    precision: Precision = Field("auto", description="weights' precision; auto measures the CPU")
    device: Device = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    vector_type: VectorType = Field("halfvec", description="of a new space")
    hnsw_m: int = Field(16, ge=2, le=100)
    hnsw_ef_construction: int = Field(64, ge=4, le=1000)

    # the database
    roles: bool = Field(True, description="whether migrations create the roles pipeline_*")
    old_pgvector: bool = Field(
        False, description="whether pgvector 0.8.0 to 0.8.3 will do, which loses rows"
    )
    query_cache_size: int = Field(10_000, ge=1, description="query vectors that `serve` keeps")
    query_retention_days: float = Field(
        90.0,
        gt=0,
        le=36_500,
        description="after which `serve` forgets a query text that nobody asks for",
    )
    query_queue: int = Field(
        20_000, ge=1, description="query texts that may wait for `serve` in all"
    )
    query_queue_per_login: int = Field(
        5_000, ge=1, description="query texts of one login at one address that may wait"
    )

    # the queue
    batch_size: int = Field(
        0,
        ge=0,
        le=4096,
        description="inputs per forward pass; 0: 32 (fewer images of many patches), on a GPU 256",
    )
    claim_size: int = Field(1024, ge=1, le=10_000, description="most jobs per claim")
    load_first_rows: int = Field(
        20_000, ge=0, description="due for an empty space: its index is built after them; 0: never"
    )
    lease_seconds: Duration = Field(60.0, gt=0, description="how long a claim holds by itself")
    heartbeat_seconds: Duration = Field(
        0.0, ge=0, description="how often a claim is prolonged; 0: every third of the lease"
    )
    max_attempts: int = Field(5, ge=1)
    backoff_seconds: Duration = Field(2.0, ge=0, description="first back-off; doubles, with jitter")
    backoff_max_seconds: Duration = Field(600.0, ge=0)
    poll_seconds: Duration = Field(2.0, gt=0, description="how often an idle worker looks for jobs")
    sweep_seconds: Duration = Field(10.0, gt=0, description="how often expired leases are returned")
    grace_seconds: Duration = Field(30.0, gt=0, description="to finish what is claimed on SIGTERM")
    outage_seconds: Duration = Field(300.0, ge=0, description="to wait for a lost database")

    # the intake
    media_roots: Folders = Field(
        (), description="folders that file references may point into (path separator between)"
    )
    http_allow_private: Networks = Field(
        (), description="private networks (CIDR) that http references may reach, comma between"
    )
    buckets: Places = Field(
        (), description="allowed s3://bucket/prefix, gs://..., az://..., comma between"
    )
    load_workers: int = Field(8, ge=1, le=256, description="references loaded at the same time")
    load_timeout_seconds: Duration = Field(30.0, gt=0, description="for one reference in all")
    connect_timeout_seconds: Duration = Field(5.0, gt=0)
    max_bytes: int = Field(64 * 2**20, ge=1, description="per file")
    max_pixels: int = Field(50_000_000, ge=1)
    max_side: int = Field(30_000, ge=1, description="pixels")
    decode_timeout_seconds: Duration = Field(60.0, gt=0, description="for one image, by the clock")
    decode_cpu_seconds: Duration = Field(
        10.0, gt=0, description="of the processor for one image, which fails for good beyond it"
    )
    decode_memory_bytes: int = Field(
        0, ge=0, description="for one image; 0: what one of MAX_PIXELS and MAX_BYTES needs"
    )
    decode_processes: int = Field(0, ge=0, le=256, description="decoder processes; 0: one per core")
    http_per_host: int = Field(4, ge=1, description="requests to one host at the same time")
    max_text_bytes: int = Field(2**20, ge=1, description="of a text, as UTF-8")
    text_overlap_tokens: int = Field(8, ge=0, description="between windows of a long text")
    max_windows: int = Field(64, ge=1, description="windows (parts) per text")

    @field_validator("database_schema")
    @classmethod
    def _can_be_a_schema(cls, value: str) -> str:
        if not value or not value.isprintable() or len(value.encode()) > 63:
            raise ValueError("the name of a schema has 1 to 63 bytes, all of them printable")
        if value.startswith("pg_") or value == "information_schema":
            raise ValueError("that schema is PostgreSQL's own")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        return value if field.annotation is bool else no_boolean(value)

    @field_validator("heartbeat_seconds")
    @classmethod
    def _shorter_than_the_lease(cls, value: float, info: ValidationInfo) -> float:
        if value >= info.data.get("lease_seconds", math.inf):
            raise ValueError(
                "it must be shorter than PIPELINE_LEASE_SECONDS, or every claim lapses"
            )
        return value

    @property
    def heartbeat_interval(self) -> float:
        """Seconds from one heartbeat to the next."""
        return self.heartbeat_seconds or self.lease_seconds / 3

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            init_settings,
            env_settings,
            InitSettingsSource(settings_cls, _read(config_file.path())),
        )

    @classmethod
    def load(cls, **flags: Any) -> "Settings":
        """Read the settings; ``flags`` that are not None win.

        Raises:
            ConfigurationError: naming the setting, what is wrong and where it was set.
        """
        file = config_file.path()
        if os.environ.get("PIPELINE_CONFIG") and not file.is_file():
            raise ConfigurationError(f"PIPELINE_CONFIG names {file}, which is not a file")
        _warn_of_misspelt_variables()
        given = {name: value for name, value in flags.items() if value is not None}
        try:
            return cls(**given)
        except ValidationError as exc:
            first = exc.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else "settings"
            raise ConfigurationError(
                f"{_where(name, given)}: {first['msg']}; set it to a valid value or unset it"
            ) from exc


def _where(name: str, flags: Mapping[str, Any]) -> str:
    """Where the setting got its value: the one that wins."""
    plain = name.lower().removeprefix(PREFIX.lower())
    asked = [PREFIX + plain.upper(), *(["DATABASE_URL"] if plain == "database_url" else [])]
    if plain not in flags:
        set_there = {variable.upper(): variable for variable in os.environ}
        file = config_file.path()
        in_file = _read(file)
        places = [set_there[variable] for variable in asked if variable in set_there]
        places += [f"{file}: {key}" for key in (name, plain, *asked) if key in in_file]
        if places:
            return places[0]
    return asked[0]


def names() -> list[str]:
    """Of the settings: as in the file, and in upper case behind ``PIPELINE_``."""
    renamed = {"database_schema": "schema"}
    return [renamed.get(name, name) for name in Settings.model_fields]


def _read(file: Path) -> dict[str, Any]:
    """The settings in a TOML file; warns of keys that are none."""
    values = config_file.read(file)
    known = {*names(), "DATABASE_URL", "PIPELINE_DATABASE_URL", "PIPELINE_SCHEMA"}
    for key in [key for key in values if key not in known]:
        del values[key]
        nearest = _nearest(key.upper().removeprefix(PREFIX), names())
        _warn_once(f"{file}: {key!r}", nearest)
    return values


def _warn_of_misspelt_variables() -> None:
    """Of those that are near to one of ours; others may be anybody's."""
    known = [*names(), *OTHERS]
    for variable in os.environ:
        prefix, name = variable[: len(PREFIX)].upper(), variable[len(PREFIX) :].upper()
        if prefix != PREFIX or name in map(str.upper, known) or _INJECTED.fullmatch(name):
            continue
        if nearest := _nearest(name, known):
            _warn_once(variable, PREFIX + nearest.upper())


def _nearest(name: str, known: Iterable[str]) -> str | None:
    by_upper = {one.upper(): one for one in known}
    near = difflib.get_close_matches(name, by_upper, n=1, cutoff=_LEAST_LIKENESS)
    return by_upper[near[0]] if near else None


@functools.cache  # a command may read its settings twice
def _warn_once(found: str, nearest: str | None) -> None:
    logger.warning(
        "%s is no setting and does nothing%s",
        found,
        f"; did you mean {nearest}?" if nearest else "",
        extra={"nearest": nearest},
    )
