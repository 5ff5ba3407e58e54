"""The API of the pages: what they show, as JSON, to those who see them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from openapi_spec_validator import validate
from psycopg.types.json import Jsonb
from starlette.testclient import TestClient

from pipeline.postgres.connections import Connection
from pipeline.queue import pauses
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.web.api import answers
from pipeline.web.guard import HEADERS
from tests.helpers.fakes import add_texts
from tests.helpers.spaces import second_space
from tests.helpers.web import items, pages, shown_sql
from tests.helpers.workers import work
from tests.integration.test_serve import serving

pytestmark = pytest.mark.usefixtures("dblink")
HOSTILE = "<script>alert(1)</script>"


@dataclass(frozen=True)
class Api:
    """The API over a database with some texts, of which one is hostile."""

    client: TestClient
    connection: Connection

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self.client.get(f"/api/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        return answer.json()


@pytest.fixture
def api(connection: Connection, settings: Settings, space: Space, url: str) -> Iterator[Api]:
    add_texts(connection, [f"text {n}" for n in range(30)] + [HOSTILE])
    connection.execute(
        "UPDATE source_items SET metadata = %s WHERE id > 28", (Jsonb({"colour": HOSTILE}),)
    )
    work(settings, space)
    with serving(url), pages(settings) as client:
        yield Api(client, connection)


def test_a_search_gives_the_rows_and_the_statement_of_the_page(api: Api) -> None:
    for parameters in (
        {"q": "text 7"},
        {},
        {"item": 3, "term": ["text 9", "item:5"], "weight": ["-0.5", ""]},
        {"filter": json.dumps({"colour": HOSTILE})},
    ):
        page = api.client.get("/", params=parameters).text
        found = answers.Search.model_validate(api.get("search", **parameters))
        assert [hit.id for hit in found.items] == items(page)
        assert found.sql == shown_sql(page)
        assert found.items
        assert all((hit.similarity is not None) == ("item" in parameters or "q" in parameters)
                   for hit in found.items)  # fmt: skip
    (nearest, *_) = api.get("search", q=HOSTILE)["items"]
    assert nearest["text"] == HOSTILE
    assert nearest["similarity"] == pytest.approx(1, abs=1e-3)
    assert nearest["closeness"] == "the same"


@pytest.mark.parametrize("parameters", [{"q": "text 7"}, {}])
def test_rows_follow_one_another_to_the_last(api: Api, parameters: dict[str, str]) -> None:
    seen: list[int] = []
    after: dict[str, str] = {}
    while True:
        found = api.get("search", limit=7, **parameters, **after)
        assert len(found["items"]) <= 7
        seen += [hit["id"] for hit in found["items"]]
        if found["after"] is None:
            break
        after = {"after": found["after"]}
        # What comes in between shifts nothing.
        add_texts(api.connection, [f"new {len(seen)}"], f"later {len(seen)}")
    assert sorted(seen) == list(range(1, 32))


def test_an_item_says_what_its_page_says(api: Api) -> None:
    found = answers.Item.model_validate(api.get("items/31"))
    assert (found.text, found.source, found.source_key) == (HOSTILE, "test", "31")
    assert found.metadata == {"colour": HOSTILE}
    assert [(part.part, part.id) for part in found.parts] == [(0, 31)]
    api.connection.execute(
        "UPDATE multimodal_items SET metadata = %s WHERE id = 31", (Jsonb({"x": "x" * 50_000}),)
    )
    assert api.get("items/31")["metadata"] is None


def test_spaces_and_jobs_are_those_of_the_pages(api: Api, settings: Settings, space: Space) -> None:
    add_texts(api.connection, ["waits"], "later")
    pauses.pause(api.connection, space.name, "reindexing")
    (found,) = answers.Spaces.model_validate(api.get("spaces")).spaces
    assert (found.name, found.state, found.dimensions) == ("fake", "active", 8)
    assert {one.modality: one.items for one in found.modalities} == {"text": 31, "image": 0}
    assert found.paused is not None
    assert found.paused.why == "reindexing"
    queue = answers.Jobs.model_validate(api.get("jobs"))
    assert {one.modality: one.pending for one in queue.work} == {"text": 1, "image": 0}
    assert queue.paused["fake"].by == "postgres"
    assert queue.workers is None
    with pages(settings, allows_writes=True) as client:
        assert client.get("/api/jobs").json()["workers"] == []


def test_what_cannot_be_answered_is_an_object(api: Api, settings: Settings) -> None:
    for path, status, says in (
        ("search?ranking=x", 400, "no ranking"),
        ("search?filter=[]", 400, "no JSON object"),
        ("search?limit=0", 400, "no limit"),
        ("search?limit=101", 400, "no limit"),
        ("search?after=x", 400, "no page"),
        ("search?source=nothing", 404, "Nothing is attached"),
        ("search?file=forgotten", 410, "not here any more"),
        ("items/9999", 404, "no item 9999"),
        ("items/x", 404, "no such page"),
        ("nothing", 404, "no such page"),
    ):
        answer = api.client.get(f"/api/{path}")
        found = answers.Error.model_validate(answer.json())
        assert (answer.status_code, says in found.message) == (status, True), (path, found)
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
    assert api.client.post("/api/search").status_code == 405
    cross = {"Sec-Fetch-Site": "cross-site"}
    assert api.client.post("/api/search", headers=cross).json()["message"].startswith("This came")
    evil = api.client.get("/api/jobs", headers={"Host": "evil.example"})
    assert (evil.status_code, "message" in evil.json()) == (421, True)
    with pages(settings, token="a token") as client:
        for path in ("search", "items/1", "spaces", "jobs", "openapi.json"):
            assert client.get(f"/api/{path}").status_code == 401
        bearer = {"Authorization": "Bearer a token"}
        assert client.get("/api/search", headers=bearer).status_code == 200


def test_the_description_is_openapi_of_every_path(api: Api) -> None:
    described = api.get("openapi.json")
    validate(described)
    second_space(api.connection)
    there = {"search": {}, "items/{item}": {"item": 1}, "spaces": {}, "jobs": {}}
    there["spaces/{space}/compare"] = {"space": "second"}
    assert set(described["paths"]) == {f"/api/{path}" for path in there}
    for path, values in there.items():
        of_path = described["paths"][f"/api/{path}"]["get"]
        schema = of_path["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        model = described["components"]["schemas"][schema.rpartition("/")[2]]
        answer = api.get(path.format(**values))
        assert set(answer) == set(model["required"]) == set(model["properties"])
