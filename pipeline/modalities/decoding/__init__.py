"""Decoder processes, for whatever content can crash, stall or fill the memory with its decoder.

A modality names a ``task``, a module and a function that are imported in the processes alone.
``pool`` keeps the processes and is asked; ``process`` holds one from outside, ``child`` runs in
one; ``reader`` is what sound, films and documents have in common.
"""
