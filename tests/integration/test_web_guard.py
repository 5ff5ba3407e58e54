"""Who sees the pages, by which name, with which rights; and what rows of strangers do to them."""

import asyncio
import base64
import io
import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import psycopg
import pytest
from PIL import Image
from psycopg.types.json import Jsonb
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from pipeline.embeddings_api.address import Address, listen
from pipeline.embeddings_api.server import HttpServer
from pipeline.loaders import Loader, LoadOptions
from pipeline.modalities.moments import Moment
from pipeline.modalities.video import VIDEO
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.database import Database
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.postgres.pool import DatabasePool
from pipeline.postgres.reading import Reading
from pipeline.search import thumbnails
from pipeline.search.item_image import ItemImage
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.web import pages as web_pages
from pipeline.web.asked import MOST_ROWS
from pipeline.web.faults import PageError
from pipeline.web.guard import HEADERS
from pipeline.web.images import Cache, Images
from tests.helpers.databases import as_login, login_url
from tests.helpers.fakes import add_texts
from tests.helpers.images import encode, sample
from tests.helpers.media import film, scene
from tests.helpers.processes import wait_until
from tests.helpers.web import items, pages, words
from tests.helpers.workers import load_file, work

TOKEN = "a token of ours"
HTML = {"Accept": "text/html"}


def test_other_names_of_this_machine_are_refused(settings: Settings) -> None:
    """So a page of somebody else's cannot reach it by a name that it lets point to 127.0.0.1."""
    with pages(settings, hosts=("photos.example",)) as client:
        for host in ("127.0.0.1:8765", "localhost:8765", "[::1]:8765", "photos.example"):
            assert client.get("/", headers={"Host": host}).status_code == 200, host
        for host in ("evil.example", "photos.example.evil.example", "10.0.0.1", "", "[::1"):
            answer = client.get("/", headers={"Host": host})
            assert answer.status_code == 421, host
            assert "not called so" in words(answer.text)


def test_with_a_token_nothing_is_shown_without_it(settings: Settings) -> None:
    with pages(settings, token=TOKEN) as client:
        for path in ("/", "/facets", "/images/1.webp", "/files/x", "/no/such/page"):
            answer = client.get(path)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == "Bearer"
        assert client.get("/static/style.css").status_code == 200
        assert client.get("/", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert client.get("/", headers={"Authorization": "Bearer no"}).status_code == 401
        assert client.get("/", headers={"Cookie": f"pipeline_web={TOKEN}"}).status_code == 401
        assert client.post("/login", data={"token": "no"}).status_code == 401
        assert client.post("/login", content=b"a" * 5000).status_code == 413
        asked = client.get("/items/7?labels=a,b")
        assert 'href="/login?next=%2Fitems%2F7%3Flabels%3Da%2Cb"' in asked.text
        elsewhere = ("//evil.example", "/\\evil", "https://evil", "/a\nb", "")
        for target in ("/items/7?labels=a,b", *elsewhere):
            form = {"token": TOKEN, "next": target}
            led = client.post("/login", data=form, follow_redirects=False).headers["location"]
            assert led == ("/" if target in elsewhere else target)
            client.cookies.clear()
        entered = client.post("/login", data={"token": TOKEN}, follow_redirects=False)
        assert entered.status_code == 303
        cookie = entered.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert TOKEN not in cookie
        assert client.get("/").status_code == 200
        # A number is nobody's name, so that it cannot be made to point here.
        assert client.get("/", headers={"Host": "192.0.2.7:8765"}).status_code == 200
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 421
    with pages(settings, token=TOKEN) as another:
        another.cookies.set("pipeline_web", cookie.partition("=")[2].partition(";")[0])
        assert another.get("/").status_code == 401


def test_whoever_was_let_in_changes_nothing_by_a_page_of_somebody_else(
    settings: Settings, space: Space
) -> None:
    sources = [path.read_text(encoding="utf-8") for path in Path(*web_pages.__path__).glob("*.py")]
    posts = {path for text in sources for path in re.findall(r'Route\("([^"]+)".+"POST"', text)}
    assert posts == {"/files", "/jobs/pause", "/jobs/resume", "/review/remove", "/review/retry"}
    elsewhere = (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    )
    with pages(settings, token=TOKEN, allows_writes=True) as client:
        assert client.post("/login", data={"token": TOKEN}).status_code == 200
        csrf = client.get("/jobs").text.partition('name="csrf" value="')[2].partition('"')[0]
        for path in posts:
            for headers in elsewhere:
                answer = client.post(path, data={"csrf": csrf}, headers=headers)
                assert answer.status_code == 403, (path, headers)
                assert "another site" in words(answer.text)
            if path != "/files":  # which changes nothing in the database
                answer = client.post(path, data={"csrf": "no"})
                assert answer.status_code == 403, path
                assert "not of these pages" in words(answer.text)


def test_every_answer_forbids_what_is_not_ours(settings: Settings) -> None:
    with pages(settings) as client:
        answers = [
            client.get("/"),
            client.get("/?item=x"),
            client.get("/static/page.js"),
            client.get("/no/such/page"),
            client.get("/", headers={"Host": "evil.example"}),
            client.post("/files", content=b""),
            client.delete("/"),
        ]
    for answer in answers:
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
    assert HEADERS["Content-Security-Policy"].startswith("default-src 'self';")
    assert "unsafe" not in HEADERS["Content-Security-Policy"]
    page = answers[0].text
    assert "<style" not in page
    assert "style=" not in page
    assert page.count("<script") == page.count("<script defer src=")


def test_pages_of_other_sites_send_nothing(settings: Settings) -> None:
    octets = {"Content-Type": "application/octet-stream"}
    with pages(settings, upload_bytes=1000) as client:
        for headers in (
            {**octets, "Sec-Fetch-Site": "cross-site"},
            {**octets, "Sec-Fetch-Site": "same-site"},
            {**octets, "Origin": "https://evil.example"},
            {**octets, "Origin": "null"},
        ):
            assert client.post("/files", content=b"x", headers=headers).status_code == 403
        # What forms can send.
        for kind in ("text/plain", "multipart/form-data; boundary=x", ""):
            answer = client.post("/files", content=b"x", headers={"Content-Type": kind})
            assert answer.status_code == 415
        assert client.post("/files", content=b"x" * 1001, headers=octets).status_code == 413
        chunks = (b"x" * 100 for _ in range(20))  # without a length that is said first
        assert client.post("/files", content=chunks, headers=octets).status_code == 413


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


def test_what_rows_hold_is_shown_as_text(
    connection: Connection, settings: Settings, space: Space
) -> None:
    add_texts(connection, [HOSTILE, "\u202egnp.exe \u200bx", "x" * 200])
    for key, reference in (("js", "javascript:alert(1)"), ("svg", "data:image/svg+xml,<svg/>")):
        connection.execute(
            "INSERT INTO source_items (source, source_key, modality, content_ref, metadata) "
            "VALUES ('files', %s, 'image', %s, %s)",
            (key, reference, Jsonb({})),
        )
    connection.execute(
        "UPDATE source_items SET metadata = %s",
        (
            Jsonb(
                {
                    HOSTILE: HOSTILE,
                    "caption": HOSTILE,
                    "_pipeline": {"width": '1" onload="x', "height": {"a": 1}},
                    "group": ["a", None, {"b": HOSTILE}, HOSTILE],
                }
            ),
        ),
    )
    work(settings, space, limit=3)
    # As whoever may write items could: no worker embeds these.
    connection.execute(
        "INSERT INTO multimodal_items (source_id, part, modality, content_ref, metadata, space_id, "
        "content_sha256, embedding) SELECT s.id, 0, 'image', s.content_ref, s.metadata, %s, "
        "sha256(s.source_key::bytea), (SELECT embedding FROM multimodal_items LIMIT 1) "
        "FROM source_items AS s WHERE s.modality = 'image'",
        (space.id,),
    )
    connection.execute(
        "UPDATE multimodal_items SET content_ref = repeat(content_ref, 4500) "
        "WHERE content_ref LIKE 'xxx%'"
    )
    connection.execute(  # no object
        "UPDATE multimodal_items SET metadata = %s WHERE content_ref LIKE 'xxx%%'",
        (Jsonb([HOSTILE]),),
    )
    with pages(settings) as client:
        urls = ["/", "/facets", "/?item=1", '/?filter={"<script>":"</script>"}']
        urls += [f"/?q={HOSTILE}", f"/?source={HOSTILE}", f"/?ranking={HOSTILE}"]
        for url in urls:
            page = client.get(url).text
            assert "<script>" not in page, url
            assert "<img src=x" not in page
            assert "onerror=alert(2)>" not in page
            assert 'href="javascript:' not in page
            assert len(page) < 100_000
        found = items(client.get("/").text)
        assert len(found) == 5
        for path in (*(f"/items/{item}" for item in found), "/jobs", "/review", "/spaces"):
            answer = client.get(path)
            assert answer.status_code == 200, path
            assert "<script>" not in answer.text
            assert "<img src=x" not in answer.text
            assert 'href="javascript:' not in answer.text
            assert len(answer.text) < 200_000
        for item in found:
            answer = client.get(f"/images/{item}.webp")
            assert answer.status_code == 404
            assert "location" not in answer.headers


def test_it_reads_as_an_analyst_and_writes_nothing(
    connection: Connection, settings: Settings, url: str
) -> None:
    def user(connection: Connection) -> str:
        (name,) = connection.execute("SELECT current_user").fetchone() or ("",)
        return str(name)

    def fails(reading: Reading, statement: str) -> str | None:
        with pytest.raises(psycopg.Error) as caught:
            reading.read(lambda c: c.execute(statement.encode()))
        return caught.value.sqlstate

    add = "INSERT INTO source_items (source, source_key, modality, content_ref) VALUES (1, 1, 1, 1)"
    with (
        as_login(connection, url, "an_analyst", "LOGIN IN ROLE pipeline_analyst"),
        as_login(connection, url, "a_worker", "LOGIN IN ROLE pipeline_ingest"),
    ):
        # Whoever may write becomes the analyst, unless it may not.
        for login, name in (
            (url, "pipeline_analyst"),
            (login_url(url, "an_analyst"), "an_analyst"),
            (login_url(url, "a_worker"), "a_worker"),
        ):
            pool = DatabasePool(Database(login))
            reading = Reading(pool)
            assert reading.read(user) == name
            assert fails(reading, add) in ("42501", "25006")
            if name != "a_worker":
                assert fails(reading, "SELECT * FROM ingest_jobs") == "42501"
            assert fails(reading, "SELECT nextval('multimodal_items_id_seq')") in ("42501", "25006")
            with pool.connection() as left, reading.connection() as asking:
                assert user(left) == ("postgres" if login == url else name)
                assert user(asking) == name
            with pytest.raises(psycopg.errors.QueryCanceled):
                reading.read(lambda c: c.execute("SELECT pg_sleep(60)"), seconds=0.05)
            # Nor where it has the login's own rights.
            writing = Reading(pool, lowers=False)
            assert writing.read(user) == ("postgres" if login == url else name)
            assert fails(writing, add) == "25006"
            pool.close()


def add_image(connection: Connection, file: Path, source: str, colour: str = "red") -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(buffer, "PNG")
    file.write_bytes(buffer.getvalue())
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref, metadata) "
        "VALUES (%s, %s, 'image', %s, %s)",
        (source, file.name, str(file), Jsonb({"owner": source})),
    )


TENANTS = """
ALTER TABLE source_items ENABLE ROW LEVEL SECURITY;
ALTER TABLE multimodal_items ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON source_items USING (source = current_user);
CREATE POLICY own ON multimodal_items
    USING (EXISTS (SELECT FROM source_items AS s WHERE s.id = source_id));
"""


def test_a_tenant_sees_its_own_rows_images_facets_and_counts(
    connection: Connection,
    space: Space,
    settings: Settings,
    settings_of: Callable[..., Settings],
    url: str,
    tmp_path: Path,
) -> None:
    for name, colours in (("anna", ("red", "blue")), ("bert", ("green", "lime", "teal"))):
        for colour in colours:
            add_image(connection, tmp_path / f"{colour}.png", name, colour)
    work(settings, space, load=load_file)
    connection.execute(TENANTS.encode())
    everything = {row[0] for row in connection.execute("SELECT id FROM multimodal_items")}
    seen = {}
    roles = "LOGIN IN ROLE pipeline_analyst"
    with as_login(connection, url, "anna", roles), as_login(connection, url, "bert", roles):
        for name, count in (("anna", 2), ("bert", 3)):
            own = settings_of(login_url(url, name))
            with pages(own, cache=tmp_path / "cache") as client:
                page = client.get("/").text
                seen[name] = set(items(page))
                assert len(seen[name]) == count
                assert f"image {count}" in words(page)
                found = client.get("/api/search").json()["items"]
                assert {hit["id"] for hit in found} == seen[name]
                assert f"owner {name} {count}" in words(client.get("/facets").text)
                for item in everything:
                    image = client.get(f"/images/{item}.webp")
                    assert image.status_code == (200 if item in seen[name] else 404)
                    answer = client.get(f"/api/items/{item}")
                    assert answer.status_code == (200 if item in seen[name] else 404)
                    if item not in seen[name]:  # which the other's pages may have in the cache
                        assert client.get(f"/?item={item}").status_code == 400
    assert seen["anna"] | seen["bert"] == everything
    assert not seen["anna"] & seen["bert"]


def test_images_of_a_folder_that_is_added_meanwhile_are_shown(
    connection: Connection,
    settings: Settings,
    space: Space,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(thumbnails, "LOOK_SECONDS", 0)
    file = tmp_path / "a.png"
    file.write_bytes(encode(sample(), "PNG"))
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "VALUES ('files', 'a', 'image', %s)",
        (str(file),),
    )
    work(settings, space, load=load_file)
    ((item,),) = connection.execute("SELECT id FROM multimodal_items").fetchall()
    roots: list[Path] = []
    with pages(settings.model_copy(update={"media_roots": ()}), roots=roots) as client:
        assert client.get(f"/images/{item}.webp").status_code == 404
        roots.append(tmp_path)
        assert client.get(f"/images/{item}.webp").status_code == 200


def test_images_are_small_and_of_what_may_be_loaded(
    connection: Connection, space: Space, settings: Settings, tmp_path: Path
) -> None:
    inside, outside = tmp_path / "inside.png", tmp_path.parent / "outside.png"
    inside.write_bytes(encode(sample(2000, 1000), "PNG"))
    outside.write_bytes(encode(sample(), "PNG"))
    for file in (inside, outside):
        connection.execute(
            "INSERT INTO source_items (source, source_key, modality, content_ref) "
            "VALUES ('files', %s, 'image', %s)",
            (file.name, str(file)),
        )
    work(settings, space, load=load_file)
    ids = dict(connection.execute("SELECT content_ref, id FROM multimodal_items").fetchall())
    cache = tmp_path / "cache"
    with pages(settings, cache=cache) as client:
        first = client.get(f"/images/{ids[str(inside)]}.webp")
        assert first.headers["content-type"] == "image/webp"
        assert Image.open(io.BytesIO(first.content)).size == (480, 240)
        refused = client.get(f"/images/{ids[str(outside)]}.webp")
        assert (refused.status_code, words(refused.text).count("forbidden_path")) == (404, 1)
        assert str(outside.parent) not in refused.text
        assert client.get("/images/999.webp").status_code == 404
        (kept,) = cache.iterdir()
        assert kept.read_bytes() == first.content
        assert oct(cache.stat().st_mode)[-3:] == "700"
        # From the cache; and by the browser's own copy.
        inside.unlink()
        again = client.get(f"/images/{ids[str(inside)]}.webp")
        assert again.content == first.content
        tag = {"If-None-Match": first.headers["etag"]}
        assert client.get(f"/images/{ids[str(inside)]}.webp", headers=tag).status_code == 304
        # Other content at the same place is no content of the item's: it is not kept as that.
        kept.unlink()
        inside.write_bytes(encode(sample(100, 50), "PNG"))
        other = client.get(f"/images/{ids[str(inside)]}.webp")
        assert Image.open(io.BytesIO(other.content)).size == (100, 50)
        assert list(cache.iterdir()) == []


def test_an_image_in_its_reference_is_shown(
    connection: Connection, space: Space, settings: Settings
) -> None:
    data = base64.b64encode(encode(sample(), "PNG")).decode()
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "VALUES ('files', '1', 'image', %s)",
        (f"data:image/png;base64,{data}",),
    )
    with Loader(LoadOptions()) as loader:
        work(settings, space, load=loader.load)
    with pages(settings) as client:
        page = client.get("/").text
        (item,) = items(page)
        assert data[:40] not in page
        assert client.get(f"/images/{item}.webp").headers["content-type"] == "image/webp"


def test_the_cache_keeps_what_came_last(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "images", 3_000_000)
    for n in range(30):
        cache.put(f"{n}", bytes(1_000_000))
        os.utime(tmp_path / "images" / f"{n}", (n, n))
    left = {int(path.name) for path in (tmp_path / "images").iterdir()}
    assert 29 in left
    assert len(left) < 20
    assert cache.get("29") == bytes(1_000_000)
    assert cache.get("0") is None
    Cache(None, 0).put("x", b"x")


def test_no_error_names_a_place_of_this_machine(
    connection: Connection, server: EmbeddedServer, settings: Settings
) -> None:
    name = connection.info.dbname
    connection.close()
    with pages(settings) as client:
        assert client.get("/").status_code == 200
        with connect(server.url()) as admin:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
        answer = client.get("/?q=a")
    assert answer.status_code == 503
    assert "The database does not answer" in words(answer.text)
    for secret in ("/tmp", "socket", "postgres", name):
        assert secret not in answer.text


def test_so_many_rows_and_so_many_clients_and_no_more(settings: Settings) -> None:
    with pages(settings) as client:
        last = f"{MOST_ROWS}_0.5_0.5_1"
        assert client.get(f"/?q=a&after={last}").status_code == 503  # nobody serves
        beyond = f"{MOST_ROWS + 1}_0.5_0.5_1"
        assert client.get(f"/?q=a&after={beyond}").status_code == 400

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await asyncio.to_thread(over.wait, 30)
        await PlainTextResponse("done")(scope, receive, send)

    begun, over = threading.Event(), threading.Event()
    server = HttpServer(
        slow,
        listen(Address("127.0.0.1", 0), has_token=False),
        grace_seconds=1,
        connections=3,
    )
    server.open()
    try:
        with ThreadPoolExecutor(8) as threads:
            # The first is in hand: all at once are too many before any of them is.
            answers = [threads.submit(httpx.get, server.url, timeout=30)]
            assert begun.wait(30)
            answers += [threads.submit(httpx.get, server.url, timeout=30) for _ in range(7)]
            wait_until(lambda: sum(answer.done() for answer in answers) >= 5, "refusals")
            over.set()
            codes = sorted(answer.result().status_code for answer in answers)
    finally:
        over.set()
        server.close()
    assert 1 <= codes.count(200) <= 3
    assert codes.count(503) == 8 - codes.count(200)


def test_a_film_is_shown_at_its_moment(settings: Settings, tmp_path: Path) -> None:
    """Each part by the frame in it, kept for the item alone: its hash is none of the file's."""
    file = tmp_path / "film.mp4"
    file.write_bytes(film([*[scene(1)] * 20, *[scene(2)] * 20]))
    parts = [
        ItemImage(VIDEO, str(file), Moment(start=start, end=start + 1), "00" * 32, f"{start}")
        for start in (0.0, 1.0)
    ]
    images = Images(settings, tuple, Cache(tmp_path / "cache", 2**20))
    try:
        first, second = (images.of_item(part) for part in parts)
        assert first != second
        assert len(list((tmp_path / "cache").iterdir())) == 2
        file.unlink()
        assert images.of_item(parts[1]) == second
        with pytest.raises(PageError, match="not_found"):
            images.of_item(replace(parts[1], version="of later"))
    finally:
        images.close()


def test_a_card_says_which_moment_it_is(
    connection: Connection, space: Space, settings: Settings, tmp_path: Path
) -> None:
    for n in range(3):
        add_image(connection, tmp_path / f"{n}.png", "files", ("red", "blue", "lime")[n])
    add_texts(connection, ["a text"])
    work(settings, space, load=load_file)
    for modality, notes in (
        ("text", {"start": 0, "end": 9}),
        ("image", {"start": 62.0, "end": 65, "large": "x" * 5_000}),
        ("image", {"start": 62.0, "end": 65}),
        ("image", {"page": 3}),
    ):
        connection.execute(
            "UPDATE multimodal_items SET metadata = metadata || %s WHERE id = (SELECT max(id) "
            "FROM multimodal_items WHERE modality = %s AND NOT metadata ? 'changed')",
            (Jsonb({"_pipeline": notes, "changed": 1}), modality),
        )
    with pages(settings) as client:
        said = words(client.get("/").text)
    assert said.count("1:02 to 1:05") == 1
    assert said.count("page 3") == 1
    assert "0:00 to" not in said
