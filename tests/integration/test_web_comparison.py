"""Two spaces side by side: what was measured of both, and what the same queries find."""

import re
from collections.abc import Callable

import pytest

from pipeline import spaces
from pipeline.postgres.connections import Connection
from pipeline.quality.history import latest
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.databases import login_url, role
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.spaces import fill, second_space
from tests.helpers.web import pages, words
from tests.helpers.workers import work
from tests.integration.test_serve import serving
from tests.integration.test_web_pages import HOSTILE

pytestmark = pytest.mark.usefixtures("dblink")
PATH = "/spaces/second/compare"


@pytest.fixture
def second(connection: Connection, settings: Settings, space: Space) -> Space:
    """Another space beside the active one; both have the same texts."""
    add_texts(connection, [f"text {n}" for n in range(30)] + [HOSTILE])
    other = second_space(connection)
    spaces.enqueue_missing(connection, other)
    work(settings, space)
    fill(settings, other, FakeEmbedder(12))
    return other


def columns(page: str) -> list[list[int]]:
    """The items of each column."""
    return [
        [int(n) for n in re.findall(r'data-more="[^"]*\?item=(\d+)"', section)]
        for section in page.split('<section aria-label="')[1:]
    ]


def nearest(connection: Connection, space: Space, item: int) -> list[int]:
    """By exact search: source items near to one of them."""
    table = space.table_name("text")
    rows = connection.execute(
        f"SELECT source_id FROM {table} ORDER BY embedding <=> ("  # type: ignore[arg-type]
        f"SELECT embedding FROM {table} WHERE source_id = %s) LIMIT 8",
        (item,),
    )
    return [row[0] for row in rows.fetchall()]


def test_the_same_query_in_both_spaces(
    connection: Connection, settings: Settings, space: Space, second: Space, url: str
) -> None:
    with (
        serving(url),
        pages(settings, allows_writes=True, loads=True) as client,
        pages(settings, allows_writes=True) as without_model,
    ):
        page = client.get(PATH, params={"q": f"text 7\n{HOSTILE}", "modality": "text"}).text
        assert "<script>" not in page
        found = columns(page)
        # The active space's items have the numbers of their source items here.
        assert found[0] == nearest(connection, space, 8)
        assert found[1] == nearest(connection, second, 8)
        assert found[2][0] == found[3][0] == 31
        shared = len({*found[0]} & {*found[1]})
        assert f"{shared} of 8 are on both sides" in words(page)
        assert "here alone" in words(page)
        said = client.get(f"/api{PATH}", params={"q": "text 7", "modality": "text"}).json()
        assert client.get(f"/api{PATH}", params={"q": [*"abcd"]}).status_code == 400
        (of_query,) = said["queries"]
        assert (said["active"], said["other"], of_query["shared"]) == ("fake", "second", shared)
        sides = [[hit["item"] for hit in of_query[side]] for side in ("active", "other")]
        assert sides == found[:2]
        there = {hit["source_id"]: hit["rank"] for hit in of_query["other"]}
        assert [hit["elsewhere"] for hit in of_query["active"]] == [
            there.get(hit["source_id"]) for hit in of_query["active"]
        ]
        # By the cache, without the model.
        again = without_model.get(PATH, params={"q": "text 7", "modality": "text"})
        assert columns(again.text) == found[:2]


def test_a_link_from_before_leads_to_the_same_source_item(
    connection: Connection, settings: Settings, space: Space, second: Space
) -> None:
    with pages(settings) as client:
        (link,) = re.findall(r'href="(/items/8\?of=8)"', client.get("/").text)
        assert client.get(link).status_code == 200
        spaces.build_indexes(connection, second)
        spaces.activate(connection, second)
        row = connection.execute("SELECT id FROM multimodal_items WHERE source_id = 8").fetchone()
        assert row is not None
        answer = client.get(link)
        assert answer.status_code == 404
        assert f"Its source item 8 is item {row[0]} now" in words(answer.text)
        assert f'href="/items/{row[0]}?of=8"' in answer.text
        assert f"item {row[0]} now" in client.get(f"/api{link}").json()["hint"]
        connection.execute("DELETE FROM source_items WHERE id = 8")
        for gone in (link, "/items/8", f"/items/8?of={2**63 - 1}"):
            assert "It may have gone" in words(client.get(gone).text)
        assert client.get("/items/8?of=x").status_code == 400


def test_what_was_measured_of_both_stands_above(
    connection: Connection, settings: Settings, space: Space, second: Space
) -> None:
    for of, values in ((space, (0.9, 0.5)), (second, (0.8, 0.97))):
        for day, value in enumerate(values, 1):
            connection.execute(
                "INSERT INTO space_evaluations (space_id, measured_at, metric, query_modality, "
                "item_modality, condition, queries, value) VALUES "
                "(%s, make_date(2026, 1, %s), 'R@10', 'text', 'image', %s, 9, %s)",
                (of.id, day, f"pairs by {HOSTILE}", value),
            )
    connection.execute(
        "INSERT INTO space_evaluations (space_id, metric, query_modality, item_modality, "
        "condition, queries, value) VALUES (%s, 'recall@10', 'text', 'text', 'none', 9, 0.99)",
        (second.id,),
    )
    assert [figure.value for figure in latest(connection, second)] == [0.99, 0.97]
    with pages(settings) as client:
        assert f'href="{PATH}"' in client.get("/spaces").text
        page = client.get(PATH).text
        said = words(page)
        assert "recall@10, text \N{RIGHTWARDS ARROW} text of the index not measured 0.990" in said
        assert f"R@10, text \N{RIGHTWARDS ARROW} image pairs by {HOSTILE} 0.500 0.970" in said
        assert "<script>" not in page
        assert "<textarea" not in page
        assert client.get(PATH, params={"q": "text 7"}).status_code == 403
        assert client.get("/spaces/fake/compare").status_code == 400
        assert client.get("/spaces/none/compare").status_code == 404
        (recall, _) = client.get(f"/api{PATH}").json()["figures"]
        assert (recall["metric"], recall["active"], recall["other"]) == ("recall@10", None, 0.99)
        assert client.get(f"/api{PATH}", params={"q": "text 7"}).status_code == 403


def test_what_cannot_be_compared_is_said(settings: Settings, second: Space, url: str) -> None:
    with serving(url), pages(settings, allows_writes=True) as client:
        for asked, status, says in (
            ({"q": "text 7", "modality": "text"}, 503, "Nothing here turns queries into vectors"),
            ({"q": "text 7", "modality": HOSTILE}, 400, "Both spaces have"),
            ({"q": "a\nb\nc\nd"}, 400, "at most 3"),
            ({"q": "x" * 20_000}, 400, "as a query"),
        ):
            answer = client.get(PATH, params=asked)
            assert (answer.status_code, says in words(answer.text)) == (status, True), answer.text
            assert "<script>" not in answer.text


def test_an_item_that_the_reader_may_not_see_is_not_shown(
    connection: Connection, settings_of: Callable[..., Settings], second: Space, url: str
) -> None:
    connection.execute(
        """
        ALTER TABLE multimodal_items ENABLE ROW LEVEL SECURITY;
        CREATE POLICY theirs ON multimodal_items TO pipeline_analyst USING (content_ref <> 'text 7')
        """
    )
    with role(connection, "worker", "LOGIN IN ROLE pipeline_ingest, pipeline_analyst"):
        own = settings_of(login_url(url, "worker"))
        with serving(url), pages(own, allows_writes=True, loads=True) as client:
            answer = client.get(PATH, params={"q": "text 7", "modality": "text"})
    assert answer.status_code == 200, words(answer.text)
    here, there = columns(answer.text)
    assert 8 not in (*here, *there)
    assert "Source item 8, of which fake has nothing to be shown" in words(answer.text)
