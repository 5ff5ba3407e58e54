"""The programs of docs/clients.md run as they stand, but for the address of the database."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from pipeline.cli import app
from pipeline.integrations.mcp import answers as tool_answers
from pipeline.integrations.mcp.reader import MOST_COUNTED, SIDE
from pipeline.integrations.mcp.tools import MOST_MATCHES
from pipeline.postgres.connections import Connection
from pipeline.postgres.reading import SECONDS
from pipeline.search import item
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.clients import psycopg_url
from tests.helpers.fakes import add_texts
from tests.helpers.workers import content, work
from tests.integration.test_search import image_of
from tests.integration.test_serve import serving

PAGE = (Path(__file__).parents[2] / "docs/clients.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.mark.usefixtures("dblink")
def test_its_programs_run(
    settings: Settings,
    space: Space,
    connection: Connection,
    url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    add_texts(connection, ["a red bicycle"])
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "SELECT 'photos', n::text, 'image', '/' || n || '.png' FROM generate_series(1, 15) AS n"
    )
    work(settings, space, load=lambda reference: content(reference.encode()), decode=image_of)
    printed = []
    with serving(url):
        for block in BLOCKS:
            program = block.replace("postgresql+psycopg://pipeline@db/app", psycopg_url(url))
            program = program.replace("postgresql://pipeline@db/app", url)
            names: dict[str, Any] = {}
            exec(compile(program, "clients.md", "exec"), names)
            if "engine" in names:
                names["engine"].dispose()
            printed.append(capsys.readouterr().out.splitlines())
    blocking, awaiting, tenants, orm, langchain, llama_index = printed
    assert len(blocking) == 6
    assert blocking[-1] == "(2, 8)"
    assert len(awaiting) == 5
    assert tenants == ["16"]
    assert orm == ["10 5"]
    assert len(langchain) == len(llama_index) == 5


def test_what_it_says_to_assistants_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```json\n(.*?)```", PAGE, re.S)
    server = json.loads(block)["mcpServers"]["pipeline"]
    assert Path(server["command"]).name == "pipeline"
    assert server["args"][0] in get_command(app).commands  # type: ignore[attr-defined]
    for name, value in server["env"].items():
        monkeypatch.setenv(name, value)
    assert Settings.load().media_roots == (Path("/srv/photos"),)
    for bound in (
        f"end after {SECONDS:.0f} s",
        f"{MOST_MATCHES} matches, {tool_answers.MOST_TEXT:,} characters of a text in a list",
        f"{item.MOST_TEXT:,} of one item, images of {SIDE} pixels, {MOST_COUNTED:,} items",
    ):
        assert bound in " ".join(PAGE.split())
