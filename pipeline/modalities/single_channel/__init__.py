"""Images whose one channel holds measured values: distances, temperatures.

``base`` is the door, ``task`` runs in a decoder process. Values are given as they are stored: what
they mean to a model is its encoder's affair.
"""

from pipeline.modalities.single_channel.base import SingleChannel

__all__ = ["SingleChannel"]
