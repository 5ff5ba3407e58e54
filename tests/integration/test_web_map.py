"""The map: where items are on it, whose, and what is said where there is none."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from psycopg import sql
from sqlalchemy import create_engine, event
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

import pipeline.web
from pipeline import modalities
from pipeline.errors import DatabaseError
from pipeline.postgres.connections import Connection
from pipeline.postgres.copied import copied
from pipeline.quality.components import Plane
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.transfer import ForeignItem, import_items
from pipeline.vectors import Vectors, unit_rows
from pipeline.web.map import shares
from pipeline.web.pages import map as map_page
from pipeline.web.pages.map import MOST_CARDS
from tests.helpers.databases import as_login, login_url
from tests.helpers.two_cones import store
from tests.helpers.web import pages, words

HOSTILE = "<script>alert(1)</script>\u202e" + "\u200b" * 50


def fill(connection: Connection, space: Space, counts: dict[str, int], source: str) -> None:
    """So many items of each modality, each modality in a cone of its own."""
    random = np.random.default_rng(len(source))
    for modality, count in counts.items():
        cone = np.random.default_rng(len(modality)).normal(size=8) * 3
        vectors = unit_rows(cone + random.normal(size=(count, 8)))
        import_items(
            connection,
            space,
            source,
            [
                ForeignItem(
                    source, f"{modality} {n}", modality, f"{modality} {n} {HOSTILE}", {}, vector
                )
                for n, vector in enumerate(vectors)
            ],
        )


def of_map(client: TestClient) -> dict[str, Any]:
    answer = client.get("/map/points")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def points(found: dict[str, Any], picture: str) -> Vectors:
    """Of one picture, (n, 2), in the order of the items' numbers."""
    rows = np.asarray(found[picture], np.float32).reshape(-1, 2)
    return rows[np.argsort(found["ids"])]


def stored(connection: Connection) -> tuple[list[str], Vectors]:
    """Modalities and vectors in the order of the items' numbers."""
    rows = connection.execute(
        "SELECT modality, embedding::real[] FROM multimodal_items ORDER BY id"
    ).fetchall()
    return [name for name, _ in rows], np.asarray([vector for _, vector in rows], np.float32)


def components(rows: Vectors) -> Vectors:
    """By NumPy's decomposition of the rows, as anybody would."""
    moved = rows - rows.mean(axis=0)
    plane: Vectors = moved @ np.linalg.svd(moved, full_matrices=False)[2][:2].T
    return plane


def distances(rows: Vectors) -> Vectors:
    found: Vectors = np.linalg.norm(rows[:, None] - rows[None], axis=2).ravel()
    return found


def test_items_are_where_their_main_axes_place_them(
    connection: Connection, space: Space, settings: Settings
) -> None:
    fill(connection, space, {"text": 40, "image": 60}, "one")
    kinds, vectors = stored(connection)
    names = np.asarray(kinds)
    with pages(settings) as client:
        found = of_map(client)
        answer = client.get("/map/points")
        tag = {"If-None-Match": answer.headers["etag"]}
        assert client.get("/map/points", headers=tag).status_code == 304
        connection.execute(
            "UPDATE multimodal_items SET embedded_at = clock_timestamp(), embedding = "
            "(SELECT embedding FROM multimodal_items WHERE modality = 'text' LIMIT 1) "
            "WHERE id = (SELECT max(id) FROM multimodal_items)"
        )
        assert client.get("/map/points", headers=tag).json()["before"] != found["before"]
    places = modalities.known_names()
    assert found["modalities"] == [
        {"name": name, "place": places.index(name), "items": count, "shown": count}
        for name, count in (("text", 40), ("image", 60))
    ]
    assert len(set(found["ids"])) == 100
    of = [found["modalities"][number]["name"] for number in found["of"]]
    assert [name for _, name in sorted(zip(found["ids"], of, strict=True))] == kinds
    assert of != kinds  # by chance, so that none is drawn above all others

    means = {name: vectors[names == name].mean(axis=0) for name in ("text", "image")}
    centred = unit_rows(vectors - np.stack([means[name] for name in kinds]))
    for picture, rows in (("before", vectors), ("after", centred)):
        drawn = points(found, picture)
        assert np.abs(drawn).max() == 32_767
        # The same picture but for its size, and which way it looks.
        same = np.corrcoef(distances(drawn), distances(components(rows)))[0, 1]
        assert same > 0.9999, picture
    assert found["gap"] == pytest.approx(np.linalg.norm(means["text"] - means["image"]), abs=1e-3)
    for picture, apart in (("before", True), ("after", False)):
        drawn = points(found, picture)
        texts, images = drawn[names == "text"], drawn[names == "image"]
        gap = np.linalg.norm(texts.mean(axis=0) - images.mean(axis=0))
        assert (gap > 2 * texts.std(axis=0).max()) == apart


TENANTS = """
    ALTER TABLE multimodal_items ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON multimodal_items USING (
        source_id IN (SELECT id FROM source_items WHERE source = {tenant}));
    ALTER TABLE source_items ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON source_items USING (source = {tenant});
"""


def test_a_tenant_s_map_is_as_if_there_were_no_other(
    connection: Connection,
    space: Space,
    settings_of: Callable[..., Settings],
    url: str,
) -> None:
    """Neither an axis nor a mean is of rows that the reader does not see."""
    fill(connection, space, {"text": 12, "image": 9}, "anna")
    fill(connection, space, {"text": 20, "image": 30}, "berta")
    connection.execute(TENANTS.format(tenant="current_user").encode())
    roles = "LOGIN IN ROLE pipeline_analyst"
    seen = {}
    with as_login(connection, url, "anna", roles), as_login(connection, url, "berta", roles):
        for name, count in (("anna", 21), ("berta", 50)):
            with pages(settings_of(login_url(url, name))) as client:
                seen[name] = of_map(client)
                assert len(seen[name]["ids"]) == count
                every = sorted({*seen["anna"]["ids"], *seen[name]["ids"]})
                asked = "&".join(f"id={number}" for number in every[:MOST_CARDS])
                shown = client.get(f"/map/cards?{asked}").text
                assert all(
                    (f"/items/{number}?of=" in shown) == (number in seen[name]["ids"])
                    for number in every[:MOST_CARDS]
                )
        assert not {*seen["anna"]["ids"]} & {*seen["berta"]["ids"]}
        connection.execute("DELETE FROM source_items WHERE source = 'berta'")
        with pages(settings_of(login_url(url, "anna"))) as client:
            assert of_map(client) == seen["anna"]


@pytest.fixture
def tenant(url: str, settings: Settings) -> Iterator[tuple[TestClient, dict[str, str]]]:
    """The pages in an application that says by a setting of the session whose request it is."""
    whose = {"tenant": ""}
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))

    @event.listens_for(engine, "begin")
    def begin(borrowed: Any) -> None:
        borrowed.exec_driver_sql("SET LOCAL ROLE pipeline_analyst")
        borrowed.exec_driver_sql("SELECT set_config('app.tenant', %s, true)", (whose["tenant"],))

    app = Starlette(routes=[Mount("/look", pipeline.web.app(engine, settings))])
    with TestClient(app) as client:
        yield client, whose
    engine.dispose()


def test_what_is_kept_is_given_to_nobody_who_may_not_see_it(
    connection: Connection, space: Space, tenant: tuple[TestClient, dict[str, str]]
) -> None:
    for name in ("anna", "berta"):  # as many, so that the numbers alone tell them apart
        fill(connection, space, {"text": 5}, name)
    connection.execute(TENANTS.format(tenant="current_setting('app.tenant', true)").encode())
    client, whose = tenant
    seen: dict[str, set[int]] = {}
    tag = ""
    for name in ("anna", "berta", "anna", "berta"):
        whose["tenant"] = name
        answer = client.get("/look/map/points", headers={"If-None-Match": tag})
        assert answer.status_code == 200, answer.text
        tag = answer.headers["etag"]  # which the next one is not answered by
        ids = set(answer.json()["ids"])
        assert ids == seen.setdefault(name, ids)
    assert (len(seen["anna"]), len(seen["berta"])) == (5, 5)
    assert not seen["anna"] & seen["berta"]


def test_what_rows_hold_is_shown_as_text_and_wrong_numbers_are_said(
    connection: Connection, space: Space, settings: Settings
) -> None:
    fill(connection, space, {"text": 4}, "one")
    with pages(settings) as client:
        ids = of_map(client)["ids"]
        wanted = [ids[2], ids[0], 2**62]
        shown = client.get("/map/cards?" + "&".join(f"id={number}" for number in wanted))
        assert shown.status_code == 200
        assert "<script>" not in shown.text
        assert "&lt;script&gt;" in shown.text
        first, second = (shown.text.index(f'"/items/{number}?of=') for number in wanted[:2])
        assert first < second
        assert client.get("/map/cards").text.strip() == ""
        many = "&".join(["id=1"] * (MOST_CARDS + 1))
        for wrong in ("id=x", "id=-1", f"id={2**63}", many):
            assert client.get(f"/map/cards?{wrong}").status_code == 400, wrong[:20]
        page = client.get("/map?vectors=%3Cscript%3E&view=x&lasso=1_x&without=%3Cb%3E").text
        assert "<b>" not in page
        assert "pipeline map map.png" in words(page)  # for who has no JavaScript
        assert 'href="/map" aria-current="page"' in page


def test_where_there_is_no_map_it_is_said_what_to_do(
    connection: Connection, space: Space, settings: Settings
) -> None:
    with pages(settings) as client:
        assert "nothing here that this login sees" in words(client.get("/map").text)
        fill(connection, space, {"text": 2}, "one")
        page = client.get("/map").text
        assert "needs at least three items; there are 2" in words(page)
        assert "map.js" not in page
        assert "too few" in client.get("/map/points").text
        connection.execute("UPDATE embedding_spaces SET state = 'retired', retired_at = now()")
        assert "no embedding space is active" in client.get("/map/points").text.lower()


def test_above_the_cap_the_few_keep_all_of_theirs(
    connection: Connection, space: Space, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shares({"text": 100, "image": 7, "audio": 0}, 30) == {
        "text": 23, "image": 7, "audio": 0,
    }  # fmt: skip
    assert shares({"text": 100, "image": 90}, 31) == {"text": 16, "image": 15}
    assert shares({}, 31) == {}
    fill(connection, space, {"text": 80, "image": 4}, "one")
    monkeypatch.setattr(map_page, "MOST_POINTS", 64)
    with pages(settings) as client:
        found = of_map(client)
        assert [(one["items"], one["shown"]) for one in found["modalities"]] == [(80, 60), (4, 4)]
        assert of_map(client) == found  # the same ones every time
        # Of many more, some pages of the table are read.
        many = unit_rows(np.random.default_rng(1).normal(size=(600, 8)))
        store(connection, space, "text", many, first_source_id=1_000)
        found = of_map(client)
        assert [(one["items"], one["shown"]) for one in found["modalities"]] == [(680, 60), (4, 4)]
        assert of_map(client) == found
        assert max(found["ids"]) - min(found["ids"]) > 300


def test_the_axes_of_many_blocks_are_those_of_all_rows() -> None:
    rows = np.random.default_rng(3).normal(size=(500, 6)) * [1, 5, 0.1, 3, 0.1, 0.1] + 7
    whole, parts = Plane.of([rows]), Plane.of(np.split(rows, 10))
    assert parts.axes == pytest.approx(whole.axes)
    assert parts.explained == pytest.approx(whole.explained)
    assert whole.project(rows).mean(axis=0) == pytest.approx([0, 0], abs=1e-9)


def test_many_rows_are_copied_and_other_lengths_are_refused(connection: Connection) -> None:
    query = sql.SQL("SELECT n::bigint, n / 2.0::float8 FROM generate_series(1, 300000) AS n")
    blocks = list(copied(connection, query, (("n", ">i8"), ("half", ">f8"))))
    assert len(blocks) > 1
    rows = np.concatenate(blocks)
    assert (rows["n"] == np.arange(1, 300_001)).all()
    assert (rows["half"] == rows["n"] / 2).all()
    for wrong in ("SELECT 1::integer, 1::float8", "SELECT NULL::bigint, 1::float8"):
        with pytest.raises(DatabaseError, match="lengths"):
            list(copied(connection, sql.SQL(f"{wrong} FROM generate_series(1, 9)"), (  # type: ignore[arg-type]
                ("n", ">i8"), ("half", ">f8"),
            )))  # fmt: skip
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_every_colour_of_a_point_stands_out_from_its_page() -> None:
    """By 3 to 1, as WCAG 2 asks of what is no text; and no two are alike in one scheme."""
    style = (Path(pipeline.web.__file__).parent / "static/style.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)

    def luminance(colour: str) -> float:
        if len(colour) == 4:
            colour = "#" + "".join(2 * digit for digit in colour[1:])
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    for scheme in (light, dark):
        (page,) = re.findall(r"--card: (#\w+);", scheme)
        colours = re.findall(r"--point-\d: (#\w+);", scheme)
        assert len(set(colours)) == 8
        for colour in colours:
            dim, bright = sorted((luminance(page), luminance(colour)))
            assert (bright + 0.05) / (dim + 0.05) >= 3, colour
