"""What was seen of attached folders and prefixes."""

from datetime import datetime

from sqlalchemy import ARRAY, BigInteger, ForeignKey, Integer, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.models.base import Base


class AttachedObject(Base):
    """A file or object of an attached folder or prefix, as it was seen last."""

    __tablename__ = "attached_objects"
    __table_args__ = (
        {
            "comment": "The files and objects of attached folders and prefixes, as they were seen "
            "last."
        },
    )

    attachment_id: Mapped[int] = mapped_column(
        Integer,
        ForeignKey(
            "public.attached_sources.id",
            name="attached_objects_attachment_id_fkey",
            ondelete="CASCADE",
        ),
        primary_key=True,
        comment="The attached source.",
    )
    key: Mapped[str] = mapped_column(
        Text(collation="C"),
        primary_key=True,
        comment="What follows the location in its path or URL; the row_key of its source item.",
    )
    size: Mapped[int] = mapped_column(BigInteger, comment="In bytes.")
    etag: Mapped[str | None] = mapped_column(
        comment="As its store calls this version of the content; files have none."
    )
    modified_at: Mapped[datetime] = mapped_column(comment="When it was changed last.")

    def __repr__(self) -> str:
        return self._shown("attachment_id", "key", "size")


class AttachedListingPage(Base):
    """Some of a listing of an attached folder or prefix that is under way, or was interrupted."""

    __tablename__ = "attached_listing_pages"
    __table_args__ = (
        {
            "comment": "A listing of an attached folder or prefix that is under way, or was "
            "interrupted.",
            "prefixes": ["UNLOGGED"],
        },
    )

    attachment_id: Mapped[int] = mapped_column(
        Integer,
        ForeignKey(
            "public.attached_sources.id",
            name="attached_listing_pages_attachment_id_fkey",
            ondelete="CASCADE",
        ),
        primary_key=True,
        comment="The attached source.",
    )
    page: Mapped[int] = mapped_column(
        Integer, primary_key=True, autoincrement=False, comment="From 0, without gaps."
    )
    last_key: Mapped[bytes] = mapped_column(
        comment="The last key that was listed, which need not be among the keys: it goes on there."
    )
    keys: Mapped[list[str]] = mapped_column(
        ARRAY(Text), comment="What was found that can be embedded."
    )
    modalities: Mapped[list[str]] = mapped_column(
        ARRAY(Text), comment="Of each key, by its ending."
    )
    sizes: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), comment="Of each key, in bytes.")
    etags: Mapped[list[str | None]] = mapped_column(
        ARRAY(Text), comment="Of each key, where there is one."
    )
    modified: Mapped[list[str]] = mapped_column(
        ARRAY(Text), comment="Of each key, in ISO 8601: when it was changed last."
    )
    listed_at: Mapped[datetime] = mapped_column(server_default=func.now(), comment="When.")

    def __repr__(self) -> str:
        return self._shown("attachment_id", "page")
