"""What an embedder is, and a family of them: the contracts that a new kind of model meets."""

from collections.abc import Mapping
from typing import Protocol

from pipeline.embedders.description import Description
from pipeline.modalities.base import Encoder

# Least cosine to float32 that the vectors of a lower precision must have.
PRECISION_FLOOR = 0.999


class Embedder(Protocol):
    """One loaded model: what it is, and an encoder for each modality that it has.

    One batch is on the device at a time, whoever calls; preparing may go on in many threads
    beside it.
    """

    @property
    def description(self) -> Description: ...
    @property
    def encoders(self) -> Mapping[str, Encoder]: ...


class Family(Protocol):
    """Models that are loaded in one way. An object of it stands in ``pipeline.embedders``.

    One whose models a server runs that counts tokens has ``estimate_tokens(text)`` as well, for
    who wants to know before.
    """

    @property
    def kind(self) -> str: ...
    @property
    def description(self) -> type[Description]: ...

    def claims(self, spec: str) -> bool:
        """Whether a model asked for by this spec is one of the family's."""

    def open(
        self,
        spec: str,
        *,
        device: str,
        precision: str,
        batch_size: int,
        weights_sha256: str | None = None,
    ) -> Embedder:
        """Load a model in just this precision (``auto``: what suits the device).

        Args:
            batch_size: inputs per forward pass; 0: what suits the device.
            weights_sha256: what the weights' hash must be, where the model is known already:
                looked at before anything of the model is read.

        Raises:
            ModelError: one line that says which file or name is wrong and what to do.
            ConfigurationError: a device or precision that this machine does not have.
            MissingExtra: what loads it is not installed.
        """

    def open_new(self, spec: str, *, device: str, precision: str) -> Embedder:
        """Load a model to create a space with, in a precision that it bears.

        Workers load a space's precision as it is, so what is chosen by hand is looked at here.

        Raises:
            ModelError: its vectors have a cosine below ``PRECISION_FLOOR`` to those of float32.
        """

    def cosine_to_float32(self, spec: str, precision: str, *, device: str) -> float:
        """The least cosine between float32 and ``precision`` over fixed inputs."""
