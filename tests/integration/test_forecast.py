"""`pipeline ingest --dry-run`: what is due, how long it takes, and what is not known."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline import embedders
from pipeline.cli import app
from pipeline.ingest.forecast import forecast
from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.fakes import FAKE_FAMILY, add_texts
from tests.helpers.workers import work

RATES = """
UPDATE multimodal_items SET embedded_at =
    '2026-01-01'::timestamptz + make_interval(secs => %s * (source_id - 1)::float8)
"""


def dry_run(monkeypatch: pytest.MonkeyPatch, url: str, *more: str) -> Any:
    monkeypatch.setenv("DATABASE_URL", url)
    return CliRunner().invoke(app, ["ingest", "--dry-run", *more])


@pytest.fixture
def embedded(connection: Connection, settings: Settings, space: Space) -> Space:
    """Eleven texts, the source items 1 to 11, the third of which has many parts."""
    texts = [f"text {n}" for n in range(11)]
    texts[2] = "a long text " * 400
    add_texts(connection, texts)
    work(settings, space)
    return space


def test_nothing_due_is_said(
    connection: Connection, space: Space, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert forecast(connection, space).minutes == 0
    assert dry_run(monkeypatch, url).stdout == "nothing due in the space fake\n"


def test_rows_are_counted_by_modality_and_nothing_is_claimed(
    connection: Connection, space: Space, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_texts(connection, ["one", "two", "three"])
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "VALUES ('t', 'film', 'video', '/film.mp4')"
    )
    connection.execute(
        "UPDATE ingest_jobs SET run_after = now() + interval '1 day' WHERE source_id = 2"
    )
    before = connection.execute("SELECT * FROM ingest_jobs ORDER BY source_id").fetchall()
    found = forecast(connection, space)
    assert [(one.modality, one.due, one.later) for one in found.expected] == [
        ("text", 2, 1), ("video", 1, 0),
    ]  # fmt: skip
    assert found.minutes is None
    done = dry_run(monkeypatch, url)
    assert done.exit_code == 0
    assert "how long it takes is not known" in done.stdout
    assert "tokens" not in done.stdout  # nobody counts any
    assert connection.execute("SELECT * FROM ingest_jobs ORDER BY source_id").fetchall() == before


def test_the_rate_is_that_of_the_last_rows_not_of_their_parts(
    connection: Connection, embedded: Space, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute(RATES, (2.0,))
    add_texts(connection, [f"new {n}" for n in range(45)], source="new")
    (expected,) = forecast(connection, embedded).expected
    assert expected.per_minute == pytest.approx(30)
    assert expected.minutes == pytest.approx(1.5)
    assert "about 1.5 minutes" in dry_run(monkeypatch, url).stdout
    told = json.loads(dry_run(monkeypatch, url, "--json").stdout)
    assert (told["due"], told["minutes"], told["tokens"]) == (45, 1.5, None)


def test_a_pause_between_two_runs_is_no_part_of_the_rate(
    connection: Connection, embedded: Space
) -> None:
    connection.execute(RATES, (2.0,))
    connection.execute(
        "UPDATE multimodal_items SET embedded_at = embedded_at - interval '8 hours' "
        "WHERE source_id <= 5"
    )
    add_texts(connection, ["new"], source="new")
    (expected,) = forecast(connection, embedded).expected
    assert expected.per_minute == pytest.approx(30)


def test_one_transaction_tells_no_rate(connection: Connection, embedded: Space) -> None:
    connection.execute("UPDATE multimodal_items SET embedded_at = now()")
    add_texts(connection, ["new"], source="new")
    (expected,) = forecast(connection, embedded).expected
    assert (expected.per_minute, expected.minutes) == (None, None)


def test_tokens_are_estimated_where_a_server_counts_and_what_is_not_known_is_said(
    connection: Connection, space: Space, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        FAKE_FAMILY, "estimate_tokens", embedders.REMOTE.estimate_tokens, raising=False
    )
    add_texts(connection, ["one two", "three"])
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "VALUES ('t', 'image', 'image', '/a.png')"
    )
    found = forecast(connection, space)
    # A token for each of the short words, two for the long one, two for each text's ends.
    assert (found.tokens, found.uncounted) == (1 + 1 + 2 + 2 * 2, 1)
    said = dry_run(monkeypatch, url).stdout
    assert "about 8 tokens for the texts" in said
    assert "of 1 other rows only the model's server knows" in said
    assert "its prices are not known here" in said


def test_a_paused_space_is_said_to_be(
    connection: Connection, space: Space, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_texts(connection, ["one"])
    connection.execute("SELECT pause_space('fake', 'full disk')")
    assert "full disk; nothing is claimed before" in dry_run(monkeypatch, url).stderr


@pytest.mark.parametrize("other", [["--watch"], ["--exclusive"], ["--limit", "3"]])
def test_what_only_a_run_can_do_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch, other: list[str]
) -> None:
    assert dry_run(monkeypatch, url, *other).exit_code == 2
