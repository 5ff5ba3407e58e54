"""Near-duplicates side by side, outliers, and pauses by a button."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pipeline.postgres.connections import Connection
from pipeline.queue import pauses
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.web import duplicates, outliers
from tests.helpers.databases import login_url, role
from tests.helpers.fakes import WINDOW, add_texts
from tests.helpers.web import items, pages, words
from tests.helpers.workers import load_file, work
from tests.integration.test_web_pages import HOSTILE, add_images

DUPLICATES = "/review/duplicates"
OUTLIERS = "/review/outliers"


def csrf_of(client: TestClient) -> dict[str, str]:
    found = re.search(r'name="csrf" value="(\w+)"', client.get("/jobs").text)
    assert found
    return {"csrf": found[1]}


def test_a_space_is_paused_and_resumed_by_forms_of_ours_alone(
    connection: Connection, settings: Settings, space: Space
) -> None:
    with pages(settings) as client:
        assert "<form" not in client.get("/jobs").text
        assert client.post("/jobs/pause", data={"space": "fake"}).status_code == 403
    with pages(settings, allows_writes=True) as client:
        csrf = csrf_of(client)
        pause = {"space": "fake", "why": HOSTILE, **csrf}
        for data, headers in (
            ({**pause, "csrf": ""}, {}),
            (pause, {"Sec-Fetch-Site": "cross-site"}),
            (pause, {"Origin": "https://evil.example"}),
        ):
            for action in ("pause", "resume"):
                answer = client.post(f"/jobs/{action}", data=data, headers=headers)
                assert answer.status_code == 403
        for data in ({"space": "other"}, {"space": "fake", "why": "x" * 401}, {}):
            assert client.post("/jobs/pause", data={**data, **csrf}).status_code == 400
        assert pauses.pauses(connection) == {}

        page = client.post("/jobs/pause", data=pause).text
        (paused,) = pauses.pauses(connection).values()
        assert (paused.space, paused.by, paused.why) == ("fake", "postgres", HOSTILE)
        said = words(page)
        assert "fake is paused; what is in hand is finished" in said
        assert "Resume fake" in said
        assert "Pause a space" not in said  # there is no other
        assert "<script>" not in page
        assert "fake goes on" in words(client.post("/jobs/resume", data=pause).text)
        assert pauses.pauses(connection) == {}
        assert "fake was not paused" in words(client.post("/jobs/resume", data=pause).text)


def test_a_login_that_may_not_write_is_told_so(
    connection: Connection, settings_of: Callable[..., Settings], url: str, space: Space
) -> None:
    with role(connection, "worker", "LOGIN IN ROLE pipeline_ingest"):
        own = settings_of(login_url(url, "worker"))
        with pages(own, allows_writes=True) as client:
            form = {"space": "fake", **csrf_of(client)}
            assert "fake is paused" in words(client.post("/jobs/pause", data=form).text)
            connection.execute(
                "REVOKE pipeline_ingest FROM worker; GRANT pipeline_analyst TO worker"
            )
            answer = client.post("/jobs/resume", data=form)
    assert answer.status_code == 403
    assert "has no right to this" in words(answer.text)
    assert "worker" not in answer.text
    assert list(pauses.pauses(connection)) == ["fake"]


@pytest.fixture
def twins(
    connection: Connection, settings: Settings, space: Space, tmp_path: Path
) -> dict[str, list[int]]:
    """Texts of which some say the same: the numbers of their items by what they say."""
    add_texts(connection, ["one", "two", HOSTILE, "x" * WINDOW * 2])
    add_texts(connection, ["two", HOSTILE, "three"], "again")
    add_texts(connection, ["two"], "and again")
    add_images(connection, tmp_path, 1)
    work(settings, space, load=load_file)
    rows = connection.execute(
        "SELECT content_ref, array_agg(id ORDER BY id DESC) FROM multimodal_items GROUP BY 1"
    )
    return dict(rows.fetchall())


def pairs_on(page: str) -> list[tuple[int, int]]:
    numbers = items(page)
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def groups_on(page: str) -> list[list[int]]:
    return [items(group) for group in page.split('<ul class="pair">')[1:]]


def test_near_duplicates_stand_side_by_side_in_groups(
    settings: Settings, twins: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = sorted((twins["two"], twins[HOSTILE]), reverse=True)
    with pages(settings) as client:
        page = client.get(DUPLICATES, params={"modality": "text"}).text
        # The two halves of one text are of one source item, and no pair.
        assert groups_on(page) == expected
        assert "1.000 3 items" in words(page)
        assert "<script>" not in page

        monkeypatch.setattr(duplicates, "SHOWN", 2)
        page = client.get(DUPLICATES, params={"modality": "text"}).text
        assert groups_on(page) == [ids[:2] for ids in expected]
        assert "3 items, the newest 2 here" in words(page)
        assert f'href="/?item={twins["two"][0]}&amp;modality=text"' in page
        monkeypatch.undo()

        # No more than there is time for, of which there is none here.
        monkeypatch.setattr(duplicates, "AT_ONCE", 2)
        monkeypatch.setattr(duplicates, "SECONDS", -1.0)
        seen, path, looks = [], f"{DUPLICATES}?modality=text", 0
        while True:
            page, looks = client.get(path).text, looks + 1
            seen += [(one, other) for one, *others in groups_on(page) for other in others]
            assert ("at least" in page) == ("Older items" in page and "</b>" in page)
            more = re.search(r'<a href="([^"]+)">Older items', page)
            if more is None:
                break
            path = more[1].replace("&amp;", "&")
        assert looks > 2
        links = [(one, other, 1.0) for one, other in seen]
        assert [ids for ids, _ in duplicates.components(links)] == expected


def test_what_hangs_together_is_one_group_however_it_does() -> None:
    chain = [(5, 4, 0.98), (3, 4, 0.99), (3, 2, 1.0), (9, 8, 0.97)]
    assert [ids for ids, _ in duplicates.components(chain)] == [[9, 8], [5, 4, 3, 2]]
    (_, (ids, similarities)) = duplicates.components(chain)
    assert (len(ids), min(similarities), max(similarities)) == (4, 0.98, 1.0)
    assert duplicates.components([]) == []


def test_what_is_no_pair_is_said(settings: Settings, twins: dict[str, list[int]]) -> None:
    with pages(settings) as client:
        none = words(client.get(DUPLICATES, params={"modality": "image"}).text)
        assert "None among 1 items." in none
        for path in (DUPLICATES, OUTLIERS):
            answer = client.get(f"{path}?modality=smell")
            assert (answer.status_code, "no modality &#39;smell&#39;" in answer.text) == (400, True)
        for wrong in ("least=x", "least=2", "least=nan", "before=x"):
            assert client.get(f"{DUPLICATES}?{wrong}").status_code == 400
        every = client.get(f"{DUPLICATES}?modality=text&least=0").text
        assert [len(group) for group in groups_on(every)] == [duplicates.SHOWN]


@pytest.fixture
def cluster(connection: Connection, settings: Settings, space: Space) -> list[int]:
    """The numbers of items that are all but one near to each other; the first lies apart."""
    add_texts(connection, [HOSTILE, *(f"text {n}" for n in range(39))])
    work(settings, space)
    connection.execute(
        """
        UPDATE multimodal_items SET embedding = l2_normalize(
            CASE id WHEN 1 THEN '[0,0,0,0,0,0,1,1]' ELSE '[1,0,0,0,0,0,0,0]' END::halfvec
            + format('[0,%s,%s,0,0,0,0,0]', 0.01 * id, 0.1 * sin(id))::halfvec)
        """
    )
    return [row[0] for row in connection.execute("SELECT id FROM multimodal_items ORDER BY id")]


def test_what_is_like_no_other_comes_first_beside_what_is_nearest(
    settings: Settings, cluster: list[int]
) -> None:
    with pages(settings) as client:
        page = client.get(OUTLIERS).text
        found = pairs_on(page)
        assert len(found) == outliers.SHOWN
        (first, nearest), *_ = found
        assert first == cluster[0] != nearest
        assert len({one for one, _ in found}) == len(found)
        assert "<script>" not in page
        similarities = [float(n) for n in re.findall(r'<p class="near"><b>([\d.-]+)</b>', page)]
        assert similarities == sorted(similarities)
        assert similarities[0] < 0.3 < 0.9 < similarities[1]
        said = re.search(
            r"sample of 40 items, of which half are at ([\d.]+) or nearer", words(page)
        )
        assert said
        assert float(said[1]) > 0.99


def test_outliers_are_looked_for_as_long_as_there_is_time(
    settings: Settings, cluster: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outliers, "AT_ONCE", 10)
    monkeypatch.setattr(outliers, "SECONDS", -1.0)
    with pages(settings) as client:
        page = client.get(OUTLIERS).text
    assert "sample of 10 items" in words(page)
    assert len(pairs_on(page)) == 10


def test_outliers_are_looked_for_in_a_sample(
    settings: Settings, cluster: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outliers, "LOOKED_AT", 10)
    with pages(settings) as client:
        seen, path = [], f"{OUTLIERS}?modality=text"
        for _ in range(2):
            page = client.get(path).text
            assert "sample of 10 items" in words(page)
            seen.append({one for one, _ in pairs_on(page)})
            more = re.search(r'<a href="([^"]+)">Another sample', page)
            assert more
            path = more[1].replace("&amp;", "&")
        assert seen[0] != seen[1]
        assert {one for one, _ in pairs_on(client.get(f"{OUTLIERS}?modality=text").text)} == seen[0]
        assert "nothing of that" in words(client.get(f"{OUTLIERS}?modality=image").text)
        for wrong in ("sample=0", "sample=x", "sample=10001"):
            assert client.get(f"{OUTLIERS}?{wrong}").status_code == 400
