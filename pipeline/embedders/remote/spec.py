"""How a model behind a server is named: ``remote:DIALECT,URL#MODEL;context=77;side=224``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from pipeline.embedders.remote.dialects import DIALECTS, Dialect
from pipeline.errors import ConfigurationError

PREFIX = "remote:"
_FORM = "remote:DIALECT,URL#MODEL, such as remote:infinity,http://127.0.0.1:7997#clip"


@dataclass(frozen=True, slots=True)
class RemoteSpec:
    """One model of one server.

    Attributes:
        url: without a slash at its end.
        context: tokens of a text; longer ones are cut into windows here.
        side: pixels of an image's longer side that are sent at most.
        dimensions: that the server is asked for; 0: its own choice.
    """

    dialect: Dialect
    url: str
    model: str
    context: int
    side: int
    dimensions: int


def parse(spec: str) -> RemoteSpec:
    """A spec as it was given.

    Raises:
        ConfigurationError: what is wrong with it, without what may be a password in it.
    """
    where, has_model, rest = spec.removeprefix(PREFIX).partition("#")
    model, *options = rest.split(";")
    name, _, url = where.partition(",")
    if not has_model or not model:
        raise ConfigurationError(f"a remote model names the model after #: {_FORM}")
    dialect = DIALECTS.get(name)
    if dialect is None:
        raise ConfigurationError(
            f"{name!r} is no dialect of a remote model; there are: {', '.join(DIALECTS)}"
        )
    given = _options(options)
    return RemoteSpec(
        dialect,
        checked_url(url or dialect.url, name),
        model,
        given.get("context", dialect.context),
        given.get("side", dialect.side),
        given.get("dimensions", 0),
    )


def checked_url(url: str, dialect: str) -> str:
    """The address of a server, without a slash at its end. Raises ConfigurationError."""
    url = url.rstrip("/")
    try:
        parts = urlsplit(url)
        found = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        found = False
    if not found:
        raise ConfigurationError(
            f"the dialect {dialect} needs the address of its server, http:// or https://: {_FORM}"
        )
    if parts.username or parts.password or parts.query:
        raise ConfigurationError(
            "the address of a remote model is stored with the space and shown to people, so it "
            "has no password and nothing after ?; the key goes into PIPELINE_REMOTE_KEY"
        )
    return url


_LEAST: Mapping[str, Callable[[int], bool]] = {
    "context": lambda n: n >= 8,
    "side": lambda n: n >= 16,
    "dimensions": lambda n: 1 <= n <= 4000,
}


def _options(options: list[str]) -> dict[str, int]:
    given: dict[str, int] = {}
    for option in options:
        name, _, value = option.partition("=")
        if name not in _LEAST or not value.isdecimal() or not _LEAST[name](int(value)):
            raise ConfigurationError(
                f"{option!r} is no option of a remote model; there are context=77 (tokens, at "
                "least 8), side=1024 (pixels, at least 16) and dimensions=512 (1 to 4000)"
            )
        given[name] = int(value)
    return given
