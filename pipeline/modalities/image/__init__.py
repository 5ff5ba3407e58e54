"""Images: bytes become the upright RGB image that a person would see, in processes of their own.

``modality`` is the door, ``decoder`` keeps the processes; ``child`` runs in one, ``process`` holds
it from outside. Importing this package loads no Pillow, and a decoder process nothing but Pillow
and NumPy, so that it starts in a fraction of a second.
"""

from pipeline.modalities.image.modality import IMAGE

__all__ = ["IMAGE"]
