"""What operators see where readers may not count everybody's rows, and links that say nothing."""

from collections.abc import Callable

import pytest

from pipeline import spaces
from pipeline.postgres.connections import Connection
from pipeline.queue import pauses
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.databases import login_url, role
from tests.helpers.fakes import WINDOW, FakeEmbedder, add_texts
from tests.helpers.web import pages, words
from tests.helpers.workers import work

COUNTS = "ingest_status, ingest_failures, space_status, unsupported_source_items"


@pytest.fixture
def uncounted(connection: Connection, settings: Settings, space: Space) -> None:
    """As docs/security.md has it for tenants, who would see the numbers of others."""
    add_texts(connection, ["one", "two"])
    work(settings, space)
    connection.execute(f"REVOKE SELECT ON {COUNTS} FROM pipeline_analyst".encode())


@pytest.mark.usefixtures("uncounted")
def test_a_list_that_finds_nothing_is_a_list(
    connection: Connection, settings_of: Callable[..., Settings], url: str
) -> None:
    with (
        role(connection, "tenant", "LOGIN IN ROLE pipeline_analyst"),
        pages(settings_of(login_url(url, "tenant"))) as client,
    ):
        answer = client.get("/?modality=image")
        assert (answer.status_code, "Nothing matches" in words(answer.text)) == (200, True)
        answer = client.get("/jobs")
        assert answer.status_code == 403
        assert "Reading needs those of pipeline_analyst" in words(answer.text)
        connection.execute("DELETE FROM source_items")
        answer = client.get("/")
        assert answer.status_code == 200
        assert "nothing here that this login sees" in words(answer.text)


def test_whom_a_policy_keeps_from_rows_is_told_no_count_of_others(
    connection: Connection, settings_of: Callable[..., Settings], url: str, space: Space
) -> None:
    add_texts(connection, ["somebody else's"])
    connection.execute("ALTER TABLE source_items ENABLE ROW LEVEL SECURITY")
    with (
        role(connection, "tenant", "LOGIN IN ROLE pipeline_analyst"),
        pages(settings_of(login_url(url, "tenant"))) as client,
    ):
        said = words(client.get("/").text)
        metrics = client.get("/metrics").text
        overseen = {path: client.get(path) for path in ("/review", "/jobs", "/spaces", "/api/jobs")}
    assert "nothing here that this login sees" in said
    assert "wait for their vectors" not in said
    assert "pipeline_database_up 1.0" in metrics
    assert "pipeline_jobs{" not in metrics
    assert {path: answer.status_code for path, answer in overseen.items()} == dict.fromkeys(
        overseen, 403
    )


@pytest.mark.usefixtures("uncounted")
def test_who_may_write_operates_with_rights_of_their_own(settings: Settings) -> None:
    with pages(settings) as client:
        assert client.get("/jobs").status_code == 403
    with pages(settings, allows_writes=True) as client:
        assert "fake active text 2 0 0 0" in words(client.get("/jobs").text)
        for path in ("/review", "/spaces", "/api/spaces"):
            assert client.get(path).status_code == 200, path


def test_the_rate_is_of_rows_as_what_waits_is(
    connection: Connection, settings: Settings, space: Space
) -> None:
    add_texts(connection, ["a" * 6 * WINDOW, "b", "c"])
    work(settings, space)
    assert connection.execute("SELECT count(*) FROM multimodal_items").fetchone() == (8,)
    rate = "SELECT per_minute FROM ingest_status WHERE modality = 'text'"
    # They were embedded within the last minute, and the rate is of that minute.
    assert connection.execute(rate).fetchone() == (3,)
    connection.execute("UPDATE multimodal_items SET embedded_at = now() - interval '10 min'")
    (found,) = connection.execute(rate).fetchone() or (0,)
    assert found == pytest.approx(0.3, rel=0.01)


def test_who_begins_again_is_as_fast_as_since_then(
    connection: Connection, settings: Settings, space: Space
) -> None:
    add_texts(connection, ["a", "b", "c"])
    work(settings, space)
    connection.execute(
        "UPDATE multimodal_items SET embedded_at = now() - interval '9 min' WHERE id = 1"
    )
    rate = "SELECT per_minute FROM ingest_status WHERE modality = 'text'"
    assert connection.execute(rate).fetchone() == (2,)


def test_a_space_that_is_paused_has_no_time_left(
    connection: Connection, settings: Settings, space: Space
) -> None:
    add_texts(connection, ["a"])
    work(settings, space)
    add_texts(connection, ["b"], source="later")
    with pages(settings) as client:
        assert "1 0 0 1 1.0 min" in words(client.get("/jobs").text)
        pauses.pause(connection, "fake")
        assert "1 0 0 1 1.0 min" not in words(client.get("/jobs").text)
        assert "1 0 0 1" in words(client.get("/jobs").text)


def test_failures_of_a_space_that_is_built_have_their_page(
    connection: Connection, settings: Settings, space: Space
) -> None:
    add_texts(connection, ["one"])
    work(settings, space)
    other = spaces.create(connection, "other", FakeEmbedder(16))
    connection.execute(
        "UPDATE ingest_jobs SET state = 'failed', attempts = 5, error_code = 'bad_text', "
        "error = 'x' WHERE space_id = %s",
        (other.id,),
    )
    with pages(settings, allows_writes=True) as client:
        assert 'href="/review?space=other"' in client.get("/jobs").text
        assert "No row has failed" in words(client.get("/review").text)
        page = client.get("/review?space=other").text
        assert "in the space other" in words(page)
        assert 'href="/review?code=bad_text&space=other#rows"' in page.replace("&amp;", "&")
        csrf = page.partition('name="csrf" value="')[2].partition('"')[0]
        form = {"csrf": csrf, "code": "bad_text", "space": "other"}
        assert "1 back in the queue" in words(client.post("/review/retry", data=form).text)
        for path in ("/review?space=nope", "/spaces/nope/compare"):
            assert client.get(path).status_code == 404, path


def test_nothing_is_said_that_no_form_did_and_no_nul_gets_in(
    connection: Connection, settings: Settings, space: Space
) -> None:
    with pages(settings, allows_writes=True) as client:
        for path in ("/jobs", "/review"):
            spoofed = client.get(f"{path}?done=Your+session+expired,+call+555").text
            assert "session" not in words(spoofed)
            assert "2 back in the queue" in words(
                client.get(f"{path}?done=2+back+in+the+queue").text
            )
        assert client.get("/?q=a%00b").status_code == 400
        csrf = client.get("/jobs").text.partition('name="csrf" value="')[2].partition('"')[0]
        form = {"csrf": csrf, "space": "fake", "why": "a\0b"}
        assert client.post("/jobs/pause", data=form).status_code == 400
