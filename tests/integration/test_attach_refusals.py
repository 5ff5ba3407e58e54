"""What cannot be attached, and what is said then."""

import json
from typing import Any

import psycopg
import pytest

from pipeline.postgres.connections import Connection
from tests.helpers.attached import attach


@pytest.mark.parametrize(
    ("statement", "arguments", "said", "hint"),
    [
        ("CREATE TABLE shop.t (a text)", {}, "shop.t has no key", "ADD COLUMN id bigint"),
        ("CREATE TABLE shop.t (a text UNIQUE)", {}, "has no key", "PRIMARY KEY"),
        ("CREATE TABLE shop.t (id int PRIMARY KEY, a text)", {"key": ["b"]}, "has no column 'b'",
         "It has id, a."),
        ("CREATE TABLE shop.t (id int PRIMARY KEY, a text)", {"key": ["a"]}, "NOT NULL over a",
         "ADD UNIQUE"),
        ("CREATE TABLE shop.t (id int PRIMARY KEY, b text)", {}, 'column "a" does not exist', ""),
        ("CREATE TABLE shop.t (id int PRIMARY KEY, a text)", {"name": "products\n"},
         "control character", "name => 't'"),
        ("CREATE TABLE shop.t (id int PRIMARY KEY, a text)", {"capture": "magic"},
         "there is no capture 'magic'", "statement, row"),
        ("CREATE TABLE shop.t (id int PRIMARY KEY, a text)", {"on_error": "ignore"},
         "must be warn or raise", ""),
        ("CREATE TABLE shop.t (id int PRIMARY KEY, a text)", {"filter": "a ="}, "syntax error", ""),
        ("CREATE TABLE shop.t (id int PRIMARY KEY, a text)", {"metadata": "{nothing}"},
         "nothing does not exist", ""),
        ("CREATE TABLE shop.t (id int PRIMARY KEY, a text); CREATE VIEW shop.t_items AS SELECT 1",
         {}, "t_items is there already", "another name"),
        ("CREATE VIEW shop.beneath AS SELECT id, content_ref AS a FROM source_items; "
         "CREATE VIEW shop.t AS SELECT * FROM shop.beneath", {"key": ["id"]},
         "would come again of that at each sync", "content of your own"),
        ("CREATE TABLE shop.t (id int PRIMARY KEY, a text)",
         {"filter": "true); DROP TABLE shop.products; --"}, "syntax error", ""),
    ],
)  # fmt: skip
def test_what_cannot_be_attached(
    shop: Connection, statement: str, arguments: dict[str, Any], said: str, hint: str
) -> None:
    shop.execute(statement.encode())
    with pytest.raises(psycopg.Error, match=said) as raised:
        attach(shop, "shop.t", {"a": {"modality": "text", "content": "a"}}, **arguments)
    assert hint in str(raised.value.diag.message_hint)
    made = shop.execute("SELECT count(*) FROM pg_class WHERE relname ~ '^pipeline_source_'")
    assert made.fetchone() == (0,)
    assert shop.execute("SELECT count(*) FROM attached_sources").fetchone() == (0,)


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ({}, "must be an object of at least one content"),
        ([], "must be an object"),
        ({"a b": {"modality": "text", "content": "title"}}, "needs a name of letters"),
        ({"a": "title"}, "says no column or expression"),
        ({"a": {"modality": "text", "content": " "}}, "says no column or expression"),
        ({"a": {"modality": "smell", "content": "title"}}, "smell"),
        ({"a": {"content": "title"}}, "modality"),
        ({"a": {"modality": "text", "content": "title", "each": 1}}, "must be true or false"),
        ({"a": {"modality": "text", "content": "title", "cut": 1}}, "'cut', which means nothing"),
        ({"a": {"modality": "text", "content": "title", "each": True}}, "cannot be attached so"),
        ({"a": {"modality": "text", "content": "unnest(extra)"}}, "cannot be attached so"),
        ({"a": {"modality": "text", "content": "max(title)"}}, "cannot be attached so"),
        ({"a": {"modality": "text", "content": "row_number() OVER ()"}}, "cannot be attached so"),
    ],
)
def test_contents_that_are_none(shop: Connection, contents: object, said: str) -> None:
    with pytest.raises(psycopg.Error, match=said):
        shop.execute("SELECT attach_source('shop.products', %s)", (json.dumps(contents),))


def test_our_own_tables_are_not_attached(connection: Connection) -> None:
    for table in ("source_items", "multimodal_items", "attached_objects", "media_roots"):
        with pytest.raises(psycopg.Error, match="is not a table of yours"):
            attach(connection, table)
    connection.execute("CREATE TABLE parent (id integer PRIMARY KEY, title text)")
    connection.execute("CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent)")
    for table in ("parent", "child"):
        with pytest.raises(psycopg.Error, match="part of an inheritance tree"):
            attach(connection, table)
