"""A model behind a server: what it is, and its encoders."""

import hashlib
from collections.abc import Mapping

from pipeline.embedders.remote.client import Client
from pipeline.embedders.remote.description import RemoteDescription
from pipeline.embedders.remote.encoders import RemoteImages, RemoteTexts
from pipeline.embedders.remote.spec import RemoteSpec
from pipeline.modalities import IMAGE, TEXT, Encoder, Modality

# What the first question asks for, which tells how many dimensions there are.
_FIRST = "a photo of a cat"


class RemoteEmbedder:
    """One model of one server. Opening it asks the server once.

    Args:
        spec: as it was given, for the description.

    Raises:
        ModelError: the server refuses the key or the model.
        ModelUnavailable: it does not answer.
    """

    def __init__(self, remote: RemoteSpec, spec: str, client: Client) -> None:
        self._client = client
        texts = RemoteTexts(client)
        texts.dimensions = dimensions = texts.embed(texts.prepare([_FIRST])).shape[1]
        images = RemoteImages(client, dimensions)
        both: tuple[tuple[Modality, Encoder], ...] = ((TEXT, texts), (IMAGE, images))
        served = [(m.name, encoder) for m, encoder in both if m.name in remote.dialect.modalities]
        self.encoders: Mapping[str, Encoder] = dict(served)
        named = f"{remote.dialect.name}#{remote.model}"
        self.description = RemoteDescription(
            model=spec,
            dimensions=dimensions,
            precision="remote",
            weights_sha256=hashlib.sha256(named.encode()).hexdigest(),
            context_length=remote.context,
            dialect=remote.dialect.name,
            served_model=remote.model,
            side=remote.side if images in self.encoders.values() else 0,
            asked_dimensions=remote.dimensions,
        )

    @property
    def tokens(self) -> int:
        """That the server counted since it was opened, or that were estimated."""
        return self._client.tokens
