"""The pages beside the search: items, jobs, failures, spaces, health; and within an application."""

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from psycopg.types.json import Jsonb
from sqlalchemy import create_engine, text
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

import pipeline.web
from pipeline.postgres.connections import Connection
from pipeline.postgres.database import Database
from pipeline.queue import pauses
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.web import answering
from pipeline.web.answering import Answering
from pipeline.web.plot import DARK, LIGHT
from tests.helpers.attached import attach
from tests.helpers.fakes import WINDOW, add_texts
from tests.helpers.images import encode, sample
from tests.helpers.processes import wait_until
from tests.helpers.web import items, pages, words
from tests.helpers.workers import load_file, work
from tests.integration.test_serve import assert_is_vector_of, embedding, serving

pytestmark = pytest.mark.usefixtures("dblink")
HOSTILE = "<script>alert(1)</script>"


def add_images(connection: Connection, folder: Path, count: int) -> None:
    for n in range(count):
        file = folder / f"{n}.png"
        file.write_bytes(encode(sample(40 + n, 30), "PNG"))
        connection.execute(
            "INSERT INTO source_items (source, source_key, modality, content_ref, metadata) "
            "VALUES ('files', %s, 'image', %s, %s)",
            (str(n), str(file), Jsonb({"title": f"image {n} {HOSTILE}"})),
        )


def item_of(connection: Connection, condition: str) -> int:
    query = f"SELECT id FROM multimodal_items WHERE {condition} ORDER BY id LIMIT 1"
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def test_an_item_has_its_content_its_source_and_what_lies_around_it(
    connection: Connection, settings: Settings, space: Space, url: str, tmp_path: Path
) -> None:
    add_texts(connection, [f"text {n}" for n in range(5)] + ["twice"] + [HOSTILE + "x" * WINDOW])
    add_texts(connection, ["twice"], "again")
    add_images(connection, tmp_path, 3)
    work(settings, space, load=load_file)
    with serving(url), pages(settings) as client:
        image = item_of(connection, "modality = 'image'")
        page = client.get(f"/items/{image}").text
        assert f'src="/images/{image}-large.webp"' in page
        assert client.get(f"/images/{image}-large.webp").headers["content-type"] == "image/webp"
        said = words(page)
        for part in ("image 0", "files, key 0", "space fake", "Nearest: text", "Nearest: image"):
            assert part.lower() in said.lower()
        chosen = [client.get(f"/?item={number}&modality=text").text for number in (image, 1)]
        # A text has no picture that a browser could ask for.
        assert ["<img" in page.partition('class="chosen"')[2] for page in chosen] == [True, False]
        around = items(page)[1:]  # the first is the item's own
        assert len(around) == len(set(around)) == 2 + 8
        assert image not in around
        assert "<script>" not in page

        text_ = item_of(connection, "content_ref = 'twice'")
        assert "near-duplicate" in words(client.get(f"/items/{text_}").text)
        long = item_of(connection, "content_ref LIKE '<script>%'")
        page = client.get(f"/items/{long}").text
        assert "<script>" not in page
        assert re.search(r"Parts 0 1 ", words(page))

        fitting = words(client.get(f"/items/{text_}?labels=twice,other,").text)
        assert re.search(r"twice 100 % other 0 %", fitting)
        many = ",".join(map(str, range(13)))
        assert "at most 12" in words(client.get(f"/items/{text_}?labels={many}").text)
        for missing in ("/items/9999", "/items/x", f"/items/{2**63 - 1}"):
            assert client.get(missing).status_code == 404
        assert client.get(f"/items/{2**70}").status_code in (400, 404)


def test_an_item_of_an_attached_row_names_the_row(
    shop: Connection, connection: Connection, settings: Settings, space: Space
) -> None:
    attach(shop, contents={"title": {"modality": "text", "content": "title"}})
    shop.execute("INSERT INTO shop.products (id, title) VALUES (42, 'a lamp')")
    work(settings, space)
    with pages(settings) as client:
        page = client.get(f"/items/{item_of(connection, 'true')}").text
    assert "Row products , key 42" in words(page)
    assert 'href="/?source=products"' in page


@pytest.fixture
def failed(connection: Connection, settings: Settings, space: Space, tmp_path: Path) -> list[int]:
    """Source items that failed, two of them by the same code."""
    for name, data in (("empty.jpg", b""), ("text.jpg", b"hello"), ("other.jpg", b"hello")):
        (tmp_path / name).write_bytes(data)
        connection.execute(
            "INSERT INTO source_items (source, source_key, modality, content_ref) "
            "VALUES ('files', %s, 'image', %s)",
            (f"{HOSTILE}{name}", str(tmp_path / name)),
        )
    connection.execute(
        "UPDATE ingest_jobs SET state = 'failed', attempts = 5, error_code = CASE source_id %% 3 "
        "WHEN 1 THEN 'empty_file' ELSE 'not_an_image' END, error = %s",
        (f"this is {HOSTILE}",),
    )
    rows = connection.execute("SELECT source_id FROM ingest_jobs ORDER BY source_id").fetchall()
    return [row[0] for row in rows]


def test_jobs_say_what_waits_who_works_and_what_failed(
    connection: Connection, settings: Settings, space: Space, failed: list[int]
) -> None:
    add_texts(connection, ["one", "two", "three"])
    connection.execute(
        "UPDATE ingest_jobs SET state = 'running', worker = 'host:1', leased_until = now() "
        "+ interval '1 min' WHERE source_id = (SELECT max(source_id) FROM ingest_jobs)"
    )
    pauses.pause(connection, space.name, HOSTILE)
    with pages(settings) as client:
        page = client.get("/jobs").text
        said = words(page)
        assert "fake active image 0 0 0 3 0" in said
        assert "fake active text 0 2 1 0 0" in said
        assert "paused since" in said
        assert "<script>" not in page
        assert "for who may read the queue" in said
        assert "host:1" not in said
    with pages(settings, allows_writes=True) as client:
        assert "host:1 fake 1 0" in words(client.get("/jobs").text)


def test_failures_are_shown_by_code_with_what_to_do(settings: Settings, failed: list[int]) -> None:
    with pages(settings) as client:
        page = client.get("/review").text
        assert "not_an_image 2" in words(page)
        assert "What to do: replace the file" in words(page)
        assert "<script>" not in page
        assert "<form" not in page
        rows = client.get("/review?code=empty_file").text
        assert "empty.jpg" in words(rows)
        assert "text.jpg" not in words(rows)
        assert client.get("/review?code=nonsense").status_code == 400
        answer = client.post("/review/retry", data={"code": "empty_file"})
        assert answer.status_code == 403
        assert "only read" in words(answer.text)


def states(connection: Connection) -> list[tuple[int, str]]:
    return connection.execute(
        "SELECT source_id, state FROM ingest_jobs ORDER BY source_id"
    ).fetchall()


def test_failures_come_back_or_go_by_forms_of_ours_alone(
    connection: Connection, settings: Settings, failed: list[int]
) -> None:
    one, two, three = failed
    before = states(connection)
    with pages(settings, allows_writes=True) as client:
        found = re.search(r'name="csrf" value="(\w+)"', client.get("/review").text)
        assert found
        csrf = {"csrf": found[1]}
        for data, headers in (
            ({"code": "empty_file"}, {}),
            ({"code": "empty_file", "csrf": "x"}, {}),
            ({"code": "empty_file", **csrf}, {"Sec-Fetch-Site": "cross-site"}),
            ({"code": "empty_file", **csrf}, {"Origin": "https://evil.example"}),
        ):
            for action in ("retry", "remove"):
                answer = client.post(f"/review/{action}", data=data, headers=headers)
                assert answer.status_code == 403
        assert client.post("/review/retry", data={"code": "x", **csrf}).status_code == 400
        assert client.post("/review/remove", data=csrf).status_code == 400
        assert client.get("/review/retry").status_code == 405
        assert states(connection) == before

        page = client.post("/review/retry", data={"code": "empty_file", **csrf}).text
        assert "1 back in the queue" in words(page)
        assert states(connection) == [(one, "pending"), (two, "failed"), (three, "failed")]
        data = {"code": "not_an_image", "source_id": str(two), **csrf}
        page = client.post("/review/remove", data=data).text
        assert f"source item {two} removed" in words(page)
        assert states(connection) == [(one, "pending"), (three, "failed")]
        # What has not failed stays.
        answer = client.post("/review/remove", data={"source_id": str(one), **csrf})
        assert answer.status_code == 404
        assert states(connection) == [(one, "pending"), (three, "failed")]


def test_what_an_attached_source_owns_is_not_removed(
    shop: Connection, connection: Connection, settings: Settings
) -> None:
    attach(shop, contents={"title": {"modality": "text", "content": "title"}})
    shop.execute("INSERT INTO shop.products (id, title) VALUES (1, 'a lamp')")
    connection.execute(
        "UPDATE ingest_jobs SET state = 'failed', error_code = 'internal', error = '?'"
    )
    with pages(settings, allows_writes=True) as client:
        found = re.search(r'name="csrf" value="(\w+)"', client.get("/review").text)
        assert found
        (source_id,) = [row[0] for row in states(connection)]
        data = {"source_id": str(source_id), "csrf": found[1]}
        answer = client.post("/review/remove", data=data)
    assert answer.status_code == 409
    assert "products" in words(answer.text)
    assert len(states(connection)) == 1


def test_spaces_show_their_state_what_comes_next_and_recall_over_time(
    connection: Connection, settings: Settings, space: Space
) -> None:
    for day, value in ((1, 0.99), (2, 0.97)):
        connection.execute(
            "INSERT INTO space_evaluations (space_id, measured_at, metric, query_modality, "
            "item_modality, condition, ef_search, queries, value) "
            "VALUES (%s, make_date(2026, 1, %s), 'recall@10', 'text', 'image', 'none', 40, 9, %s)",
            (space.id, day, value),
        )
    with pages(settings) as client:
        page = client.get("/spaces").text
        assert "fake active" in words(page)
        assert "pipeline space create NAME" in words(page)
        answer = client.get("/spaces/fake/recall.svg")
        assert answer.headers["content-type"].startswith("image/svg+xml")
        root = ElementTree.fromstring(answer.content)
        assert len(root.findall(".//{*}circle")) == 2
        texts = [element.text for element in root.findall(".//{*}text")]
        assert "text \N{RIGHTWARDS ARROW} image" in texts
        assert {"2026-01-01", "2026-01-02"} <= set(texts)
        assert "style" not in answer.text
        dark = ElementTree.fromstring(client.get("/spaces/fake/recall.svg?paper=dark").content)
        grounds = [one.find("{*}rect").get("fill") for one in (root, dark)]  # type: ignore[union-attr]
        assert grounds == [LIGHT.ground, DARK.ground]
        assert 'srcset="/spaces/fake/recall.svg?paper=dark"' in page
        assert client.get("/spaces/other/recall.svg").status_code == 503
        connection.execute("UPDATE embedding_spaces SET state = 'retired', retired_at = now()")
        assert "pipeline space drop fake" in words(client.get("/spaces").text)


def test_probes_and_metrics_say_how_it_is(
    connection: Connection, settings: Settings, space: Space, url: str, failed: list[int]
) -> None:
    add_texts(connection, ["one"])
    with pages(settings, token="a token") as client:
        assert client.get("/healthz").text == "ok\n"
        assert (client.get("/readyz").status_code, client.get("/readyz").text) == (
            503,
            "nobody serves\n",
        )
        with serving(url):
            assert client.get("/readyz").status_code == 200
        assert client.get("/metrics").status_code == 401
        bearer = {"Authorization": "Bearer a token"}
        for path in ("/", "/items/7", "/items/8", "/no/such", "/../../etc/passwd"):
            client.get(path, headers=bearer)
        found = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(
                client.get("/metrics", headers=bearer).text
            )
            for sample in family.samples
        }
    assert found["pipeline_database_up",] == 1
    assert found["pipeline_jobs", "failed", "fake", "image"] == 3
    assert found["pipeline_jobs", "fake", "pending", "text"] == 1
    assert found["pipeline_items", "fake", "text"] == 0
    assert found["pipeline_space_served", "fake"] == 0
    assert found["pipeline_web_requests_total", "404", "items"] == 2
    assert found["pipeline_web_requests_total", "401", "metrics"] == 1
    assert ("pipeline_web_requests_total", "404", "other") in found


@pytest.fixture
def application(settings: Settings, url: str) -> Iterator[TestClient]:
    """Somebody's application with the pages within."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    app = Starlette(routes=[Mount("/look/around", pipeline.web.app(engine, settings))])
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    try:
        yield TestClient(app, headers={"Accept": "text/html"})
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT current_user")) == "postgres"
            assert connection.scalar(text("SHOW transaction_read_only")) == "off"
            assert connection.scalar(text("SHOW statement_timeout")) == "0"
    finally:
        engine.dispose()


def test_it_is_mounted_into_an_application(
    application: TestClient, connection: Connection, settings: Settings, space: Space, url: str
) -> None:
    add_texts(connection, [f"text {n}" for n in range(30)])
    work(settings, space)
    paths = set()

    def get(path: str) -> httpx.Response:
        answer = application.get(path)
        assert answer.status_code == 200, (path, words(answer.text))
        paths.update(re.findall(r'(?:href|src|action|hx-get)="([^"]*)"', answer.text))
        return answer

    get("/look/around/")
    for page in ("jobs", "review", "spaces", f"items/{item_of(connection, 'true')}", "facets"):
        get(f"/look/around/{page}")
    assert "Nobody turns queries" in words(application.get("/look/around/?q=a").text)
    with serving(url):
        assert len(items(get("/look/around/?q=a").text)) == 24
    assert len(paths) > 20
    assert {path for path in paths if not path.startswith("/look/around/")} == {"#main"}
    assert application.get("/look/around/static/page.js").status_code == 200


def test_queries_are_answered_here_where_nobody_else_does(
    connection: Connection,
    settings: Settings,
    space: Space,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answering, "AGAIN_SECONDS", 0.05)
    said: list[str] = []
    here = Answering(Database(url), settings, said.append)
    try:
        with serving(url) as another:
            here.start()
            here.wait()
            assert said == ["queries are answered by the `pipeline serve` that runs"]
            assert_is_vector_of(embedding(connection, "a new text"), "a new text")
        assert another.report.answered == 1
        wait_until(lambda: "queries are answered here, in the space fake" in said, "its turn")
        assert_is_vector_of(embedding(connection, "another text"), "another text")
    finally:
        here.stop()
    (is_served,) = connection.execute("SELECT is_served(%s)", (space.id,)).fetchone() or (None,)
    assert is_served is False
