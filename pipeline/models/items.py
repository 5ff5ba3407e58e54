"""What there is to embed, and the vectors."""

from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import (
    BigInteger,
    Identity,
    Index,
    Integer,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from pipeline.models.base import Base
from pipeline.models.embedding import Embedding


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
        Index(
            "source_items_row_key",
            "source",
            "row_key",
            postgresql_where=text("row_key IS NOT NULL"),
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
    row_key: Mapped[str | None] = mapped_column(
        comment="Of an attached source: the key of the row, which may have several source items."
    )

    items: Mapped[list["MultimodalItem"]] = relationship(
        primaryjoin="SourceItem.id == foreign(MultimodalItem.source_id)",
        back_populates="source_item",
        viewonly=True,
    )

    def __repr__(self) -> str:
        return self._shown("id", "source", "source_key", "modality")


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
        Embedding(),
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
