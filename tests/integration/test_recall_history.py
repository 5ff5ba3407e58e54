"""`pipeline eval recall` shows how recall went, and old measurements go."""

import json
from pathlib import Path

import pytest

from pipeline.cli.recall import bars
from pipeline.ingest.run import ingest
from pipeline.postgres.connections import Connection
from pipeline.quality.history import history
from pipeline.settings import Settings
from tests.helpers.command import pipeline
from tests.helpers.growing import Growing, make_growing


@pytest.fixture
def growing(connection: Connection) -> Growing:
    return make_growing(connection)


def test_each_measurement_is_kept_with_how_many_there_were(
    settings: Settings, connection: Connection, growing: Growing
) -> None:
    for count in (1_000, 2_000):
        growing.grow(count)
        ingest(settings)
    found = [
        (m.query_modality, m.items) for m in history(connection, growing.space) if m.recall > 0.9
    ]
    assert found == [("image", 1_000), ("image", 2_000), ("text", 1_000), ("text", 2_000)]
    assert [m.items for m in history(connection, growing.space, last=1)] == [2_000, 2_000]


def test_what_is_older_than_is_wanted_goes(
    connection: Connection, settings: Settings, growing: Growing
) -> None:
    growing.grow(1_000)
    ingest(settings)
    connection.execute(
        "UPDATE space_evaluations SET measured_at = measured_at - interval '40 days'"
    )
    growing.grow(1_500)
    ingest(settings)  # which keeps them for a year
    assert len(history(connection, growing.space)) == 4
    growing.grow(2_250)
    ingest(settings.model_copy(update={"evaluation_days": 30.0}))
    assert [m.items for m in history(connection, growing.space)] == [1_500, 2_250] * 2


def test_the_command_shows_it(
    url: str, tmp_path: Path, connection: Connection, growing: Growing
) -> None:
    growing.grow(1_000)
    command = ("eval", "recall", "--no-filters", "--sample", "10")
    first = pipeline(tmp_path, *command, DATABASE_URL=url)
    assert first.returncode == 0, first.stderr
    assert "how recall@10 of the space grows went" in first.stdout
    done = pipeline(
        tmp_path, "eval", "recall", "--history", DATABASE_URL=url, PYTHONIOENCODING="utf-8"
    )
    assert "█" in done.stdout
    assert "short" not in done.stdout  # nothing was measured
    said = json.loads(
        pipeline(tmp_path, "eval", "recall", "--history", "--json", DATABASE_URL=url).stdout
    )
    assert said["results"] == []
    assert {(m["query_modality"], m["item_modality"]) for m in said["history"]} == {
        (a, b) for a in ("text", "image") for b in ("text", "image")
    }


def test_a_bar_says_where_between_four_fifths_and_all_it_was() -> None:
    assert bars([0.5, 0.8, 0.96, 1.0], "utf-8") == "▁▁▇█"
    assert bars([0.5, 0.9, 1.0], "ascii") == "158"
