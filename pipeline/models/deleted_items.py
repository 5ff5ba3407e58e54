"""Items that somebody deleted."""

from datetime import datetime

from sqlalchemy import BigInteger, func
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.models.base import Base


class DeletedItem(Base):
    """A source item whose item was deleted from ``multimodal_items``, and does not come back."""

    __tablename__ = "deleted_items"
    __table_args__ = (
        {
            "comment": "Source items whose items were deleted from multimodal_items by hand or by "
            "another tool: they get none until their content changes, or their row here is "
            "deleted."
        },
    )

    source_id: Mapped[int] = mapped_column(
        BigInteger, primary_key=True, autoincrement=False, comment="The source item."
    )
    deleted_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="When its item was deleted."
    )
