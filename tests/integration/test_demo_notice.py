"""Rows of people's own beside the demonstration's: who is warned, and what is counted."""

import pytest
import typer

from pipeline import spaces
from pipeline.cli.add import add as add_command
from pipeline.demo.manifest import MODEL, SOURCE
from pipeline.demo.next_steps import psql_line
from pipeline.demo.notice import warn_of_demo_model
from pipeline.demo.progress import Progress, progress
from pipeline.postgres.connections import Connection
from pipeline.spaces import Space
from tests.helpers.spaces import described


def add(connection: Connection, source: str, *keys: str) -> None:
    for key in keys:
        connection.execute(
            "INSERT INTO source_items (source, source_key, modality, content_ref) "
            "VALUES (%s, %s, 'text', %s)",
            (source, key, key),
        )


def make_demo_space(connection: Connection, space: Space) -> None:
    connection.execute("UPDATE embedding_spaces SET model = %s WHERE id = %s", (MODEL, space.id))


def warnings(connection: Connection, space: str | None = None) -> list[str]:
    found: list[str] = []
    warn_of_demo_model(connection, found.append, space)
    return found


def test_own_rows_that_wait_for_the_demonstration_model_are_warned_of_in_one_line(
    connection: Connection, space: Space
) -> None:
    make_demo_space(connection, space)
    add(connection, SOURCE, "sample")
    assert warnings(connection) == []
    add(connection, "files", "mine")
    (line,) = warnings(connection)
    assert "\n" not in line
    assert f"the space {space.name}" in line
    assert "pipeline space create photos --model ViT-B-32/laion2b_s34b_b79k" in line
    # Embedded, or given up on: nothing is about to happen to them.
    connection.execute("UPDATE ingest_jobs SET state = 'failed', error_code = 'x', error = 'x'")
    assert warnings(connection) == []


def test_another_model_is_not_warned_of(connection: Connection, space: Space) -> None:
    add(connection, "files", "mine")
    assert warnings(connection) == []
    other = spaces.create(connection, "drawings", described(weights_sha256="1" * 64))
    make_demo_space(connection, other)
    assert warnings(connection) == []
    assert "the space drawings" in warnings(connection, "drawings")[0]


def test_the_samples_are_counted_apart_from_other_rows(
    connection: Connection, space: Space
) -> None:
    add(connection, SOURCE, "a", "b", "c")
    add(connection, "files", "mine", "broken")
    finish = "DELETE FROM ingest_jobs USING source_items WHERE id = source_id AND source_key = %s"
    fail = (
        "UPDATE ingest_jobs SET state = 'failed', error_code = 'x', error = 'x' "
        "FROM source_items WHERE id = source_id AND source_key = %s"
    )
    for statement, key in ((finish, "a"), (finish, "mine"), (fail, "b"), (fail, "broken")):
        connection.execute(statement, (key,))
    assert progress(connection, space) == Progress(
        embedded=1, waiting=1, failed=1, others=2, others_open=1
    )


@pytest.mark.parametrize(
    ("url", "line"),
    [
        (
            "postgresql:///pipeline?host=%2Fa%20folder%2Fsocket&port=5432&user=postgres",
            """psql 'user=postgres dbname=pipeline host='"'"'/a folder/socket'"'"' port=5432'""",
        ),
        (
            "postgresql+psycopg://me:secret@db:6543/app?sslmode=require",
            "psql 'user=me dbname=app host=db port=6543 sslmode=require'",
        ),
    ],
)
def test_the_psql_line_names_the_database_and_no_password(url: str, line: str) -> None:
    assert psql_line(url) == line


def test_adding_nothing_warns_of_nothing(
    connection: Connection,
    space: Space,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_demo_space(connection, space)
    add(connection, "files", "mine")
    monkeypatch.setenv("DATABASE_URL", url)
    command = typer.Typer()
    command.command()(add_command)
    for arguments, is_warned in ((["/nowhere.txt"], False), (["--text", "x"], True)):
        with pytest.raises(SystemExit):
            command(args=arguments)
        assert ("demonstration's model" in capsys.readouterr().err) is is_warned
