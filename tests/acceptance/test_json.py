"""`--json` wherever data is printed, with the keys that docs/command.md promises."""

import json
import re
from pathlib import Path

import pytest
from typer.main import get_command

from pipeline.cli import app
from pipeline.postgres.connections import connect
from tests.acceptance.test_command import commands
from tests.helpers.command import Run

PAGE = (Path(__file__).parents[2] / "docs" / "command.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([a-z]+[a-z -]*)` \| (object|array) \| (.+) \|$", PAGE, re.MULTILINE)
KEYS = {name: (kind, set(re.findall(r"`(\w+)`", keys))) for name, kind, keys in ROWS}
GROUPS = {("space",), ("eval",), ("db",)}
# A show, a process, and what prints a URL or nothing.
NO_DATA = {
    ("demo",),
    ("serve",),
    ("web",),
    ("mcp",),
    ("db", "start"),
    ("db", "stop"),
    ("db", "url"),
    ("db", "psql"),
}


def test_every_command_that_prints_data_has_json_and_its_keys_are_documented() -> None:
    wanted = set(commands()) - GROUPS - NO_DATA
    having = set()
    for command in commands():
        node = get_command(app)
        for name in command:
            node = node.commands[name]  # type: ignore[attr-defined]
        if any("--json" in option.opts for option in node.params):
            having.add(command)
    assert having == wanted
    assert {tuple(name.partition(" --")[0].split()) for name in KEYS} == wanted


@pytest.mark.timeout(900)
def test_the_keys_are_those_of_the_page(run: Run, tmp_path: Path, empty_url: str) -> None:
    texts = [
        option for text in ("a dog", "a cat", "a house", "a boat") for option in ("--text", text)
    ]
    (tmp_path / "blank.jsonl").write_text('{"text": " "}\n')
    steps = (
        ("migrate", "--model", "demo"),
        ("add", *texts, "--metadata", '{"pair": 1}'),
        ("add", "blank.jsonl"),
        ("ingest", "--dry-run"),
        ("ingest",),
        ("failures",),
        ("failures", "--rows"),
        ("retry",),
        ("search", "dog"),
        ("status",),
        ("settings",),
        ("doctor",),
        ("rescan",),
        ("sync",),
        ("attach", "--list"),
        ("attach", "shop", "--text", "title", "--dry-run"),
        ("attach", "shop", "--text", "title"),
        ("detach", "shop", "--yes"),
        ("space", "list"),
        ("space", "show", "demo"),
        ("space", "pause", "demo"),
        ("space", "resume", "demo"),
        ("space", "export", "demo", "demo.parquet"),
        ("space", "import", "demo", "demo.parquet"),
        ("eval", "recall", "--sample", "3", "-k", "1"),
        ("tune", "--sample", "3", "-k", "1"),
        ("map", "map.svg"),
        ("remove", "*", "--dry-run"),
        ("db", "status"),
        ("db", "dump", "all.dump"),
    )
    for step in steps:
        if step == ("sync",):
            with connect(empty_url) as connection:
                connection.execute("CREATE TABLE shop (id int PRIMARY KEY, title text)")
                connection.execute("CREATE TABLE other AS TABLE shop")
                connection.execute("ALTER TABLE other ADD PRIMARY KEY (id)")
            assert run("attach", "other", "--text", "title").returncode == 0
        done = run(*step, "--json")
        assert done.stdout.count("\n") == 1, (step, done.stderr)
        check(step, json.loads(done.stdout))


def check(step: tuple[str, ...], printed: object) -> None:
    options = [f"{step[0]} {option}" for option in step if option.startswith("--")]
    name = next(name for name in (*options, " ".join(step[:2]), step[0]) if name in KEYS)
    kind, keys = KEYS[name]
    assert isinstance(printed, dict if kind == "object" else list), step
    first = printed if isinstance(printed, dict) else printed[0]
    assert keys <= set(first), (step, sorted(first))
