"""What commands print: tables that pipe well, help that is whole."""

import re

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.cli.output import print_table, refusal

GROUPS = [(), *((name,) for name in ("space", "eval", "db"))]


def test_a_table_has_no_blanks_around_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(None, ("id", "name"), [(1, "a"), (20, "b [c]")], right=("id",))
    assert capsys.readouterr().out.splitlines() == [
        "  id   name", " ────────────", "   1   a", "  20   b [c]", "",
    ]  # fmt: skip
    print_table("title", ("id",), [(1,)])
    assert capsys.readouterr().out.splitlines()[0] == "title"


@pytest.mark.parametrize("group", GROUPS, ids=" ".join)
def test_help_lists_each_command_with_its_whole_first_sentence(group: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*group, "--help"], env={"COLUMNS": "80"}).output
    shown = shown.partition("Commands:")[2]
    assert not re.search(r"\.\.\.$|…", shown, re.MULTILINE), shown
    node = get_command(app)
    for name in group:
        node = node.commands[name]  # type: ignore[attr-defined]
    for name, command in node.commands.items():  # type: ignore[attr-defined]
        words = " ".join((command.help or "").split("\n\n")[0].split())
        sentence = re.split(r"(?<=\.) ", words)[0]
        assert f"{name} {sentence}" in re.sub(r"\s+", " ", shown)


def test_no_default_is_shown_as_python_writes_it() -> None:
    def walk(node: object, path: list[str]) -> None:
        shown = CliRunner().invoke(app, [*path, "--help"]).output
        assert not re.search(r"default: *[({]", " ".join(shown.split())), path
        for name, command in getattr(node, "commands", {}).items():
            walk(command, [*path, name])

    walk(get_command(app), [])


def test_a_file_that_cannot_be_opened_is_named_without_its_secret() -> None:
    for name, shown in (
        ("foo:u:SECRET@h/a b", "...@h/a b"),
        ("a b?sig=SECRET", "a b?sig=..."),
        ("s3:SEC RET", "s3:..."),
        ("/photos/a b.jpg", "/photos/a b.jpg"),
    ):
        error = FileNotFoundError(2, "No such file or directory", name)
        assert refusal(error) == f"{shown}: No such file or directory"
