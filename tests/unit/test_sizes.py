"""No module over 300 lines, no class over 250, no function over 60."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "pipeline"
MODULE, CLASS, FUNCTION = 300, 250, 60


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def too_long(source: str, name: str) -> Iterator[str]:
    """Who is, by the text of a module."""
    if (count := len(source.splitlines())) > MODULE:
        yield f"{name}: {count} lines"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            most = CLASS if isinstance(node, ast.ClassDef) else FUNCTION
            if (count := lines_of(node)) > most:
                yield f"{name} {node.name}: {count} lines"


def test_nothing_is_too_long() -> None:
    found = [
        fault
        for path in sorted(PACKAGE.rglob("*.py"))
        for fault in too_long(path.read_text("utf-8"), str(path.relative_to(PACKAGE)))
    ]
    assert found == []


def test_what_is_too_long_is_found() -> None:
    body = "    x = 1\n"
    assert list(too_long("def f():\n" + body * 59, "m")) == []
    assert list(too_long("def f():\n" + body * 60, "m")) == ["m f: 61 lines"]
    assert list(too_long("class C:\n" + body * 250, "m")) == ["m C: 251 lines"]
    assert list(too_long("x = 1\n" * 301, "m")) == ["m: 301 lines"]
