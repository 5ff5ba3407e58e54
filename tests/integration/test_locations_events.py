"""Events of a store lead to one look each, whatever they say happened."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.cli.events import sync_events
from pipeline.errors import ConfigurationError
from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.sources.locations import Location, attach_location, sync_location
from pipeline.sources.locations.by_events import EventsReport, sync_by_events
from pipeline.sources.removal import Brake
from tests.helpers.stores import Store, store


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8 + number, 8), (number, 0, 5)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def followed(store: Store, connection: Connection, settings: Settings) -> Settings:
    """Two prefixes with three pictures each."""
    settings = settings.model_copy(update={"buckets": ("s3://photos",)})
    for name in ("a", "b"):
        for number in range(3):
            store.put(f"{name}/{number}.png", picture(number))
        attach_location(connection, Location(f"s3://photos/{name}"), settings)
        sync_location(connection, name, settings, Brake(0.1))
    store.requests.clear()
    return settings


def event(key: str, name: str = "ObjectCreated:Put") -> str:
    its = {"bucket": {"name": "photos"}, "object": {"key": key}}
    return json.dumps({"Records": [{"eventSource": "aws:s3", "eventName": name, "s3": its}]})


def names(connection: Connection) -> list[str]:
    return [
        name
        for (name,) in connection.execute(
            "SELECT source || '/' || row_key FROM source_items ORDER BY 1"
        )
    ]


def test_lost_doubled_unordered_and_false_events_end_with_what_is_there(
    store: Store, connection: Connection, followed: Settings
) -> None:
    store.put("a/new.png", picture(9))
    store.put("b/1.png", picture(8))
    store.delete("a/2.png")
    store.requests.clear()
    lines = [
        event("a/new.png", "ObjectRemoved:Delete"),
        event("a/2.png"),
        "",
        event("a/2.png"),
        event("b/1.png"),
        event("a/0.png", "ObjectRemoved:Delete"),
        event("c/0.png"),
        "no JSON",
        "{}",
    ]
    report = sync_by_events(connection, lines, followed)
    assert (report.messages, report.elsewhere, report.unknown) == (8, 1, 2)
    assert [said.partition(":")[0] for said in report.said] == ["line 8", "line 9"]
    a, b = report.synced["a"], report.synced["b"]
    assert (a.added, a.changed, a.removed) == (1, 0, 1)
    assert (b.added, b.changed, b.removed) == (0, 1, 0)
    assert store.requests == {"HEAD": 4, "LIST": 1}  # the one whether the bucket is still there
    assert names(connection) == [
        "a/0.png", "a/1.png", "a/new.png", "b/0.png", "b/1.png", "b/2.png",
    ]  # fmt: skip


def test_events_of_one_location_leave_the_other(
    store: Store, connection: Connection, followed: Settings
) -> None:
    store.put("a/new.png", picture(9))
    report = sync_by_events(connection, [event("a/new.png")], followed, "b")
    assert report == EventsReport(messages=1, elsewhere=1)
    with pytest.raises(ConfigurationError, match="there are: a, b"):
        sync_by_events(connection, [], followed, "c")


def test_the_command_reads_a_file_or_stdin(
    store: Store,
    connection: Connection,
    followed: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store.put("a/new.png", picture(9))
    file = tmp_path / "events.jsonl"
    file.write_bytes(event("a/new.png").encode() + b"\n\xff\n")
    sync_events(followed, None, str(file), as_json=False)
    said = capsys.readouterr()
    assert said.out == "a: 1 added, 0 changed, 0 removed\n"
    assert "line 2: it is no JSON; skipped" in said.err
    store.put("a/new.png", picture(10))
    monkeypatch.setattr("sys.stdin", io.StringIO(event("a/new.png")))
    sync_events(followed, "a", "-", as_json=True)
    done: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert done["synced"]["a"]["changed"] == 1


__all__ = ["store"]  # a fixture
