"""Which SQL is installed."""

from datetime import datetime

from sqlalchemy import (
    ARRAY,
    Text,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.models.base import Base


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
    ef_search: Mapped[int | None] = mapped_column(
        comment="What a measurement made the database's default of hnsw.ef_search; null: nothing."
    )
