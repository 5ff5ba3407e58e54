"""The programs of docs/clients.md run as they stand, but for the address of the database."""

import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.clients import psycopg_url
from tests.helpers.fakes import add_texts
from tests.helpers.workers import content, work
from tests.integration.test_search import image_of
from tests.integration.test_serve import serving

BLOCKS = re.findall(
    r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs/clients.md").read_text("utf-8"), re.S
)


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
    blocking, awaiting, tenants, orm, langchain = printed
    assert len(blocking) == 6
    assert blocking[-1] == "(2, 8)"
    assert len(awaiting) == 5
    assert tenants == ["16"]
    assert orm == ["10 5"]
    assert len(langchain) == 5
