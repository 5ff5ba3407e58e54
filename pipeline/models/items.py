"""What there is to embed, and the vectors."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

import numpy as np
from sqlalchemy import (
    BigInteger,
    Identity,
    Index,
    Integer,
    UniqueConstraint,
    func,
    select,
    text,
)
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from pipeline.errors import ConfigurationError
from pipeline.models.base import Base
from pipeline.models.embedding import Embedding
from pipeline.models.row_keys import is_attached_so, is_row_of, key_columns, said_key, source_name

Row = TypeVar("Row")


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
    compact: Mapped[np.ndarray[Any, np.dtype[np.float32]] | None] = mapped_column(
        Embedding(),
        deferred=True,
        comment="Leading coordinates of the embedding, kept by a trigger; null: no compact index.",
    )

    source_item: Mapped[SourceItem] = relationship(
        primaryjoin="SourceItem.id == foreign(MultimodalItem.source_id)",
        back_populates="items",
        viewonly=True,
    )

    def source_row(
        self,
        session: Session,
        row_class: type[Row],
        *,
        name: str | None = None,
        key: str | Sequence[str] | None = None,
    ) -> Row | None:
        """The row of an attached table that this item came from; None where it is gone.

        With an AsyncSession: ``await session.run_sync(item.source_row, Product)``.

        Args:
            session: of the application.
            row_class: its class for the table.
            name: what the table is attached as, where neither the class's ``items_of()`` nor the
                table's name say it.
            key: the columns by which it is attached, where neither the class's ``items_of()`` nor
                the primary key are those.

        Raises:
            ConfigurationError: the item is of another source.
        """
        name = source_name(row_class, name)
        key = said_key(row_class, name) if key is None else key
        source = func.regexp_replace(SourceItem.source, "[.][^.]*$", "")
        columns = key_columns(row_class, key)
        is_row = is_row_of(SourceItem.row_key, source == name, columns)
        found = session.execute(
            select(SourceItem.source, source, row_class)
            .select_from(SourceItem)
            .outerjoin(row_class, is_row)
            .where(SourceItem.id == self.source_id, is_attached_so(name, columns))
        ).one_or_none()
        if found is None:
            return None
        if found[1] != name:
            raise ConfigurationError(
                f"{self!r} is of the source {found[0]}, not of {name}: ask for the class of that"
            )
        row: Row | None = found[2]
        return row

    def __repr__(self) -> str:
        return self._shown("id", "modality", "content_ref")
