"""A PostgreSQL with pgvector that comes with the package: no installation, no Docker."""

from pipeline.postgres.embedded.home import default_home
from pipeline.postgres.embedded.server import EmbeddedServer, ServerStatus

__all__ = ["EmbeddedServer", "ServerStatus", "default_home"]
