"""Decoder processes, for whatever content can crash, stall or fill the memory with its decoder.

A modality names a :class:`~pipeline.modalities.decoding.task.Task`, a module and a function that are
imported in the processes alone. ``pool`` keeps the processes and is asked; ``process`` holds one
from outside, ``child`` runs in one.
"""
