"""The tables, for applications that use SQLAlchemy's ORM. The migrations in ``migrations/`` create
them; ``alembic check`` proves that both say the same.

The vector column's dimensions belong to the active space, so they are not repeated here:
``MultimodalItem.embedding`` reads and writes whatever ``halfvec(D)`` the table has now.
"""

from pipeline.models.allowed import KnownModality, MediaRoot
from pipeline.models.attached_objects import AttachedListingPage, AttachedObject
from pipeline.models.attached_sources import AttachedSource, AttachedSourceProblem
from pipeline.models.base import Base
from pipeline.models.deleted_items import DeletedItem
from pipeline.models.embedding_spaces import (
    EmbeddingSpace,
    SpaceModality,
    SpaceProbe,
    SpaceRotation,
)
from pipeline.models.ingest_jobs import IngestJob
from pipeline.models.ingest_runs import IngestRun
from pipeline.models.ingest_workers import IngestWorker
from pipeline.models.installed_sql import InstalledSql
from pipeline.models.items import MultimodalItem, SourceItem
from pipeline.models.quality import SpaceEvaluation, SpaceTuning
from pipeline.models.query_embeddings import QueryEmbedding, RunningServer
from pipeline.models.query_files import QueryFile

__all__ = [
    "AttachedListingPage",
    "AttachedObject",
    "AttachedSource",
    "AttachedSourceProblem",
    "Base",
    "DeletedItem",
    "EmbeddingSpace",
    "IngestJob",
    "IngestRun",
    "IngestWorker",
    "InstalledSql",
    "KnownModality",
    "MediaRoot",
    "MultimodalItem",
    "QueryEmbedding",
    "QueryFile",
    "RunningServer",
    "SourceItem",
    "SpaceEvaluation",
    "SpaceModality",
    "SpaceProbe",
    "SpaceRotation",
    "SpaceTuning",
]
