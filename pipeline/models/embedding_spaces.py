"""The embedding spaces, and what is known of each."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Integer,
    SmallInteger,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import REAL
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.models.base import Base
from pipeline.models.embedding import Embedding


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
        CheckConstraint(
            "index_kind IN ('full', 'compact')", name="embedding_spaces_index_kind_known"
        ),
        CheckConstraint(
            "compact_dimensions BETWEEN 1 AND compact_width AND compact_width <= dimensions",
            name="embedding_spaces_compact_is_leading",
        ),
        CheckConstraint(
            "target_recall > 0 AND target_recall <= 1",
            name="embedding_spaces_target_recall_is_share",
        ),
        CheckConstraint(
            "(paused_at IS NULL) = (paused_by IS NULL) "
            "AND (paused_why IS NULL OR paused_at IS NOT NULL)",
            name="embedding_spaces_pause_is_whole",
        ),
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
    target_recall: Mapped[float] = mapped_column(
        REAL,
        server_default=text("0.95"),
        comment="The recall@10 that its indexes are to have; ef_search is chosen by it.",
    )
    index_kind: Mapped[str] = mapped_column(
        server_default=text("'full'"),
        comment="What was asked for: full, or compact (over leading coordinates, then re-ranked).",
    )
    compact_dimensions: Mapped[int | None] = mapped_column(
        comment="Leading coordinates that the indexes are over; null: over whole vectors."
    )
    compact_width: Mapped[int | None] = mapped_column(
        comment="Leading coordinates that multimodal_items.compact has; null: there are none."
    )
    paused_at: Mapped[datetime | None] = mapped_column(
        comment="Since when workers claim none of its jobs; null: they do."
    )
    paused_by: Mapped[str | None] = mapped_column(comment="The login that paused it.")
    paused_why: Mapped[str | None] = mapped_column(comment="What it said about that.")


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
        Embedding(), comment="Mean vector, for calibrated ranking across modalities."
    )
    recall: Mapped[float | None] = mapped_column(REAL, comment="Last measured recall@10.")
    ef_search: Mapped[int | None] = mapped_column(comment="Tuned ef_search for this modality.")
    measured_at: Mapped[datetime | None] = mapped_column(comment="When they were taken.")


class SpaceProbe(Base):
    """A stored input with its vector: proof that a worker's model is the space's model."""

    __tablename__ = "space_probes"
    __table_args__ = (
        CheckConstraint("role IN ('item', 'query')", name="space_probes_role_check"),
        {"comment": "Stored inputs with their vectors; workers embed them again."},
    )

    space_id: Mapped[int] = mapped_column(
        ForeignKey("embedding_spaces.id", name="space_probes_space_id_fkey", ondelete="CASCADE"),
        primary_key=True,
        comment="The space.",
    )
    probe: Mapped[int] = mapped_column(
        SmallInteger, primary_key=True, autoincrement=False, comment="Number of the probe."
    )
    modality: Mapped[str] = mapped_column(comment="One of the space's.")
    role: Mapped[str] = mapped_column(
        server_default="item", comment="Whether it was embedded as an item or as a query."
    )
    content: Mapped[bytes] = mapped_column(comment="The text in UTF-8, or the bytes of the file.")
    embedding: Mapped[list[float]] = mapped_column(
        ARRAY(REAL), comment="The vector, float32, when the space was created."
    )


class SpaceRotation(Base):
    """An axis of the orthogonal matrix by which a compact index turns the vectors of a space."""

    __tablename__ = "space_rotations"
    __table_args__ = (
        {
            "comment": "An orthogonal matrix per space: the axes of its vectors, that of most "
            "length first."
        },
    )

    space_id: Mapped[int] = mapped_column(
        ForeignKey("embedding_spaces.id", name="space_rotations_space_id_fkey", ondelete="CASCADE"),
        primary_key=True,
        comment="The space.",
    )
    axis: Mapped[int] = mapped_column(
        Integer,
        primary_key=True,
        autoincrement=False,
        comment="From 1, in the order of the coordinates.",
    )
    direction: Mapped[Any] = mapped_column(
        Embedding(), comment="A unit vector; the inner product with it is the coordinate."
    )
