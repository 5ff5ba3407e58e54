"""What was measured of the spaces."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    func,
)
from sqlalchemy.dialects.postgresql import REAL
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.models.base import Base


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
    items: Mapped[int | None] = mapped_column(BigInteger, comment="Items that were searched among.")


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
    items: Mapped[int | None] = mapped_column(BigInteger, comment="Items that were searched among.")
    queries: Mapped[int | None] = mapped_column(
        Integer, comment="Queries that there were to measure with."
    )
    graph: Mapped[int | None] = mapped_column(
        BigInteger, comment="Number of the index's file: another once rebuilt."
    )
