"""Vectors in and out: import of what another system embedded, export to Parquet."""

from pipeline.transfer.answers import AnswersReport, import_answers
from pipeline.transfer.exporting import claim_of, export_parquet
from pipeline.transfer.importing import ForeignItem, ImportReport, check_claim, import_items
from pipeline.transfer.pending import export_pending
from pipeline.transfer.readers import from_npy, from_parquet, from_table, parquet_claim

__all__ = [
    "AnswersReport",
    "ForeignItem",
    "ImportReport",
    "check_claim",
    "claim_of",
    "export_parquet",
    "export_pending",
    "from_npy",
    "from_parquet",
    "from_table",
    "import_answers",
    "import_items",
    "parquet_claim",
]
