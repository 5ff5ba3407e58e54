"""The search page: its rows are those of the SQL that it shows, page by page, and it says why there
are none."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from psycopg.types.json import Jsonb
from starlette.testclient import TestClient

from pipeline import spaces
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.web.asked import PAGE
from tests.helpers.attached import attach
from tests.helpers.databases import copied
from tests.helpers.fakes import add_texts
from tests.helpers.images import encode, sample
from tests.helpers.web import items, next_page, pages, shown_sql, words
from tests.helpers.workers import load_file, work
from tests.integration.test_serve import serving

pytestmark = pytest.mark.usefixtures("dblink")
OCTETS = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True)
class Filled:
    """A database with items, where somebody serves, and its pages."""

    connection: Connection
    folder: Path
    browser: TestClient


@pytest.fixture(scope="module")
def database(
    server: EmbeddedServer, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Filled]:
    """Texts and images with metadata, embedded by the fake; one of them with 5 MB of it."""
    with copied(server, template) as url, connect(url) as connection, serving(url):
        folder = tmp_path_factory.mktemp("images")
        settings = Settings.load(database_url=url, home=folder / "home", media_roots=(folder,))
        add_texts(connection, [f"text number {n}" for n in range(40)])
        for n in range(6):
            file = folder / f"{n}.png"
            file.write_bytes(encode(sample(40 + n, 30), "PNG"))
            connection.execute(
                "INSERT INTO source_items (source, source_key, modality, content_ref) "
                "VALUES ('files', %s, 'image', %s)",
                (str(n), str(file)),
            )
        connection.execute(
            "UPDATE source_items SET metadata = jsonb_build_object("
            "'colour', CASE id % 2 WHEN 0 THEN 'red' ELSE 'blue' END, 'number', id % 3, "
            "'tags', jsonb_build_array('a', 'tag ' || id % 4), 'unique', id)"
        )
        work(settings, spaces.active_space(connection), load=load_file)
        connection.execute(
            "UPDATE multimodal_items SET metadata = metadata || %s WHERE source_id = 1",
            (Jsonb({"large": "x" * 5_000_000, "_ours": 1, "deep": {"colour": "red"}}),),
        )
        with pages(settings) as client:
            yield Filled(connection, folder, client)


@pytest.fixture
def browser(database: Filled) -> TestClient:
    return database.browser


def asked(**values: Any) -> str:
    return f"/?{urlencode(values, doseq=True)}"


def in_sql(connection: Connection, page: str) -> list[int]:
    """The items that the statement of a page gives to whoever runs it."""
    cursor = connection.execute(shown_sql(page).encode())
    assert cursor.description
    place = [column.name for column in cursor.description].index("id")
    return [row[place] for row in cursor.fetchall()]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"modality": ["text"]},
        {"filter": '{"colour": "red"}'},
        {"q": "text number 7"},
        {"q": "it's a \\ 'quoted' text; --"},
        {"q": "a", "modality": ["image"], "ranking": "raw"},
        {"q": "a", "ranking": "quota"},
        {"q": "a", "filter": '{"tags": ["tag 1"]}'},
        {"item": 3},
        {"item": 3, "q": "a", "term": ["b", "item:5"], "weight": ["-0.5", ""]},
        {"term": ["b"], "weight": ["-1"]},
    ],
    ids=str,
)
def test_the_statement_shown_gives_the_rows_of_the_page(
    database: Filled, values: dict[str, Any]
) -> None:
    page = database.browser.get(asked(**values))
    assert page.status_code == 200, words(page.text)
    assert items(page.text)
    assert in_sql(database.connection, page.text) == items(page.text)


def test_a_file_is_searched_by_and_its_statement_gives_the_same(database: Filled) -> None:
    browser, connection = database.browser, database.connection
    answer = browser.post(
        "/files", content=(database.folder / "2.png").read_bytes(), headers=OCTETS
    )
    assert answer.status_code == 201, answer.text
    name = answer.json()["file"]
    page = browser.get(asked(file=name, modality="image"))
    assert items(page.text)[0] == only(connection, "content_ref LIKE '%/2.png'")
    assert "the same" in words(page.text)
    assert in_sql(connection, page.text) == items(page.text)
    assert browser.get(f"/files/{name}").headers["content-type"] == "image/webp"
    assert browser.get(asked(file="another")).status_code == 410
    refused = browser.post("/files", content=b"no image", headers=OCTETS)
    assert refused.status_code == 400
    assert "expected JPEG" in refused.json()["error"]


def only(connection: Connection, condition: str) -> int:
    (row,) = connection.execute(f"SELECT id FROM multimodal_items WHERE {condition}".encode())
    return int(row[0])


@pytest.mark.parametrize("values", [{"q": "a"}, {"q": "a", "ranking": "quota"}, {}], ids=str)
def test_pages_go_on_amid_equal_items_and_new_ones(
    connection: Connection,
    settings: Settings,
    space: Space,
    url: str,
    values: dict[str, Any],
) -> None:
    """Sixty items with one vector, so that every row ties with the last of its page."""
    add_texts(connection, ["the same"] * 60)
    work(settings, space)
    all_of_them = {row[0] for row in connection.execute("SELECT id FROM multimodal_items")}
    with serving(url), pages(settings) as client:
        page, seen = client.get(asked(**values)).text, []
        while True:
            seen += items(page)
            if (more := next_page(page)) is None:
                break
            # Between two pages somebody adds one that comes first. By quota all others move then.
            if len(seen) == PAGE and "ranking" not in values:
                add_texts(connection, ["a"], "later")
                work(settings, space)
            fragment = client.get(more, headers={"HX-Request": "true"}).text
            assert "<html" not in fragment
            assert items(fragment) == items(client.get(more).text)
            page = fragment
    assert len(seen) == len(set(seen)) == 60
    assert set(seen) == all_of_them


def test_a_similarity_is_said_in_words(browser: TestClient) -> None:
    page = browser.get(asked(q="text number 7", modality="text")).text
    first = page.index("text number 7</span>")
    assert "the same 1.00" in words(page[first : first + 700])
    assert words(page).count("the same") == 1
    assert "related" in words(page)


def test_facets_are_made_of_the_data_and_filter_by_it(database: Filled) -> None:
    browser = database.browser
    said = words(browser.get("/facets?q=a").text)
    for facet in ("colour red 23 blue 22", "number 0 15 1 15 2 15", "tags a 45 tag 2 12"):
        assert facet in said
    for never in ("unique", "large", "_ours", "deep"):
        assert never not in said
    fragment = browser.get("/facets?q=a", headers={"HX-Request": "true"}).text
    assert "<html" not in fragment
    assert "filter=%7B%22number%22%3A+2%7D" in fragment  # a number stays one
    page = browser.get(asked(q="a", filter='{"number": 2}')).text
    assert items(page)
    found = database.connection.execute(
        "SELECT id FROM multimodal_items WHERE metadata @> '{\"number\": 2}'"
    )
    assert set(items(page)) <= {row[0] for row in found}


def test_modalities_have_their_counts_and_can_be_chosen(browser: TestClient) -> None:
    page = browser.get("/").text
    assert "text 40" in words(page)
    assert "image 6" in words(page)
    assert len(items(browser.get("/?modality=image").text)) == 6
    both = browser.get("/?q=a&modality=image&modality=text").text
    assert "modality =&gt; ARRAY[&#39;image&#39;, &#39;text&#39;]" in both


WRONG = {
    "ranking=best": "There is no ranking",
    "item=x": "no number of an item",
    "item=99999999999999999999": "no number of an item",
    "item=12345": "There is no item 12345",
    "filter=[1]": "no JSON object",
    "filter=" + "[" * 3000: "no JSON object",
    "q=a&term=b&weight=inf": "no weight",
    "q=a&term=a&weight=-1": "no direction",
    "q=a&after=1_2_3": "no page of a search",
    "q=a&after=1_nan_x_1": "no page of a search",
    "q=" + "a" * 10_001: "at most 10,000",
    "q=a" + "&term=b" * 8: "at most 8 terms",
    "q=a&modality=smell": "no modality",
    "q=a&source=nothing": "nothing",
    "source=nothing": "Nothing is attached",
    "file=never": "not here any more",
}


@pytest.mark.parametrize("query", WRONG, ids=lambda query: query[:30])
def test_what_cannot_be_asked_is_said(browser: TestClient, query: str) -> None:
    answer = browser.get(f"/?{query}")
    assert 400 <= answer.status_code < 500, words(answer.text)
    assert WRONG[query] in words(answer.text)
    assert "Traceback" not in answer.text


def test_what_is_wrong_stands_beside_its_field_and_the_rest_is_kept(browser: TestClient) -> None:
    wrong = {
        "q": "sea",
        "term": ["", "in <snow>", "item:x", "fog"],
        "weight": ["7", "much", "2", "-0.5"],
        "filter": '{"colour": red}',
        "modality": ["text"],
    }
    answer = browser.get(asked(**wrong))
    assert answer.status_code == 400
    form = answer.text.partition("<form")[2].partition("</form>")[0]
    for value in ("sea", "in &lt;snow&gt;", "item:x", "fog", "much", "2", "-0.5", "text"):
        assert f'value="{value}"' in form, value
    assert "{&#34;colour&#34;: red}" in form
    beside = {}
    for name, said in (
        ("weight-1", "'much' is no weight. A weight is a number"),
        ("term-2", "'x' is no number of an item."),
        ("filter", "The filter is no JSON object"),
    ):
        assert f'aria-describedby="wrong-{name}"' in form
        beside[name] = form.partition(f'id="wrong-{name}">')[2].partition("</p>")[0]
        assert said in words(beside[name])
    assert form.count('role="alert"') == len(beside)
    assert '<details class="options" open>' in form
    assert items(answer.text) == []
    assert "Nothing matches" not in words(answer.text)
    fragment = browser.get(asked(**wrong), headers={"HX-Request": "true"})
    assert fragment.status_code == 400


def test_an_empty_page_says_what_to_do(
    connection: Connection, settings: Settings, space: Space, url: str
) -> None:
    with pages(settings) as client:
        assert "nothing here that this login sees" in words(client.get("/").text)
        add_texts(connection, ["one", "two"])
        assert "2 source items wait" in words(client.get("/").text)
        answer = client.get("/?q=one")
        assert answer.status_code == 503
        assert "Start pipeline serve" in words(answer.text)
        work(settings, space)
        assert len(items(client.get("/").text)) == 2
        nothing = words(client.get(asked(filter='{"a": 1}')).text)
        assert "Nothing matches" in nothing


def test_without_a_space_it_is_said_how_to_make_one(
    empty_url: str, settings_of: Callable[..., Settings]
) -> None:
    migrate.upgrade(empty_url, old_pgvector=True)
    with pages(settings_of(empty_url)) as client:
        for query, status in (("/", 200), ("/?q=a", 503), ("/?item=1", 400)):
            answer = client.get(query)
            assert (answer.status_code, query) == (status, query)
            assert "o embedding space is active" in words(answer.text)


def test_an_attached_source_is_searched_by_itself(
    shop: Connection, connection: Connection, settings: Settings, space: Space, url: str
) -> None:
    attach(shop, contents={"title": {"modality": "text", "content": "title"}})
    shop.execute(
        "INSERT INTO shop.products (id, title) SELECT n, 'thing ' || n FROM generate_series(1, 3) n"
    )
    add_texts(connection, ["thing 1", "another"])
    work(settings, space)
    of_shop = {
        row[0]
        for row in connection.execute(
            "SELECT i.id FROM multimodal_items AS i JOIN source_items AS s ON s.id = i.source_id "
            "WHERE s.source = 'products.title'"
        )
    }
    assert len(of_shop) == 3
    with serving(url), pages(settings) as client:
        for query in ("/?source=products", "/?source=products&q=thing+1"):
            page = client.get(query).text
            assert set(items(page)) == of_shop
            assert in_sql(connection, page) == items(page)
        assert "<option selected>products</option>" in page
