"""Every function that users call, with every argument null, empty, not a number, negative, huge, or
an array that begins elsewhere: a right answer, or an error that names the argument."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from pipeline.postgres.connections import Connection
from pipeline.spaces import Space
from pipeline.vectors import unit_rows
from tests.helpers.fakes import vector_of
from tests.helpers.query_cache import remember
from tests.helpers.two_cones import FIRST_IMAGE, store

AXES = "[" + ",".join(["1"] + ["0"] * 7) + "]"

# A call of each that answers; every argument is then replaced in its turn.
CALLS: dict[str, list[dict[str, str]]] = {
    "text_embedding": [{"query": "'one'", "timeout": "'1 s'"}],
    "text_embeddings": [{"queries": "'{one,two}'", "timeout": "'1 s'"}],
    "item_embedding": [{"item_id": "1"}],
    "blend_embeddings": [
        {"embeddings": "ARRAY[item_embedding(1), item_embedding(2)]", "weights": "'{1,-0.5}'"}
    ],
    "search_items": [
        {
            **of,
            "modality": "'{image}'",
            "k": "3",
            "filter": "'{\"number\": 1}'",
            "min_similarity": "-1",
            "ranking": "'raw'",
            "query_modality": "'text'",
        }
        for of in ({"query": "'one'"}, {"embedding": f"'{AXES}'"}, {"like_item": "1"})
    ],
    "search_rows_where": [
        {
            **of,
            "name": "'things'",
            "condition": "'id > 0'",
            "content": "'{photo}'",
            "modality": "'{image}'",
            "k": "3",
            "filter": "'{\"number\": 1}'",
            "min_similarity": "-1",
            "ranking": "'raw'",
            "query_modality": "'text'",
        }
        for of in ({"query": "'one'"}, {"embedding": f"'{AXES}'"}, {"like_item": "1"})
    ],
    "search_rows": [
        {
            **of,
            "name": "'things'",
            "content": "'{photo}'",
            "modality": "'{image}'",
            "k": "3",
            "filter": "'{\"number\": 1}'",
            "min_similarity": "-1",
            "ranking": "'raw'",
            "query_modality": "'text'",
        }
        for of in ({"query": "'one'"}, {"embedding": f"'{AXES}'"}, {"like_item": "1"})
    ],
    "hybrid_search": [
        {
            "query": "'one'",
            "modality": "'{image}'",
            "k": "3",
            "filter": "'{\"number\": 1}'",
            "vector_weight": "1",
            "text_weight": "1",
            "candidates": "20",
            "ranking": "'raw'",
        }
    ],
    "classify_items": [
        {
            "labels": "'{one,two}'",
            "template": "'a photo of a {}'",
            "items": "'{9,10}'",
            "modality": "'image'",
            "filter": "'{}'",
        }
    ],
    "near_duplicates": [
        {"threshold": "0.2", "modality": "'image'", "filter": "'{}'", "neighbours": "3"}
    ],
    "refresh_space_statistics": [{"space": "'fake'"}],
    "pause_space": [{"space": "'fake'", "why": "'a full disk'"}],
    "resume_space": [{"space": "'fake'"}],
    "missed_changes": [{"after_id": "0", "up_to_id": "9"}],
}
PROCEDURES = {
    "embed_query": {"query": "'one'", "timeout": "'1 s'"},
    "embed_queries": {"queries": "'{one,two}'", "timeout": "'1 s'"},
}
NOT_TRIED = {
    "configure_loopback",  # an administrator's, who gives a login and its password
    "ask_for_file_embedding",  # of bytes; see test_query_files.py
    "file_embedding",
    "compact_embedding",  # of a space with a compact index: see test_compact_index.py
    "forget_file",
    "configure_text_search",  # see test_full_text_languages.py
    "attach_source",  # of attached tables: see test_attach_*.py
    "backfill_source",
    "detach_source",
    "sync_source",
    # Expressions of a WHERE, as PostgreSQL's own functions of full text are: NULL of NULL.
    "text_search_of",
    "words_of",
    "words_of_any",
}

# Values by type.
VALUES = {
    "text": ["NULL", "''", "'  '", "'nope'", "repeat('x', 20000)"],
    "text[]": ["NULL", "'{}'", "'{NULL}'", "'{nope,NULL}'", "'{\"\"}'", "'{nope}'"],
    "integer": ["NULL", "0", "-1", "2147483647", "-2147483648"],
    "bigint": ["NULL", "0", "-1", "9223372036854775807"],
    "bigint[]": ["NULL", "'{}'", "'{NULL}'", "'{9,NULL}'", "'{-1}'", "'{9,999}'"],
    "real": ["NULL", "'NaN'", "'Infinity'", "'-Infinity'", "-3e38", "3e38", "-1", "0", "1e-38"],
    "real[]": ["NULL", "'{}'", "'{NULL,1}'", "'{NaN,1}'", "'{Infinity,1}'", "'{3e38,3e38}'",
               "'{1}'", "'{0,0}'", "'{1e-38,1e-38}'", "'{-1,-1}'"],
    "jsonb": ["NULL", "'null'", "'[]'", "'1'", "'{}'", "'{\"no\": {\"such\": 1}}'"],
    "interval": ["NULL", "'-1 s'", "'0'", "'10000 years'"],
    "halfvec": ["NULL", "'[0,0,0,0,0,0,0,0]'", "'[1,2]'", "'[65504,65504,0,0,0,0,0,0]'",
                "'[6e-8,0,0,0,0,0,0,0]'"],
    "halfvec[]": ["NULL", "'{}'", "ARRAY[NULL, item_embedding(1)]::halfvec[]",
                  "ARRAY['[0,0,0,0,0,0,0,0]', '[0,0,0,0,0,0,0,0]']::halfvec[]",
                  "ARRAY['[1,2]', item_embedding(1)]::halfvec[]"],
}  # fmt: skip
# What a message calls an argument where it does not say its name.
ALSO = {
    "query": "query",
    "queries": "query|queries",
    "item_id": "item",
    "like_item": "item|exactly one of",
    "items": "item",
    "embedding": "embedding|exactly one of",
    "name": "attached source",
}
# Answers without a row that are right: nothing is asked for, or nothing is like that.
NO_ROWS_ARE_RIGHT = {
    ("missed_changes", "after_id"),
    ("missed_changes", "up_to_id"),
    ("classify_items", "items", "'{}'"),
    ("near_duplicates", "threshold", "3e38"),
    *{(name, "filter", "'{\"no\": {\"such\": 1}}'")
      for name in ("search_items", "search_rows", "search_rows_where", "hybrid_search",
                   "classify_items", "near_duplicates")},
}  # fmt: skip


@pytest.fixture
def filled(connection: Connection, space: Space) -> Connection:
    axes = np.eye(8, dtype=np.float32)
    store(connection, space, "text", axes, first_source_id=1)
    store(
        connection,
        space,
        "image",
        unit_rows(axes + 0.3 * np.roll(axes, 1, axis=1)),
        first_source_id=FIRST_IMAGE,
    )
    # Each of them one row's of what is attached as things.
    connection.execute(
        """
        CREATE TABLE things (id int PRIMARY KEY, title text, photo text);
        SELECT attach_source('things', '{"title": {"modality": "text", "content": "title"},
            "photo": {"modality": "image", "content": "photo"}}');
        INSERT INTO source_items (id, source, source_key, row_key, modality, content_ref)
        OVERRIDING SYSTEM VALUE
        SELECT source_id, CASE modality WHEN 'text' THEN 'things.title' ELSE 'things.photo' END,
            source_id, source_id, modality, content_ref FROM multimodal_items;
        ALTER TABLE things DISABLE TRIGGER USER;
        INSERT INTO things SELECT source_id FROM multimodal_items;
        """
    )
    # The number 1 is in all, so that the filter leaves some.
    connection.execute("UPDATE multimodal_items SET metadata = '{\"number\": 1}'")
    for query in (
        "one",
        "two",
        "a photo of a one",
        "a photo of a two",
        "a photo of a nope",
        "nope",
    ):
        remember(connection, space, query, vector_of(query.encode()).tolist())
    return connection


def signature(connection: Connection, name: str) -> dict[str, str]:
    """The arguments of a function: name -> type."""
    rows = connection.execute(
        """
        SELECT p.proargnames[n], format_type(t.type, NULL)
        FROM pg_proc AS p CROSS JOIN unnest(p.proargtypes::oid[]) WITH ORDINALITY AS t (type, n)
        WHERE p.proname = %s AND p.pronamespace = 'public'::regnamespace
        """,
        (name,),
    ).fetchall()
    return dict(rows)


def answer(connection: Connection, name: str, arguments: dict[str, str]) -> list[tuple[Any, ...]]:
    given = ", ".join(f"{argument} => {value}" for argument, value in arguments.items())
    return connection.execute(f"SELECT * FROM {name}({given}) AS r".encode()).fetchall()


def assert_right(name: str, argument: str, value: str, rows: list[tuple[Any, ...]]) -> None:
    if not rows:
        assert {(name, argument), (name, argument, value)} & NO_ROWS_ARE_RIGHT, "no rows"
    for row in rows:
        for number, column in enumerate(row):
            assert not (isinstance(column, float) and math.isnan(column)), "not a number"
            ranks = name == "hybrid_search" and number in (8, 9)  # null: not in that list
            assert column is not None or ranks, "null"
            assert "NaN" not in str(column)


def tries(connection: Connection) -> list[tuple[str, dict[str, str], str, str]]:
    return [
        (name, call, argument, value)
        for name, calls in CALLS.items()
        for call in calls
        for argument, kind in signature(connection, name).items()
        if argument in call
        for value in VALUES[kind]
    ]


def test_every_function_that_users_call_is_tried(filled: Connection) -> None:
    readme = (Path(__file__).parents[2] / "sql/README.md").read_text("utf-8")
    listed = set(re.findall(r"^\| `(?:CALL )?(\w+)\(", readme, re.M))
    assert listed - NOT_TRIED <= CALLS.keys() | PROCEDURES.keys()
    for name, calls in CALLS.items():
        arguments = set(signature(filled, name))
        assert arguments == set().union(*calls), name
        for call in calls:
            if name != "missed_changes":
                assert_right(name, "", "", answer(filled, name, call))
                assert answer(filled, name, call)


def test_every_argument_is_answered_rightly_or_refused_by_name(filled: Connection) -> None:
    wrong = []
    for name, call, argument, value in tries(filled):
        try:
            rows = answer(filled, name, {**call, argument: value})
            assert_right(name, argument, value, rows)
            if value == "NULL":
                left_out = {other: given for other, given in call.items() if other != argument}
                assert rows == answer(filled, name, left_out), "null is taken for something"
        except psycopg.Error as exc:
            said = str(exc.diag.message_primary)
            if not re.search(ALSO.get(argument, argument), said):
                wrong.append(f"{name}({argument} => {value}): {said}")
        except AssertionError as exc:
            wrong.append(f"{name}({argument} => {value}): {str(exc).splitlines()[0]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", PROCEDURES)
def test_procedures_refuse_as_the_functions_do(filled: Connection, name: str) -> None:
    for argument, kind in signature(filled, name).items():
        for value in ("NULL", "''") if kind == "text" else ("NULL",):
            given = {**PROCEDURES[name], argument: value}
            call = ", ".join(f"{other} => {one}" for other, one in given.items())
            with pytest.raises(psycopg.Error, match=ALSO.get(argument, argument)):
                filled.execute(f"CALL {name}({call})".encode())


@pytest.mark.parametrize(
    ("name", "argument", "moved"),
    [
        ("text_embeddings", "queries", "'[5:6]={one,two}'"),
        ("blend_embeddings", "weights", "'[0:1]={1,-0.5}'"),
        ("blend_embeddings", "embeddings",
         "(format('[7:8]=%s', ARRAY[item_embedding(1), item_embedding(2)]))::halfvec[]"),
        ("classify_items", "labels", "'[5:6]={one,two}'"),
        ("classify_items", "items", "'[-3:-2]={9,10}'"),
        ("search_items", "modality", "'[3:3]={image}'"),
        ("hybrid_search", "modality", "'[3:3]={image}'"),
    ],
)  # fmt: skip
def test_an_array_may_begin_at_any_number(
    filled: Connection, name: str, argument: str, moved: str
) -> None:
    for call in CALLS[name]:
        assert answer(filled, name, {**call, argument: moved}) == answer(filled, name, call)


def test_weights_count_relative_to_each_other(filled: Connection) -> None:
    blend = (
        "SELECT blend_embeddings(ARRAY[item_embedding(1), item_embedding(2)], %s::real[]) <=> "
        "blend_embeddings(ARRAY[item_embedding(1), item_embedding(2)], '{1,-0.5}')"
    )
    for weights in ([2e38, -1e38], [1e-30, -5e-31], [2, -1]):
        row = filled.execute(blend, (weights,)).fetchone()
        assert row is not None
        assert row[0] == pytest.approx(0, abs=1e-6)


def test_few_results_of_both_ways_are_told_by_the_k_that_was_asked_for(filled: Connection) -> None:
    notices: list[str] = []
    filled.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    filled.execute("SELECT FROM refresh_space_statistics()")
    filled.execute("SELECT FROM hybrid_search('one', k => 2)")
    assert notices == []
    filled.execute("SELECT FROM hybrid_search('one', k => 20)")
    assert notices == ["only 16 of the 20 asked for: there are no other items"]


def test_a_null_text_finds_nothing_rather_than_anything(filled: Connection) -> None:
    with pytest.raises(psycopg.Error, match="the query is"):
        filled.execute(
            "SELECT id FROM multimodal_items ORDER BY embedding <=> text_embedding(NULL) LIMIT 5"
        )
