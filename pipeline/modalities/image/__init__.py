"""Bytes -> the RGB picture a person would see, in a process of its own.

``decoder`` is the door; ``child`` runs in the decoder process, ``process`` holds it from outside.
Nothing here imports more than Pillow, so that a child starts in a fraction of a second.
"""
