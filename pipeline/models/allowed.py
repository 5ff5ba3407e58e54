"""What source items may be, and where their files may lie."""

from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.models.base import Base


class KnownModality(Base):
    """What a source item may be; a further row allows a further modality."""

    __tablename__ = "known_modalities"
    __table_args__ = (
        CheckConstraint("name ~ '^[a-z][a-z0-9_]{0,19}$'", name="known_modalities_name_plain"),
        CheckConstraint(
            "media IN ('text', 'image', 'audio', 'video', 'application')",
            name="known_modalities_media_known",
        ),
        CheckConstraint("derived_from <> name", name="known_modalities_derived_from_other"),
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
    derived_from: Mapped[str | None] = mapped_column(
        ForeignKey("known_modalities.name", name="known_modalities_derived_from_fkey"),
        comment="The modality whose encoder embeds its parts in a space that has none for it; "
        "null: such a space leaves it alone.",
    )


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
