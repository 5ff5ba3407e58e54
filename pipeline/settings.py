"""Every setting, once.

Precedence: command line flag > environment (``PIPELINE_*``, and ``DATABASE_URL``) > the file
``pipeline.toml`` in the current folder (or the one ``PIPELINE_CONFIG`` names) > default.
Settings are read once, at the start of a command, and passed down. A name that is almost one of
them is warned of and does nothing; it is no error, since orchestrators set variables of their own.
"""

import math
import os
from collections.abc import Mapping
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
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from pipeline import config_file, setting_names
from pipeline.errors import ConfigurationError
from pipeline.setting_names import PREFIX, RENAMED, is_unset, variables_of
from pipeline.setting_values import (
    Days,
    Device,
    Duration,
    FolderIfAny,
    Folders,
    Networks,
    Places,
    SchemaName,
    no_boolean,
)

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
    database_schema: SchemaName = Field(
        DEFAULT_SCHEMA,
        validation_alias=AliasChoices("PIPELINE_SCHEMA", "schema", "database_schema"),
        description="where all that is ours is; fixed at the first migrate",
    )
    home: FolderIfAny = Field(None, description="folder of the embedded PostgreSQL's data")

    # the model of a new space; an existing space keeps the model it was created with
    model: str = Field(DEFAULT_MODEL, description="ARCH/TAG, a hub's name, a folder, or 'demo'")
    precision: Precision = Field("auto", description="weights' precision; auto measures the CPU")
    device: Device = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    accept_license: str = Field("", description="licences accepted: CC-BY-NC-SA-4.0 of ImageBind")
    vector_type: VectorType = Field("halfvec", description="of a new space")
    hnsw_m: int = Field(24, ge=2, le=100, description="of a new space: links of a vector")
    hnsw_ef_construction: int = Field(
        128, ge=4, le=1000, description="of a new space: candidates for them; at least twice m"
    )

    # a model behind a server
    remote_key: SecretStr | None = Field(None, description="that says who asks a remote model")
    remote_url: str = Field("", description="where a remote model's server is, if it moved")
    remote_seconds: Duration = Field(
        300.0, ge=0, description="to ask a remote model again where it gives no vectors"
    )
    remote_budget: int = Field(
        0, ge=0, description="tokens that a run may use of a remote model; 0: any number"
    )

    # the database
    roles: bool = Field(True, description="whether migrations create the roles pipeline_*")
    old_pgvector: bool = Field(
        False, description="whether pgvector 0.8.0 to 0.8.3 will do, which loses rows"
    )
    serve_token: SecretStr | None = Field(None, description="bearer token of `serve --http`")
    web_token: SecretStr | None = Field(None, description="that `web` asks other machines for")
    metrics_token: SecretStr | None = Field(None, description="bearer token of `--metrics-port`")
    query_cache_size: int = Field(10_000, ge=1, description="query vectors that `serve` keeps")
    query_retention_days: float = Field(
        90.0, gt=0, le=36_500, description="after which `serve` forgets a text nobody asks for"
    )
    query_queue: int = Field(20_000, ge=1, description="texts that may wait for `serve` in all")
    query_queue_per_login: int = Field(
        5_000, ge=1, description="query texts of one login at one address that may wait"
    )
    query_queue_bytes: int = Field(
        512 * 2**20,
        ge=2**20,
        description="query files that may wait in all; of one login at one address a quarter",
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
    max_attempts: int = Field(5, ge=1, description="of a row, until it has failed for good")
    backoff_seconds: Duration = Field(2.0, ge=0, description="first back-off; doubles, with jitter")
    backoff_max_seconds: Duration = Field(600.0, ge=0, description="longest back-off")
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
    connect_timeout_seconds: Duration = Field(5.0, gt=0, description="for one connection")
    max_bytes: int = Field(64 * 2**20, ge=1, description="per file")
    max_pixels: int = Field(50_000_000, ge=1, description="per image")
    max_side: int = Field(30_000, ge=1, description="pixels of an image's longer side")
    decode_timeout_seconds: Duration = Field(60.0, gt=0, description="for one image, by the clock")
    decode_cpu_seconds: Duration = Field(
        10.0, gt=0, description="of the processor for one image, which fails for good beyond it"
    )
    decode_memory_bytes: int = Field(
        0, ge=0, description="for one image; 0: what one of MAX_PIXELS and MAX_BYTES needs"
    )
    decode_processes: int = Field(0, ge=0, le=256, description="decoder processes; 0: one per core")
    keep_gps: bool = Field(
        False, description="whether metadata says where an image was taken, if it tells"
    )
    max_media_seconds: Duration = Field(14_400.0, gt=0, description="of a sound or a film")
    max_frame_pixels: int = Field(17_000_000, ge=1, description="per frame of a film")
    max_parts: int = Field(2000, ge=1, le=2000, description="segments, pages, windows of one file")
    max_decoded_bytes: int = Field(
        256 * 2**20, ge=2**20, description="of one file's frames, pages or samples as decoded"
    )
    media_cpu_seconds: Duration = Field(
        300.0, gt=0, description="of the processor for one sound, film or document"
    )
    media_timeout_seconds: Duration = Field(
        900.0, gt=0, description="for one sound, film or document, by the clock"
    )
    video_segment_seconds: Duration = Field(
        10.0, ge=0.5, description="longest part of a film whose picture changes"
    )
    audio_overlap_seconds: Duration = Field(
        1.0, ge=0, description="between windows of a long sound; at most half a window"
    )
    http_per_host: int = Field(4, ge=1, description="requests to one host at the same time")
    max_text_bytes: int = Field(2**20, ge=1, description="of a text, as UTF-8")
    text_overlap_tokens: int = Field(8, ge=0, description="between windows of a long text")
    max_windows: int = Field(512, ge=1, description="windows (parts) per text")

    # what goes
    evaluation_days: Days = Field(
        365.0, description="that measurements of quality are kept; 0: for ever"
    )
    run_days: Days = Field(30.0, description="that reports of runs are kept; 0: for ever")
    drop_retired_days: Days = Field(
        0.0, description="after which `ingest` drops a retired space if its login owns it; 0: never"
    )
    mass_delete_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="of a source's rows that may be removed at once without --allow-mass-delete; "
        "ten rows may always, while others stay",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        return value if field.annotation is bool else no_boolean(value)

    @field_validator("heartbeat_seconds")
    @classmethod
    def _shorter_than_the_lease(cls, value: float, info: ValidationInfo) -> float:
        if value >= info.data.get("lease_seconds", math.inf):
            raise ValueError("must be shorter than PIPELINE_LEASE_SECONDS, or every claim lapses")
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
        # Aliases serve the file and the code too; in the environment SCHEMA is anybody's.
        assert isinstance(env_settings, EnvSettingsSource)
        env_settings.env_vars = {
            name: value
            for name, value in env_settings.env_vars.items()
            if name.upper().startswith(PREFIX) or name.upper() == "DATABASE_URL"
            if not is_unset(name, value)
        }
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
        setting_names.warn_of_variables(PREFIX, names())
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
    """Where the setting got its value."""
    plain = name.lower().removeprefix(PREFIX.lower())
    return next(iter([] if plain in flags else set_in(name)), variables_of(name)[0])


def set_in(name: str) -> list[str]:
    """Where a setting is set, the place that wins first: a variable, or ``FILE: KEY``."""
    asked = variables_of(name)
    plain = asked[0].removeprefix(PREFIX).lower()
    set_there = {
        variable.upper(): variable
        for variable, value in os.environ.items()
        if not is_unset(variable, value)
    }
    file = config_file.path()
    in_file = _read(file)
    keys = dict.fromkeys((name, plain, *asked))
    return [
        *(set_there[variable] for variable in asked if variable in set_there),
        *(f"{file}: {key}" for key in keys if key in in_file),
    ]


def names() -> list[str]:
    """Of the settings: as in the file, and in upper case behind ``PIPELINE_``."""
    return [RENAMED.get(name, name) for name in Settings.model_fields]


def _read(file: Path) -> dict[str, Any]:
    """The settings in a TOML file; warns of keys that are none."""
    return setting_names.only_known(config_file.read(file), file, names())
