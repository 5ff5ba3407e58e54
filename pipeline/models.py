"""The tables, for applications that use SQLAlchemy's ORM. The migrations in ``migrations/`` create
them; ``alembic check`` proves that both say the same.

The vector column's dimensions belong to the active space, so they are not repeated here:
``MultimodalItem.embedding`` reads and writes whatever ``halfvec(D)`` the table has now.
"""

from datetime import datetime
from typing import Any

import numpy as np
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, REAL
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    """Every table of the pipeline; ``Base.metadata`` is what ``alembic check`` compares."""

    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it from the class)
        str: Text,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        bytes: LargeBinary,
    }

    def _shown(self, *names: str) -> str:
        """Of these columns those that are loaded: a ``repr()`` asks no database."""
        loaded = [f"{name}={vars(self)[name]!r}" for name in names if name in vars(self)]
        return f"{type(self).__name__}({', '.join(loaded)})"


class KnownModality(Base):
    """What a source item may be; a further row allows a further modality."""

    __tablename__ = "known_modalities"
    __table_args__ = (
        CheckConstraint("name ~ '^[a-z][a-z0-9_]{0,19}$'", name="known_modalities_name_plain"),
        CheckConstraint(
            "media IN ('text', 'image', 'audio', 'video', 'application')",
            name="known_modalities_media_known",
        ),
        {"comment": "What a source item may be; a further row allows a further modality."},
    )

    name: Mapped[str] = mapped_column(primary_key=True, comment="The modality.")
    media: Mapped[str] = mapped_column(
        comment="The top level of its media type: text, image, audio, video or application."
    )
    inline: Mapped[bool] = mapped_column(
        comment="Whether content_ref is the content itself, not the path or URI of it."
    )
    description: Mapped[str] = mapped_column(comment="What it is.")


class SourceItem(Base):
    """A row to embed. Anyone may INSERT, UPDATE and DELETE here; triggers keep the queue."""

    __tablename__ = "source_items"
    __table_args__ = (
        UniqueConstraint("source", "source_key", name="source_items_source_key_unique"),
        Index(
            "source_items_document",
            text("item_document(modality, content_ref, metadata)"),
            postgresql_using="gin",
        ),
        {"comment": "Rows to embed. INSERT, UPDATE and DELETE here; triggers keep the queue."},
    )

    id: Mapped[int] = mapped_column(
        BigInteger, Identity(always=True), primary_key=True, comment="Number of the row."
    )
    source: Mapped[str] = mapped_column(comment="Where the row comes from, such as a system.")
    source_key: Mapped[str] = mapped_column(comment="The row's key there; unique per source.")
    modality: Mapped[str] = mapped_column(comment="One of known_modalities, such as image.")
    content_ref: Mapped[str] = mapped_column(
        comment="The text itself, or the path or URI of the content."
    )
    metadata_: Mapped[dict[str, Any]] = mapped_column(
        "metadata",
        server_default=text("'{}'::jsonb"),
        comment="Anything to filter and show by; copied to the items.",
    )
    created_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="When the row was added."
    )
    updated_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="When the row last changed; kept by a trigger."
    )

    items: Mapped[list["MultimodalItem"]] = relationship(
        primaryjoin="SourceItem.id == foreign(MultimodalItem.source_id)",
        back_populates="source_item",
        viewonly=True,
    )

    def __repr__(self) -> str:
        return self._shown("id", "source", "source_key", "modality")


class MediaRoot(Base):
    """A folder that file references may point into. ``pipeline add`` registers what it is given;
    whoever may only write ``source_items`` cannot."""

    __tablename__ = "media_roots"
    __table_args__ = (
        CheckConstraint("path LIKE '/%'", name="media_roots_path_absolute"),
        {"comment": "Folders that file references may point into, besides PIPELINE_MEDIA_ROOTS."},
    )

    path: Mapped[str] = mapped_column(primary_key=True, comment="The folder, absolute.")
    added_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="When pipeline add registered it."
    )


class EmbeddingSpace(Base):
    """Exactly one model with its weights, tokenizer, preprocessing and precision."""

    __tablename__ = "embedding_spaces"
    __table_args__ = (
        UniqueConstraint("name", name="embedding_spaces_name_unique"),
        CheckConstraint("name ~ '^[a-z][a-z0-9_]{0,39}$'", name="embedding_spaces_name_plain"),
        CheckConstraint(
            "state IN ('building', 'active', 'retired')", name="embedding_spaces_state_known"
        ),
        CheckConstraint(
            "vector_type IN ('halfvec', 'vector')", name="embedding_spaces_vector_type_known"
        ),
        CheckConstraint("dimensions > 0", name="embedding_spaces_dimensions_positive"),
        Index(
            "embedding_spaces_one_active",
            "state",
            unique=True,
            postgresql_where=text("state = 'active'"),
        ),
        Index(
            "embedding_spaces_one_building",
            "state",
            unique=True,
            postgresql_where=text("state = 'building'"),
        ),
        {"comment": "Embedding spaces: exactly one model each, at most one of them active."},
    )

    id: Mapped[int] = mapped_column(
        Integer, Identity(always=True), primary_key=True, comment="Number of the space."
    )
    name: Mapped[str] = mapped_column(comment="Short name, used on the command line.")
    state: Mapped[str] = mapped_column(comment="building, active or retired.")
    model: Mapped[str] = mapped_column(comment="The model as asked for, such as ViT-B-32/openai.")
    dimensions: Mapped[int] = mapped_column(comment="Dimensions of every vector of the space.")
    vector_type: Mapped[str] = mapped_column(comment="halfvec or vector.")
    precision: Mapped[str] = mapped_column(comment="Precision of the model's weights.")
    context_length: Mapped[int] = mapped_column(comment="Tokens a text may have.")
    weights_sha256: Mapped[str] = mapped_column(comment="SHA-256 of the weights.")
    fingerprint: Mapped[str] = mapped_column(
        comment="SHA-256 over everything that makes two vectors comparable."
    )
    description: Mapped[dict[str, Any]] = mapped_column(
        comment="What the fingerprint covers, spelled out: preprocessing, tokenizer and so on."
    )
    hnsw_m: Mapped[int] = mapped_column(comment="HNSW: links per node.")
    hnsw_ef_construction: Mapped[int] = mapped_column(comment="HNSW: candidates while building.")
    ef_search: Mapped[int] = mapped_column(
        server_default=text("100"), comment="HNSW: candidates while searching, unless tuned."
    )
    created_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="When the space was created."
    )
    activated_at: Mapped[datetime | None] = mapped_column(comment="When it last became active.")
    retired_at: Mapped[datetime | None] = mapped_column(comment="When it last ceased to be.")
    probed_with: Mapped[dict[str, Any] | None] = mapped_column(
        comment="Versions of the libraries that embedded the probes."
    )


class SpaceModality(Base):
    """What is known of one modality in one space; one row per items table."""

    __tablename__ = "space_modalities"
    __table_args__ = (
        {"comment": "The modalities a space embeds, with statistics for ranking and tuning."},
    )

    space_id: Mapped[int] = mapped_column(
        ForeignKey(
            "embedding_spaces.id", name="space_modalities_space_id_fkey", ondelete="CASCADE"
        ),
        primary_key=True,
        comment="The space.",
    )
    modality: Mapped[str] = mapped_column(
        ForeignKey("known_modalities.name", name="space_modalities_modality_fkey"),
        primary_key=True,
        comment="One of known_modalities.",
    )
    item_count: Mapped[int] = mapped_column(
        BigInteger, server_default=text("0"), comment="Items when the statistics were taken."
    )
    mean: Mapped[Any | None] = mapped_column(
        HALFVEC(), comment="Mean vector, for calibrated ranking across modalities."
    )
    recall: Mapped[float | None] = mapped_column(REAL, comment="Last measured recall@10.")
    ef_search: Mapped[int | None] = mapped_column(comment="Tuned ef_search for this modality.")
    measured_at: Mapped[datetime | None] = mapped_column(comment="When they were taken.")


class SpaceProbe(Base):
    """A stored input with its vector: proof that a worker's model is the space's model."""

    __tablename__ = "space_probes"
    __table_args__ = ({"comment": "Stored inputs with their vectors; workers embed them again."},)

    space_id: Mapped[int] = mapped_column(
        ForeignKey("embedding_spaces.id", name="space_probes_space_id_fkey", ondelete="CASCADE"),
        primary_key=True,
        comment="The space.",
    )
    probe: Mapped[int] = mapped_column(
        SmallInteger, primary_key=True, autoincrement=False, comment="Number of the probe."
    )
    modality: Mapped[str] = mapped_column(comment="One of the space's.")
    content: Mapped[bytes] = mapped_column(comment="The text in UTF-8, or the bytes of the file.")
    embedding: Mapped[list[float]] = mapped_column(
        ARRAY(REAL), comment="The vector, float32, when the space was created."
    )


class SpaceEvaluation(Base):
    """One measured number of a space: recall of its index, or retrieval of its model."""

    __tablename__ = "space_evaluations"
    __table_args__ = (
        Index("space_evaluations_latest", "space_id", "measured_at"),
        {"comment": "Measured quality of spaces over time: one row per metric and modality pair."},
    )

    id: Mapped[int] = mapped_column(
        BigInteger, Identity(always=True), primary_key=True, comment="Number of the measurement."
    )
    space_id: Mapped[int] = mapped_column(
        ForeignKey(
            "embedding_spaces.id", name="space_evaluations_space_id_fkey", ondelete="CASCADE"
        ),
        comment="The space.",
    )
    measured_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="When; equal for the rows of one measurement."
    )
    metric: Mapped[str] = mapped_column(
        comment="recall@k of the index, or R@k, median_rank, ndcg@k of retrieval."
    )
    query_modality: Mapped[str] = mapped_column(
        comment="What was searched with: a modality, or any."
    )
    item_modality: Mapped[str] = mapped_column(comment="What was searched for: a modality, or any.")
    condition: Mapped[str] = mapped_column(
        comment="Which filter or which pairs: none, 1 %, pairs by KEY."
    )
    ef_search: Mapped[int | None] = mapped_column(comment="The ef_search; null: exact search.")
    queries: Mapped[int] = mapped_column(Integer, comment="How many queries were asked.")
    value: Mapped[float] = mapped_column(Double, comment="The mean over the queries.")
    milliseconds: Mapped[float | None] = mapped_column(Double, comment="Median time of a query.")


class SpaceTuning(Base):
    """The ``ef_search`` that one modality pair of a space needs."""

    __tablename__ = "space_tunings"
    __table_args__ = (
        {"comment": "The least ef_search that reaches the wanted recall, per modality pair."},
    )

    space_id: Mapped[int] = mapped_column(
        ForeignKey("embedding_spaces.id", name="space_tunings_space_id_fkey", ondelete="CASCADE"),
        primary_key=True,
        comment="The space.",
    )
    query_modality: Mapped[str] = mapped_column(primary_key=True, comment="What is searched with.")
    item_modality: Mapped[str] = mapped_column(primary_key=True, comment="What is searched for.")
    ef_search: Mapped[int] = mapped_column(Integer, comment="HNSW's ef_search to use.")
    target_recall: Mapped[float] = mapped_column(REAL, comment="The recall@k that was wanted.")
    recall: Mapped[float] = mapped_column(REAL, comment="The recall@k that was measured with it.")
    milliseconds: Mapped[float] = mapped_column(REAL, comment="Median time of a query with it.")
    tuned_at: Mapped[datetime] = mapped_column(server_default=func.now(), comment="When.")


class IngestJob(Base):
    """The work to embed one source item into one space. A finished job is deleted."""

    __tablename__ = "ingest_jobs"
    __table_args__ = (
        CheckConstraint(
            "state IN ('pending', 'running', 'failed')", name="ingest_jobs_state_known"
        ),
        CheckConstraint(
            "(state = 'running') = (leased_until IS NOT NULL AND worker IS NOT NULL)",
            name="ingest_jobs_running_is_leased",
        ),
        CheckConstraint(
            "state <> 'failed' OR error_code IS NOT NULL", name="ingest_jobs_failed_has_code"
        ),
        Index(
            "ingest_jobs_pending",
            "space_id",
            "run_after",
            "source_id",
            postgresql_where=text("state = 'pending'"),
        ),
        Index(
            "ingest_jobs_running",
            "space_id",
            "source_id",
            postgresql_where=text("state = 'running'"),
        ),
        {
            "comment": "The queue: one job per space and source item; finished ones are deleted.",
        },
    )

    # No foreign keys: their per-row checks would double the time of a bulk load. The triggers on
    # source_items and the dropping of a space keep both ends true.
    space_id: Mapped[int] = mapped_column(
        Integer, primary_key=True, autoincrement=False, comment="The space to embed into."
    )
    source_id: Mapped[int] = mapped_column(
        BigInteger, primary_key=True, autoincrement=False, comment="The source item to embed."
    )
    state: Mapped[str] = mapped_column(
        server_default=text("'pending'"), comment="pending, running or failed."
    )
    attempts: Mapped[int] = mapped_column(
        SmallInteger, server_default=text("0"), comment="Claims so far; counted at the claim."
    )
    error_code: Mapped[str | None] = mapped_column(comment="Short code of the last failure.")
    error: Mapped[str | None] = mapped_column(comment="What happened and what to do.")
    run_after: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="Not to be claimed before."
    )
    leased_until: Mapped[datetime | None] = mapped_column(comment="When the claim lapses.")
    worker: Mapped[str | None] = mapped_column(comment="Who holds the claim.")
    version: Mapped[int] = mapped_column(
        BigInteger,
        server_default=text("nextval('ingest_job_versions')"),
        comment="Fence: never the same again once the source item has changed.",
    )


class MultimodalItem(Base):
    """A unit vector with its pointer. THE table; partitioned by modality."""

    __tablename__ = "multimodal_items"
    __table_args__ = (
        UniqueConstraint(
            "source_id", "part", "modality", name="multimodal_items_source_part_unique"
        ),
        Index(
            "multimodal_items_metadata",
            "metadata",
            postgresql_using="gin",
            postgresql_ops={"metadata": "jsonb_path_ops"},
        ),
        Index("multimodal_items_content", "content_sha256", postgresql_using="hash"),
        {
            "comment": "Unit vectors of all modalities in one shared space, with pointers.",
            "postgresql_partition_by": "LIST (modality)",
        },
    )

    id: Mapped[int] = mapped_column(
        BigInteger,
        primary_key=True,
        server_default=text("nextval('multimodal_items_id_seq')"),
        comment="Number of the item.",
    )
    source_id: Mapped[int] = mapped_column(BigInteger, comment="The source item it came from.")
    part: Mapped[int] = mapped_column(
        Integer,
        server_default=text("0"),
        comment="Which part of the source item, from 0: a window of a text, say.",
    )
    modality: Mapped[str] = mapped_column(
        primary_key=True, comment="One of known_modalities, such as image."
    )
    content_ref: Mapped[str] = mapped_column(
        comment="The text itself, or the path or URI of the content."
    )
    metadata_: Mapped[dict[str, Any]] = mapped_column(
        "metadata",
        server_default=text("'{}'::jsonb"),
        comment="The source item's metadata, and under _pipeline what the intake found.",
    )
    space_id: Mapped[int] = mapped_column(Integer, comment="The space the vector belongs to.")
    content_sha256: Mapped[bytes] = mapped_column(comment="SHA-256 of what was embedded.")
    embedding: Mapped[np.ndarray[Any, np.dtype[np.float32]]] = mapped_column(
        HALFVEC(),
        deferred=True,  # a result list needs the pointer, not the vector
        comment="Unit vector; compare with <=> (cosine distance).",
    )
    embedded_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="When the vector was written."
    )

    source_item: Mapped[SourceItem] = relationship(
        primaryjoin="SourceItem.id == foreign(MultimodalItem.source_id)",
        back_populates="items",
        viewonly=True,
    )

    def __repr__(self) -> str:
        return self._shown("id", "modality", "content_ref")


class QueryEmbedding(Base):
    """A query text and its vector: what ``text_embedding()`` reads and fills."""

    __tablename__ = "query_embeddings"
    __table_args__ = (
        Index("query_embeddings_last_used", "space_id", "last_used_at"),
        Index(
            "query_embeddings_requested",
            "space_id",
            "requested_at",
            postgresql_where=text("embedding IS NULL"),
        ),
        {"comment": "Query texts and their vectors, per space; filled on demand, bounded."},
    )

    space_id: Mapped[int] = mapped_column(
        ForeignKey(
            "embedding_spaces.id", name="query_embeddings_space_id_fkey", ondelete="CASCADE"
        ),
        primary_key=True,
        comment="The space.",
    )
    query_sha256: Mapped[bytes] = mapped_column(
        primary_key=True, comment="The key: query_key(query)."
    )
    query: Mapped[str] = mapped_column(comment="The query's text, as it was asked.")
    embedding: Mapped[Any | None] = mapped_column(
        HALFVEC(), comment="Its unit vector; null while somebody waits for it."
    )
    error: Mapped[str | None] = mapped_column(comment="Why it could not be embedded.")
    requested_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="When it was first asked for."
    )
    embedded_at: Mapped[datetime | None] = mapped_column(comment="When the vector was written.")
    last_used_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="When it was last asked for; the least recent goes."
    )
    claimed_until: Mapped[datetime | None] = mapped_column(
        comment="Until when a server works on it; then another one may."
    )


class InstalledSql(Base):
    """Which functions, triggers and views of ``sql/`` the last migrate installed; one row."""

    __tablename__ = "installed_sql"
    __table_args__ = (
        {"comment": "One row: which functions, triggers and views the last migrate installed."},
    )

    sha256: Mapped[str] = mapped_column(primary_key=True, comment="SHA-256 of their text.")
    version: Mapped[str] = mapped_column(comment="Version of the package they came with.")
    roles: Mapped[bool] = mapped_column(comment="Whether the roles pipeline_* are among it.")
    objects: Mapped[list[str]] = mapped_column(
        ARRAY(Text),
        comment="What was made, with its kind; what a later release lacks goes.",
    )
    grants: Mapped[list[str]] = mapped_column(
        ARRAY(Text), comment="What the roles were given; it is not given again."
    )
    installed_at: Mapped[datetime] = mapped_column(server_default=func.now(), comment="When.")
