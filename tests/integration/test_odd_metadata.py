"""Metadata that is no JSON object, as SQL may write it: no reader stumbles over it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.unified_index import UnifiedIndex
from tests.helpers.command import Done, pipeline
from tests.helpers.workers import work

ODD = ["[1, 2]", '"words"', "5", "null", "true", '[["title", "x"]]', '["ab", "cd"]']


@pytest.fixture
def run(
    connection: Connection, settings: Settings, space: Space, url: str, tmp_path: Path
) -> Callable[..., Done]:
    """Commands, on a database with one item of each."""
    for number, metadata in enumerate([*ODD, '{"title": "plain"}']):
        connection.execute(
            "INSERT INTO source_items (source, source_key, modality, content_ref, metadata) "
            "VALUES ('odd', %s, 'text', %s, %s)",
            (number, f"text {number}", metadata),
        )
    work(settings, space)

    def run(*arguments: str) -> Done:
        done = pipeline(tmp_path, *arguments, DATABASE_URL=url)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


def test_what_is_found_has_metadata_as_a_mapping(
    run: Callable[..., Done], connection: Connection
) -> None:
    (item,) = connection.execute("SELECT min(id) FROM multimodal_items").fetchone() or (None,)
    found = json.loads(run("search", "--item", str(item), "--json").stdout)
    assert len(found) == len(ODD)
    assert {json.dumps(one["metadata"]) for one in found} == {"{}", '{"title": "plain"}'}
    assert run("search", "--item", str(item), "--sheet", "sheet.html").returncode == 0


def test_commands_that_read_all_items(
    run: Callable[..., Done], connection: Connection, tmp_path: Path
) -> None:
    for arguments in (("status",), ("sync", "--dry-run"), ("failures",), ("sync",), ("rescan",)):
        assert run(*arguments).returncode == 0, arguments
    refused = run("eval", "retrieval", "--pairs", "pair")
    assert "keys there: title" in refused.stderr
    assert "refuses" not in refused.stderr
    done = run("space", "export", "fake", "items.parquet")
    assert done.returncode == 0, done.stderr
    done = run("space", "import", "fake", "items.parquet", "--source", "again")
    assert "JSON object" in done.stderr


def test_the_python_door(
    run: Callable[..., Done], connection: Connection, settings: Settings, space: Space
) -> None:
    (item,) = connection.execute("SELECT min(id) FROM multimodal_items").fetchone() or (None,)
    with UnifiedIndex(settings) as index:
        for found in index.retrieve_cross_modal(item, 20):
            found.document.metadata.get("title")
