"""What a model embeds: by an encoder of its own, or part by part by that of another modality."""

from collections.abc import Mapping

from pipeline import modalities
from pipeline.embedders.base import Embedder
from pipeline.modalities import Encoder


def all_encoders(embedder: Embedder) -> Mapping[str, Encoder]:
    """By modality: the model's own, then those of what it derives.

    A film's frames, say, go through the encoder of images where there is none of films. What is
    derived is no part of what makes a space: its vectors are those of the other modality's content.
    """
    own = embedder.encoders
    derived = {
        modality.name: own[modality.derived_from.name]
        for modality in modalities.registered()
        if modality.derived_from is not None and modality.derived_from.name in own
    }
    return {**own, **{name: encoder for name, encoder in derived.items() if name not in own}}
