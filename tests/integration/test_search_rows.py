"""Rows of an attached table, found by the best of their contents."""

from typing import Any

import psycopg
import pytest

from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.attached import attach
from tests.helpers.workers import work


def test_rows_are_searched_by_the_best_of_their_contents(
    shop: Connection, connection: Connection, space: Space, settings: Settings
) -> None:
    contents = {
        "title": {"modality": "text", "content": "title"},
        "about": {"modality": "text", "content": "description"},
    }
    attach(shop, contents=contents, metadata="{price}")
    shop.execute(
        "INSERT INTO shop.products (id, title, description, price) VALUES "
        "(1, 'a bike', 'a red bike', 5), (2, 'a boat', 'a bike', 7), (3, 'a cat', NULL, 9)"
    )
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "VALUES ('other', '1', 'text', 'a bike too')"
    )
    work(settings, space)
    (probe,) = connection.execute(
        "SELECT embedding FROM multimodal_items WHERE content_ref = 'a bike' LIMIT 1"
    ).fetchone() or (None,)

    def rows(**more: object) -> list[tuple[Any, ...]]:
        names = "".join(f", {name} => %({name})s" for name in more)
        return connection.execute(
            f"SELECT row_key, content FROM search_rows('products', embedding => %(probe)s{names}) "
            "ORDER BY rank".encode(),
            {"probe": probe, **more},
        ).fetchall()

    found = rows()
    assert sorted(key for key, _ in found) == ["1", "2", "3"]
    assert found[:2] == [("2", "about"), ("1", "title")]  # equal ones as they came
    assert rows(k=1) == [("2", "about")]
    assert rows(k=2) == found[:2]
    assert rows(content=["about"])[0] == ("2", "about")
    assert {content for _, content in rows(content=["about"])} == {"about"}
    assert rows(filter='{"price": 7}') == [("2", "about")]
    for arguments, said in (
        ({"content": ["photo"]}, "products has no content 'photo'"),
        ({"content": [None]}, "products has no content NULL"),
        ({"k": 0}, "k is 0"),
        ({"ranking": "best"}, "there is no ranking"),
    ):
        with pytest.raises(psycopg.Error, match=said):
            rows(**arguments)
    with pytest.raises(psycopg.Error, match="there is no attached source 'nothing'"):
        connection.execute("SELECT * FROM search_rows('nothing', 'x')")
    joined = connection.execute(
        "SELECT p.title, i.content FROM shop.products_items AS i "
        "JOIN shop.products AS p USING (id) ORDER BY i.embedding <=> %s, i.item_id LIMIT 2",
        (probe,),
    ).fetchall()
    assert joined == [("a boat", "about"), ("a bike", "title")]
