"""What source items follow."""

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
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import REGCLASS
from sqlalchemy.orm import Mapped, mapped_column, relationship

from pipeline.models.base import Base


class AttachedSource(Base):
    """A table, view, folder or prefix that source items follow. ``pipeline.attach`` makes one."""

    __tablename__ = "attached_sources"
    __table_args__ = (
        UniqueConstraint("name", name="attached_sources_name_unique"),
        CheckConstraint(
            "name <> '' AND octet_length(name) <= 200 AND name !~ '[[:cntrl:]]'",
            name="attached_sources_name_plain",
        ),
        CheckConstraint(
            "num_nonnulls(relation, location) = 1", name="attached_sources_of_one_kind"
        ),
        CheckConstraint("isfinite(synced_at)", name="attached_sources_synced_at_finite"),
        CheckConstraint(
            "capture IN ('statement', 'row', 'logical', 'scan')",
            name="attached_sources_capture_known",
        ),
        CheckConstraint("on_error IN ('warn', 'raise')", name="attached_sources_on_error_known"),
        {"comment": "What source_items follows; made by attach_source() and pipeline attach."},
    )

    id: Mapped[int] = mapped_column(
        Integer,
        Identity(always=True),
        primary_key=True,
        comment="Number; its objects are named after it.",
    )
    name: Mapped[str] = mapped_column(comment="Its name.")
    relation: Mapped[str | None] = mapped_column(REGCLASS, comment="The table or view.")
    location: Mapped[str | None] = mapped_column(comment="The folder, or the prefix in a bucket.")
    view: Mapped[str | None] = mapped_column(
        REGCLASS,
        comment="What source_items must hold of the relation: the view that was made of it.",
    )
    items_view: Mapped[str | None] = mapped_column(
        REGCLASS, comment="Its items with the keys of their rows, for queries."
    )
    capture: Mapped[str] = mapped_column(
        comment="How changes are noticed: statement, row, logical or scan."
    )
    on_error: Mapped[str] = mapped_column(
        server_default=text("'warn'"),
        comment="What a fault of ours does to the statement that writes: warn, or raise.",
    )
    sources: Mapped[list[str]] = mapped_column(
        ARRAY(Text), comment="The values of source_items.source that are its own."
    )
    definition: Mapped[dict[str, Any]] = mapped_column(
        comment="The arguments it was attached with."
    )
    attached_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="When it was attached."
    )
    attached_by: Mapped[str] = mapped_column(
        server_default=text("CURRENT_USER"), comment="By whom."
    )
    synced_at: Mapped[datetime | None] = mapped_column(comment="When all of it was compared last.")
    seen: Mapped[dict[str, Any] | None] = mapped_column(
        comment="What there was of it when all of it was compared last, where that tells whether "
        "anything changed since; null: the next sync compares all of it."
    )

    problems: Mapped[list["AttachedSourceProblem"]] = relationship(
        back_populates="attached_source", viewonly=True
    )

    def __repr__(self) -> str:
        return self._shown("id", "name", "capture")


class AttachedSourceProblem(Base):
    """Why an attached source needs a sync, which then removes the row."""

    __tablename__ = "attached_source_problems"
    __table_args__ = (
        Index("attached_source_problems_of", "attachment_id"),
        {"comment": "Why an attached source needs a sync, which then removes it."},
    )

    id: Mapped[int] = mapped_column(
        BigInteger, Identity(always=True), primary_key=True, comment="Number."
    )
    attachment_id: Mapped[int] = mapped_column(
        ForeignKey(
            "public.attached_sources.id",
            name="attached_source_problems_attachment_id_fkey",
            ondelete="CASCADE",
        ),
        comment="The attached source.",
    )
    problem: Mapped[str] = mapped_column(comment="What went wrong.")
    noted_at: Mapped[datetime] = mapped_column(server_default=func.now(), comment="When.")

    attached_source: Mapped[AttachedSource] = relationship(back_populates="problems", viewonly=True)

    def __repr__(self) -> str:
        return self._shown("id", "attachment_id", "problem")
