"""No statement is put together from strings, and what belongs to one module stands only there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("migrations/**/*.py")])
# What takes a statement, of psycopg, SQLAlchemy and Alembic.
TAKE_STATEMENTS = {"execute", "executemany", "exec_driver_sql", "scalar", "SQL", "text", "copy"}


def assembled(source: str) -> Iterator[int]:
    """The lines at which a statement is an f-string, or made by %, + or str.format()."""
    tree = ast.parse(source)
    strings = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    def is_text(node: ast.expr) -> bool:
        if isinstance(node, ast.Name) and node.id in strings:
            node = strings[node.id]
        return isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Constant) and isinstance(node.value, str)
        )

    def is_assembled(node: ast.expr) -> bool:
        if isinstance(node, ast.Name) and node.id in strings:
            node = strings[node.id]
        if isinstance(node, ast.JoinedStr):
            return any(isinstance(part, ast.FormattedValue) for part in node.values)
        if isinstance(node, ast.BinOp):
            return is_text(node.left) or is_text(node.right) or is_assembled(node.left)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            return node.func.attr in {"format", "replace", "join"} and is_text(node.func.value)
        return False

    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in TAKE_STATEMENTS and is_assembled(node.args[0]):
                yield node.lineno


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_no_statement_is_assembled(file: Path) -> None:
    assert list(assembled(file.read_text())) == []


@pytest.mark.parametrize(
    ("source", "is_found"),
    [
        ('c.execute(f"LISTEN {x}")', True),
        ('c.execute(f"LISTEN x")', False),
        ('c.execute("LISTEN %s" % x)', True),
        ('c.execute("LISTEN " + x)', True),
        ('c.execute("LISTEN {}".format(x))', True),
        ('q = "LISTEN {}"\nc.execute(q.format(x))', True),
        ('q = f"LISTEN {x}"\nc.execute(q)', True),
        ('op.execute(text("A".replace("A", x)))', True),
        ('sql.SQL(f"{x}")', True),
        ('c.execute(sql.SQL("LISTEN {}").format(sql.Identifier(x)))', False),
        ('Q = sql.SQL("LISTEN {}")\nc.execute(Q.format(sql.Identifier(x)))', False),
        ('c.execute("SELECT %s", (x,))', False),
    ],
)
def test_the_test_sees_what_it_should(source: str, is_found: bool) -> None:
    assert bool(list(assembled(source))) is is_found


HOMES = {
    "query_embeddings": "search/query_vectors.py",
    "ingest_status": "queue/status.py",
    "unsupported_source_items": "queue/status.py",
    "ingest_failures": "queue/failures.py",
    "space_status": "spaces/status.py",
    "installed_sql": "postgres/schema.py",
}


@pytest.mark.parametrize("relation", HOMES)
def test_a_relation_is_asked_by_its_own_module_alone(relation: str) -> None:
    asks = re.compile(rf"\b(FROM|JOIN|INTO|UPDATE|TABLE)\s+{relation}\b")
    found = {
        file.relative_to(ROOT / "pipeline").as_posix()
        for file in ROOT.glob("pipeline/**/*.py")
        if asks.search(file.read_text())
    }
    assert found == {HOMES[relation]}
