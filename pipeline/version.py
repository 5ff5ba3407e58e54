"""The version, where the package's metadata and every room can read it."""

__version__ = "0.1.0"
