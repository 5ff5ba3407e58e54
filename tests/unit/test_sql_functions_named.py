"""Whoever adds a SQL function says in sql/README.md what it is for, and in the rights who may."""

import re
from pathlib import Path

SQL = Path(__file__).parents[2] / "sql"
MADE = re.compile(r"CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE) @schema@\.(\w+)")
NAMED = {path: set(MADE.findall(path.read_text("utf-8"))) for path in sorted(SQL.rglob("*.sql"))}
ALL = set().union(*NAMED.values())
RIGHTS = (SQL / "schema/function_rights.sql", SQL / "schema/grants.sql")

# They run with their caller's rights, so anybody may call them and gains nothing by it.
WITH_THE_CALLERS_RIGHTS: set[str] = {
    "blend_embeddings",
    "build_full_text_index",
    "check_is_source_items",
    "check_loopback",
    "check_loopback_is_there",
    "check_query_texts",
    "check_sees_all_rows",
    "check_sees_spaces",
    "check_snapshot",
    "classify_items",
    "configure_loopback",
    "configure_text_search",
    "delete_items",
    "delete_outdated_items",
    "embed_queries",
    "embed_query",
    "full_text_made_of",
    "grant_items_table",
    "has_few_matches",
    "has_loopback",
    "hybrid_search",
    "is_served",
    "is_served_as_before",
    "item_distance",
    "item_document",
    "item_embedding",
    "jobs_of_others",
    "live_query_servers",
    "lock_jobs",
    "loopback_options",
    "loopback_proof",
    "missed_changes",
    "may_notify",
    "modality_means",
    "near_duplicates",
    "nearest_items",
    "open_jobs",
    "query_key",
    "refresh_space_statistics",
    "refuse_modalities",
    "refuse_to_wait",
    "remove_from_space",
    "remove_gone",
    "remove_source_items",
    "retold_metadata",
    "search_items",
    "sees_all_rows",
    "source_items_touch",
    "stop_work_on",
    "take_default_rights",
    "take_default_rights_of_items",
    "text_search_default",
    "text_search_of",
    "wake_workers",
    "window_bound",
    "withdraw_source_items",
    "without_notes",
    "words_of",
    "words_of_any",
}
# Parts of others, which nobody calls by hand.
PARTS: set[str] = {
    "multimodal_items_deleted",
    "empty_query_files",
    "ask_for_query_embeddings",
    "build_full_text_index",
    "cached_query_embeddings",
    "check_is_source_items",
    "check_loopback",
    "check_loopback_is_there",
    "check_query_texts",
    "check_sees_all_rows",
    "check_sees_spaces",
    "check_snapshot",
    "delete_items",
    "delete_outdated_items",
    "embed_queries",
    "enqueue_source_items",
    "full_text_made_of",
    "grant_items_table",
    "has_few_matches",
    "has_loopback",
    "is_served",
    "is_served_as_before",
    "item_distance",
    "item_document",
    "items_table",
    "jobs_of_others",
    "live_query_servers",
    "lock_jobs",
    "loopback_answers",
    "loopback_ask",
    "loopback_connection",
    "loopback_options",
    "loopback_proof",
    "loopback_touch",
    "may_notify",
    "modality_means",
    "nearest_items",
    "open_jobs",
    "query_embeddings_missing",
    "query_key",
    "refuse_modalities",
    "refuse_to_wait",
    "remove_from_space",
    "remove_gone",
    "remove_source_items",
    "reopen_source_items",
    "request_query_embeddings",
    "retold_metadata",
    "run_by_loopback",
    "sees_all_rows",
    "source_items_deleted",
    "source_items_inserted",
    "source_items_touch",
    "source_items_truncated",
    "source_items_updated",
    "space_items",
    "stop_work_on",
    "take_default_rights",
    "take_default_rights_of_items",
    "text_embeddings_by_loopback",
    "text_search_default",
    "touch_query_embeddings",
    "wake_workers",
    "window_bound",
    "withdraw_source_items",
    "without_notes",
}


def without_rights() -> set[str]:
    """Functions that no file of rights names."""
    text = "".join(path.read_text("utf-8") for path in RIGHTS)
    return {name for name in ALL if f"@schema@.{name}(" not in text}


def without_a_line() -> set[str]:
    """Functions that are no trigger's and stand nowhere in the README."""
    text = (SQL / "README.md").read_text("utf-8")
    return {name for name in ALL if not re.search(rf"`(CALL )?{name}\(", text)}


def test_every_function_has_its_rights_or_gives_none() -> None:
    assert len(ALL) > 40
    assert without_rights() == WITH_THE_CALLERS_RIGHTS


def test_every_function_has_a_line_or_is_a_part_of_another() -> None:
    assert without_a_line() == PARTS
