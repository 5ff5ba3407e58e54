"""README cannot drift: its SQL and Python run, its commands and settings exist, its links lead
somewhere."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.main import get_command

from pipeline.cli import app
from pipeline.postgres.connections import connect
from pipeline.settings import names
from tests.helpers.command import Demo

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", blocks("sql"))
def test_its_sql_runs(demo: Demo, block: str) -> None:
    with connect(demo.url, autocommit=False) as connection:
        for statement in filter(str.strip, re.sub(r"--.*", "", block).split(";")):
            if "search_items('" in statement:
                # Nobody serves here; the text is in the cache once a search has asked for it.
                text = re.findall(r"search_items\('([^']*)'", statement)[0]
                assert demo.run("search", text, "-k", "1").returncode == 0
            result = connection.execute(statement)  # type: ignore[arg-type]
            if result.description:
                assert result.fetchall(), statement
        connection.rollback()


@pytest.mark.parametrize("block", blocks("python"))
def test_its_python_runs(
    demo: Demo, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """As it stands, but for the address of the database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", demo.url)
    (tmp_path / "photos").mkdir()
    with connect(demo.url) as connection:
        row = connection.execute(
            "SELECT content_ref FROM multimodal_items "
            "WHERE modality = 'image' AND metadata->>'name' = 'bicycle'"
        ).fetchone()
    assert row is not None
    (tmp_path / "photos/bike.jpg").write_bytes(Path(row[0]).read_bytes())
    for text in re.findall(r'text_embedding\("([^"]*)"', block):
        # Nobody serves here; the text is in the cache once a search has asked for it.
        assert demo.run("search", text, "-k", "1").returncode == 0
    url = demo.url.replace("postgresql://", "postgresql+psycopg://")
    program = block.replace("postgresql+psycopg://pipeline@db/app", url)
    names: dict[str, Any] = {}
    exec(compile(program, "README.md", "exec"), names)
    if "engine" in names:
        names["engine"].dispose()
    printed = capsys.readouterr().out
    assert printed.strip()
    if "a slice of pizza" in block:
        assert "pizza.webp" in printed


def test_its_query_of_the_samples_finds_its_picture_first(demo: Demo) -> None:
    (text,) = set(re.findall(r"search_items\('([^']*)'", README))
    found = json.loads(demo.run("search", text, "-m", "image", "-k", "1", "--json").stdout)
    assert found[0]["metadata"]["name"] == "pizza"


def kinds(printed: str) -> list[str]:
    """Each line without what differs from run to run: figures, ids, the order of near results."""
    found = []
    for line in printed.splitlines():
        text = " ".join(line.split())
        row = re.match(r"\d+ (?:-?\d\.\d+ )+\d+ (text|image) ", text)
        if row:
            text = f"a result: {row[1]}" if found[-1] != f"a result: {row[1]}" else ""
        elif text.startswith("database "):
            text = "database"
        elif set(text) == {"─"}:
            text = "─"
        text = re.sub(r"b?float\d+", "a precision", text)
        text = re.sub(r"\d+(\.\d+)?", "N", text) if ": " not in text[:16] else text
        if text:
            found.append(text)
    return found


def test_the_output_it_shows_is_that_of_the_command(demo: Demo) -> None:
    (block,) = [b for b in blocks("text") if b.startswith("database")]
    printed = iter(kinds(demo.first.stdout))
    for line in kinds(block):
        assert line in printed, f"README shows this, in this place: {line}"
    beginning = demo.first.stdout.partition("text to image")[0]
    assert kinds(block)[: len(kinds(beginning))] == kinds(beginning)


def test_its_commands_exist() -> None:
    used = re.findall(r"^\$ (?:\S*/)?pipeline (.*?)(?:  +#.*)?$", README, re.MULTILINE)
    used += re.findall(r"`pipeline ([a-z][^`]*)`", README)
    assert len(used) > 5
    for line in used:
        node = get_command(app)
        words = shlex.split(line)
        while words and hasattr(node, "commands"):
            assert words[0] in node.commands, line
            node = node.commands[words.pop(0)]
        known = {option for parameter in node.params for option in parameter.opts}
        for word in words:
            if word.startswith("-"):
                assert word.split("=")[0] in known, line


def test_its_settings_exist() -> None:
    named = set(re.findall(r"`PIPELINE_([A-Z_]+)`", README))
    assert named
    assert named <= {name.upper() for name in names()}


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_the_files_it_names_exist(document: str) -> None:
    folders = [path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."]
    pattern = rf"(?<![\w./-])(?:{'|'.join(folders)})/[\w./-]*\w"
    named = set(re.findall(pattern, (ROOT / document).read_text(encoding="utf-8")))
    assert named
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_a_wrong_statement_would_fail(demo: Demo) -> None:
    with connect(demo.url) as connection, pytest.raises(psycopg.Error):
        connection.execute("SELECT content_ref FROM multimodal_items ORDER BY nearness")
