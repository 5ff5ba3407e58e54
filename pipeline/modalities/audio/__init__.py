"""Sound: mono samples at the encoder's rate, cut into windows that it hears at once.

``modality`` is the door; ``task`` runs in a decoder process. Importing this package loads neither
libsndfile nor PyAV.
"""

from pipeline.modalities.audio.modality import AUDIO, AudioEncoder

__all__ = ["AUDIO", "AudioEncoder"]
