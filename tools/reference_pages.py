"""What the code says of itself, as Markdown: the commands, the functions of SQL, the tables.

A page of the site asks for one of them by a comment, `<!-- from the code: commands -->`, and
docs/conf.py puts it there whenever the site is built, so that neither can drift.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy.dialects import postgresql
from typer.main import get_command

from pipeline.cli import app
from pipeline.cli.commands import SHARED
from pipeline.models import Base

SQL = Path(__file__).parents[1] / "sql"
_POSTGRESQL = postgresql.dialect()
_ASKED = re.compile(r"^<!-- from the code: (.+) -->$", re.MULTILINE)
_COLOURS = re.compile(r"\x1b\[[\d;]*m")
_EXAMPLE = re.compile(r"\s*Example: (.+)\Z", re.DOTALL)
_MADE = re.compile(r"CREATE (?:OR REPLACE )?(FUNCTION|PROCEDURE) @schema@\.(\w+)\(")
_LITERALS = re.compile(r"\s*'((?:[^']|'')*)'")
_VIEW = re.compile(r"COMMENT ON (VIEW|COLUMN) @schema@\.([\w.]+) IS")


def filled_in(page: str) -> str:
    """A page with what it asks for."""
    return _ASKED.sub(lambda asked: "\n".join(_PARTS[asked[1]]()), page)


def from_notebook(text: str) -> str:
    """A notebook as Markdown, with what its cells gave."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "text/html" in data:
                parts.append(_html("".join(data["text/html"])))
            elif "image/png" in data:
                image = "".join(data["image/png"].split())
                parts.append(_html(f'<img src="data:image/png;base64,{image}" alt="">'))
            else:
                plain = "".join(output.get("text", data.get("text/plain", [])))
                parts.append(f"```text\n{_COLOURS.sub('', plain)}\n```")
    return "\n\n".join(parts)


def _html(text: str) -> str:
    return f'```{{raw}} html\n<div class="output">{text}</div>\n```'


def commands() -> Iterator[str]:
    """Every command with its help, as it prints it itself."""
    root = get_command(app)
    top = root.context_class(root, info_name="pipeline")
    yield from ["## For every command", ""]
    yield from _parameters(top, shared=True)
    yield from _commands_of(root, top)


def _commands_of(group: Any, above: Any) -> Iterator[str]:
    for name, command in group.commands.items():
        context = command.context_class(command, info_name=name, parent=above)
        if hasattr(command, "commands"):
            yield from _commands_of(command, context)
            continue
        words = _EXAMPLE.sub("", command.help)
        yield from [f"## {context.command_path}", "", words, ""]
        yield from ["```console", f"$ {_EXAMPLE.search(command.help)[1]}", "```", ""]
        yield from _parameters(context, shared=False)


def _parameters(context: Any, *, shared: bool) -> Iterator[str]:
    records = [
        record
        for parameter in context.command.get_params(context)
        if (parameter.name in SHARED) is shared
        and parameter.name != "help"
        and (record := parameter.get_help_record(context)) is not None
    ]
    if records:
        yield from table(("", "for"), [(f"`{names}`", _cell(words)) for names, words in records])


def functions() -> Iterator[str]:
    """The functions that sql/README.md lists, by its order, as sql/functions has them."""
    made = {name: text for path in sorted(SQL.rglob("*.sql")) for name, text in made_in(path)}
    listed = (SQL / "README.md").read_text("utf-8").partition("## Functions")[2]
    rows = re.findall(r"^\| (`.+?) \| ", listed.partition("\n\nViews:")[0], re.MULTILINE)
    for name in re.findall(r"(?:`|CALL )(\w+)\(", "\n".join(rows)):
        yield from made[name]


def made_in(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(name, section) of each function that a file makes and comments."""
    text = path.read_text("utf-8")
    for found in _MADE.finditer(text):
        kind, name = found.groups()
        arguments = _in_parentheses(text, found.end() - 1)
        after = text[found.end() + len(arguments) + 1 :]
        returns = re.match(r"\s*(RETURNS .+?)\n(?:LANGUAGE|--)", after, re.DOTALL)
        comment = re.search(rf"COMMENT ON {kind}\s+@schema@\.{name}\([^)]*\) IS", after)
        if comment is None:
            continue
        call = "CALL " if kind == "PROCEDURE" else ""
        head = f"{call}{name}({arguments})" + (f" {returns[1]}" if returns else "")
        yield (
            name,
            [
                f"### {name}",
                "",
                "```sql",
                head.replace("@schema@.", "").replace("@vector@.", ""),
                "```",
                "",
                _literal(after, comment.end()),
                "",
            ],
        )


def _in_parentheses(text: str, begin: int) -> str:
    """What stands between the parenthesis at ``begin`` and its own."""
    depth = 0
    for place in range(begin, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return text[begin + 1 : place]
    raise ValueError(f"a parenthesis is not closed: {text[begin : begin + 60]}")


def _literal(text: str, begin: int) -> str:
    """The SQL literal there, of one part or of several, as Markdown."""
    said = ""
    while part := _LITERALS.match(text, begin):
        said += part[1].replace("''", "'")
        begin = part.end()
    return said.replace("*", r"\*")


def views() -> Iterator[str]:
    """The views with their columns, as sql/schema/views has them."""
    for path in sorted((SQL / "schema/views").glob("*.sql")):
        text = path.read_text("utf-8")
        said = [(found[1], found[2], _literal(text, found.end())) for found in _VIEW.finditer(text)]
        (_, name, words), *columns = said
        yield from [f"### {name}", "", words, ""]
        yield from table(
            ("column", "is"),
            [(f"`{column.rpartition('.')[2]}`", _cell(words)) for _, column, words in columns],
        )


def tables() -> Iterator[str]:
    """The tables with their columns, as the models have them."""
    for one in sorted(Base.metadata.tables.values(), key=lambda each: each.name):
        yield from [f"### {one.name}", "", one.comment or "", ""]
        yield from table(
            ("column", "type", "is"),
            [
                (
                    f"`{column.name}`",
                    f"`{column.type.compile(_POSTGRESQL)}`",
                    _cell(column.comment or ""),
                )
                for column in one.columns
            ],
        )


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    """A table of Markdown."""
    for row in (head, ("---",) * len(head), *rows):
        yield f"| {' | '.join(row)} |"
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


_PARTS = {"commands": commands, "functions": functions, "views": views, "tables": tables}
