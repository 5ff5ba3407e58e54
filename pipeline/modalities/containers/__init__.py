"""Containers of sound and film: told by their first bytes, opened by FFmpeg from memory alone.

``sniff`` needs nothing; ``opening`` needs PyAV and is imported in decoder processes only.
"""
