"""Images: bytes become the upright RGB image that a person would see, in processes of their own.

``modality`` is the door, ``decoder`` has the processes (``pipeline/modalities/decoding``), in which
``task`` runs. Importing this package loads no Pillow, and a decoder process nothing but Pillow and
NumPy, so that it starts in a fraction of a second.
"""

from pipeline.modalities.image.modality import IMAGE

__all__ = ["IMAGE"]
