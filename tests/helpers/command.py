"""The command as people run it: a subprocess, its exit code, stdout and stderr."""

import subprocess
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg import sql

from pipeline.postgres.connections import connect
from pipeline.postgres.embedded import EmbeddedServer
from tests.helpers.databases import database_url
from tests.helpers.forks import start

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]
PATIENCE = 280.0


def pipeline(folder: Path, *arguments: str, **environment: str) -> Done:
    """``pipeline ARGUMENTS`` in a folder, with nothing typed and nothing shown on a terminal."""
    given = {"PIPELINE_HOME": str(folder / "home"), **environment}
    with tempfile.TemporaryDirectory() as kept:
        out, err = Path(kept, "stdout"), Path(kept, "stderr")
        command = start("pipeline.cli", arguments, given, cwd=folder, stdout=out, stderr=err)
        try:
            code = command.wait(PATIENCE)
        finally:
            command.kill()
        return Done(command.args, code, out.read_text("utf-8"), err.read_text("utf-8"))


@pytest.fixture
def run(empty_url: str, tmp_path: Path) -> Run:
    """``run("status", "--json")`` on an empty database of its own, in an empty folder."""

    def run(*arguments: str, **environment: str) -> Done:
        return pipeline(tmp_path, *arguments, **{"DATABASE_URL": empty_url, **environment})

    return run


@dataclass(frozen=True)
class Demo:
    """A database in which `pipeline demo` ran, and what it printed."""

    url: str
    folder: Path
    first: Done

    def run(self, *arguments: str) -> Done:
        return pipeline(self.folder, *arguments, DATABASE_URL=self.url)


@pytest.fixture(scope="session")
def demo(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    name = f"demo_{uuid.uuid4().hex[:12]}"
    with connect(server.url()) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = database_url(server.url(), name)
    folder = tmp_path_factory.mktemp("demo")
    first = pipeline(folder, "demo", DATABASE_URL=url)
    assert first.returncode == 0, first.stderr
    return Demo(url, folder, first)
