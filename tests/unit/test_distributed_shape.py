"""No statement that we make asks the items for a vector within ORDER BY.

Citus refuses that of a distributed table; a vector that was fetched before, as a parameter or in a
variable, it takes (docs/scaling.md). PostgreSQL itself takes both.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.search.functions import text_embedding
from pipeline.search.select import nearest_to, similar_to

ROOT = Path(__file__).parents[2]
SQL = sorted([*ROOT.glob("sql/functions/*.sql"), *ROOT.glob("sql/schema/**/*.sql")])
# But for what the demonstration shows to people, whose server is the embedded one.
PYTHON = sorted(set(ROOT.glob("pipeline/**/*.py")) - {ROOT / "pipeline/demo/next_steps.py"})
ORDER = re.compile(r"ORDER\s+BY\b", re.I)
# By a distance, in the operator's or a function's spelling.
DISTANCE = re.compile(r"<=>|item_distance\(")
OF_ITEMS = re.compile(
    r"\(\s*SELECT\b(?:(?!\)\s*(?:,|LIMIT|$)).)*?\bFROM\s+[^)]*(?:multimodal_items|\{\})",
    re.I | re.S,
)


def asks_within_order(text: str) -> list[str]:
    """What follows an ORDER BY by distance until its LIMIT, where that reads the items."""
    clauses = [text[found.end() : _end(text, found.end())] for found in ORDER.finditer(text)]
    return [c for c in clauses if DISTANCE.search(c) and OF_ITEMS.search(c)]


def _end(text: str, start: int) -> int:
    """Of the clause: its LIMIT outside of brackets, a semicolon, or the bracket that holds it."""
    depth = 0
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth < 0 or text[place] == ";" or (not depth and text[place:].startswith("LIMIT")):
            return place
    return len(text)


def strings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("file", SQL, ids=lambda file: file.stem)
def test_no_function_does(file: Path) -> None:
    assert asks_within_order(file.read_text("utf-8")) == []


def test_no_statement_of_the_package_does() -> None:
    found = {
        file.relative_to(ROOT).as_posix(): clauses
        for file in PYTHON
        if (
            clauses := [
                c for text in strings(file.read_text("utf-8")) for c in asks_within_order(text)
            ]
        )
    }
    assert found == {}


@pytest.mark.parametrize("query", [nearest_to(text_embedding("x")), similar_to(3)])
def test_no_select_builder_does(query: object) -> None:
    text = str(query)
    assert "item_distance(" in text[text.index("ORDER BY") :]
    assert asks_within_order(text) == []


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("ORDER BY embedding <=> (SELECT embedding FROM multimodal_items LIMIT 1) LIMIT 3", True),
        ("ORDER BY embedding <=> (SELECT embedding FROM {} AS i LIMIT 1) LIMIT 10", True),
        ("ORDER BY item_distance(i.embedding, (SELECT e FROM public.multimodal_items AS i))", True),
        ("ORDER BY embedding <=> $1 LIMIT 3; SELECT (SELECT 1 FROM multimodal_items)", False),
        ("(SELECT id ORDER BY e <=> $1 LIMIT 3) UNION (SELECT id FROM multimodal_items)", False),
        ("ORDER BY embedding <=> (SELECT text_embedding('x')) LIMIT 3", False),
    ],
)
def test_the_test_sees_what_it_should(text: str, is_found: bool) -> None:
    assert bool(asks_within_order(text)) is is_found
