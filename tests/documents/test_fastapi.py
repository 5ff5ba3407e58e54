"""docs/examples/fastapi in this process, over a real database, by psycopg and by asyncpg."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict
from starlette.testclient import TestClient

from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.clients import psycopg_url
from tests.helpers.fakes import add_texts
from tests.helpers.images import encode, sample
from tests.helpers.workers import content, work
from tests.integration.test_search import image_of
from tests.integration.test_serve import serving

pytestmark = pytest.mark.usefixtures("dblink")

APP = Path(__file__).parents[2] / "docs/examples/fastapi/app.py"


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fastapi_example", APP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def asyncpg_url(url: str) -> str:
    parts = conninfo_to_dict(url)
    return (
        f"postgresql+asyncpg:///{parts['dbname']}?host={parts['host']}&port={parts['port']}"
        f"&user={parts['user']}"
    )


@pytest.fixture
def filled(settings: Settings, space: Space, connection: Connection) -> None:
    add_texts(connection, ["ant", "bee", "cat"])
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "SELECT 'photos', n::text, 'image', '/' || n || '.png' FROM generate_series(1, 6) AS n"
    )
    work(settings, space, load=lambda reference: content(reference.encode()), decode=image_of)
    connection.execute("SELECT FROM refresh_space_statistics()")


@pytest.fixture(params=[psycopg_url, asyncpg_url], ids=["psycopg", "asyncpg"])
def web(
    filled: None, url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[TestClient]:
    monkeypatch.setenv("DATABASE_URL", request.param(url))
    with TestClient(loaded().app) as web:
        yield web


def test_it_searches_by_every_door(web: TestClient, url: str) -> None:
    def get(path: str, **query: Any) -> Any:
        answer = web.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    with serving(url):
        (first,) = get("/search", text="cat", modality="text", k=1)
        assert (first["content"], round(first["similarity"], 2)) == ("cat", 1.0)
        others = get(f"/items/{first['id']}/similar", modality="text")
        assert {one["content"] for one in others} == {"ant", "bee"}
        by_image = web.post("/search", content=encode(sample(), "PNG"), params={"k": 3})
        assert len(by_image.json()) == 3
        page = get("/sources/photos/images", text="a new text", k=4)
        rest = get("/sources/photos/images", text="a new text", k=4, after=page[-1]["id"])
        assert len({one["id"] for one in page + rest}) == 6


def test_what_is_wrong_has_a_status_of_its_own(web: TestClient, url: str) -> None:
    nobody = web.get("/search", params={"text": "new"})
    assert (nobody.status_code, nobody.headers["retry-after"]) == (503, "10")
    assert "start `pipeline serve`" in nobody.json()["detail"]
    assert web.get("/items/99/similar").status_code == 422
    assert web.get("/search", params={"text": " "}).status_code == 422
    assert web.get("/search", params={"text": "cat", "k": 101}).status_code == 422
    with serving(url):
        assert web.post("/search", content=b"no image").status_code == 422
        large = web.post("/search", content=bytes(8 * 2**20 + 1))
        assert large.status_code == 413
