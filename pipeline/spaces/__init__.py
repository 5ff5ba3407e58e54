"""Embedding spaces: exactly one model each; described, created, built, activated, rolled back.

A space owns one table per modality, ``multimodal_items_<modality>_s<id>``. Those of the active
space are the partitions of ``multimodal_items``; the others stand detached, filled or kept by the
same queue. Changing the model is one short transaction that swaps partitions, see docs/spaces.md.
"""

from pipeline.spaces.activation import activate, check_coverage, rollback
from pipeline.spaces.coverage import Coverage, coverage
from pipeline.spaces.creation import check_may_create, create, drop
from pipeline.spaces.index.hnsw import (
    IndexProgress,
    build_indexes,
    index_is_valid,
    index_progress,
    missing_indexes,
)
from pipeline.spaces.index.parent import has_whole_index, owns_tables, take_off_indexes
from pipeline.spaces.space import (
    Space,
    active_space,
    check_model,
    find_active,
    find_space,
    get_space,
    list_spaces,
    name_for,
)
from pipeline.spaces.tables import enqueue_missing, is_empty, item_count

__all__ = [
    "Coverage",
    "IndexProgress",
    "Space",
    "activate",
    "active_space",
    "build_indexes",
    "check_coverage",
    "check_may_create",
    "check_model",
    "coverage",
    "create",
    "drop",
    "enqueue_missing",
    "find_active",
    "find_space",
    "get_space",
    "has_whole_index",
    "index_is_valid",
    "index_progress",
    "is_empty",
    "item_count",
    "list_spaces",
    "missing_indexes",
    "name_for",
    "owns_tables",
    "rollback",
    "take_off_indexes",
]
