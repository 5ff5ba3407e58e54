"""What a model behind a server is described by, beside what every description has."""

from dataclasses import dataclass

from pipeline.embedders.description import Description


@dataclass(frozen=True, kw_only=True)
class RemoteDescription(Description):
    """Whose weights nobody here sees: the probes are what tells that they changed.

    The server's address is no part of it: a server may move.

    Attributes:
        dialect: how it is spoken to.
        served_model: its name there.
        side: pixels of an image's longer side that are sent at most; 0: it takes no images.
        asked_dimensions: that the server is asked for; 0: its own choice.
    """

    kind = "remote"

    dialect: str
    served_model: str
    side: int = 0
    asked_dimensions: int = 0
