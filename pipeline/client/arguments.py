"""What both clients are given: a database, a pool, what is wanted of a search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pipeline.embedders import Embedder
from pipeline.errors import ConfigurationError
from pipeline.search.arguments import Modality, check_modalities, check_number
from pipeline.search.results import Ranking
from pipeline.search.retrieve import Wanted
from pipeline.settings import Settings

Model: TypeAlias = Literal["local"] | Embedder | None
Modalities: TypeAlias = Modality | Sequence[Modality] | None

PURPOSE = "pipeline client"
CONNECTIONS = 16
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Options:
    """How a client works, checked."""

    settings: Settings
    timeout: float | None
    connections: int


def options_of(
    url: str | None,
    engine: object,
    settings: Settings | None,
    model: Model,
    timeout: float | None,
    connections: int,
) -> Options:
    """A client's arguments. Raises ConfigurationError: one of them cannot be used as given."""
    if url is not None and (settings is not None or engine is not None):
        raise ConfigurationError(
            "give a client one of: a database URL, an engine of SQLAlchemy, settings"
        )
    if url is not None and not isinstance(url, str):
        raise ConfigurationError(
            f"the first argument of a client is a database URL, not a {type(url).__name__}; "
            "an engine of SQLAlchemy is given as engine="
        )
    is_number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    if timeout is not None and not (is_number and 0 < timeout < 1e6):
        raise ConfigurationError(f"timeout= is a number of seconds above 0, not {timeout!r}")
    if isinstance(model, str) and model != "local":
        raise ConfigurationError(
            f"model= is 'local' for the active space's model in this process, not {model!r}"
        )
    check_number("connections=", connections, 1, 1000)
    return Options(settings or Settings.load(database_url=url), timeout, connections)


def wanted(
    modality: Modalities,
    k: int,
    filter: Mapping[str, Any] | None,  # noqa: A002 (search_items() calls it so)
    min_similarity: float | None,
    ranking: Ranking | str,
    with_embeddings: bool,
    *,
    name_of_k: str = "k",
) -> Wanted:
    """What is asked for. Raises ConfigurationError."""
    return Wanted(
        k=check_number(name_of_k, k, 1, 10_000),
        modality=check_modalities(modality),
        metadata=filter or {},
        min_similarity=min_similarity,
        ranking=ranking,
        with_embeddings=with_embeddings,
    )


def contents_of(content: str | Sequence[str] | None) -> list[str] | None:
    """The names of an attached row's contents; None: all."""
    return [content] if isinstance(content, str) else None if content is None else list(content)
