"""Models behind a server: infinity, OpenAI-style ones, and the multimodal services.

The modules that ask need httpx, and are imported when a model is opened.
"""

from typing import TYPE_CHECKING

from pipeline.embedders.description import Description
from pipeline.embedders.remote.description import RemoteDescription
from pipeline.errors import ConfigurationError

if TYPE_CHECKING:
    from pipeline.embedders.base import Embedder

PREFIX = "remote:"


class Remote:
    """``remote:DIALECT,URL#MODEL``; see ``spec`` and ``dialects``."""

    kind: str = RemoteDescription.kind
    description: type[Description] = RemoteDescription

    def claims(self, spec: str) -> bool:
        return spec.startswith(PREFIX)

    def open(
        self,
        spec: str,
        *,
        device: str,
        precision: str,
        batch_size: int,
        weights_sha256: str | None = None,
    ) -> "Embedder":
        from pipeline.embedders.remote.opening import opened

        return opened(spec)

    def open_new(self, spec: str, *, device: str, precision: str) -> "Embedder":
        if precision != "auto":
            raise ConfigurationError(
                f"the server chooses its precision, so {precision!r} cannot be asked for; leave "
                "it at auto"
            )
        return self.open(spec, device=device, precision=precision, batch_size=0)

    def estimate_tokens(self, text: str) -> int:
        """About how many tokens the server will count for a text."""
        from pipeline.embedders.remote.tokens import estimate

        return estimate(text)

    def cosine_to_float32(self, spec: str, precision: str, *, device: str) -> float:
        raise ConfigurationError("the server of a remote model chooses its precision")


REMOTE = Remote()
