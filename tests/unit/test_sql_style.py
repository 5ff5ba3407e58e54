"""No statement is put together from strings, and what belongs to one module stands only there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("migrations/**/*.py")])
# What takes a statement, of psycopg, SQLAlchemy and Alembic, and by which names.
TAKE_STATEMENTS = {"execute", "executemany", "exec_driver_sql", "scalar", "SQL", "text", "copy"}
AS_ARGUMENTS = {"query", "statement", "sql", "sqltext", "text", "obj"}
# Of a string: what gives another one that holds it.
KEEP = {"encode", "strip", "lstrip", "rstrip", "lower", "upper"}


def strings_of(tree: ast.AST) -> dict[str, list[ast.expr]]:
    """By name, what is assigned to it anywhere; ``x += y`` as ``x + y``."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        value: ast.expr | None = None
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            value, targets = node.value, node.targets
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)):
            value, targets = node.value, [node.target]
        elif isinstance(node, ast.AugAssign):
            value = ast.BinOp(ast.Constant(""), node.op, node.value)
            targets = [node.target]
        for target in targets if value is not None else ():
            if isinstance(target, ast.Name):
                found.setdefault(target.id, []).append(value)  # type: ignore[arg-type]
    return found


def assembled(source: str) -> Iterator[int]:
    """The lines at which a statement is an f-string, or made by %, + or str.format()."""
    tree = ast.parse(source)
    strings = strings_of(tree)

    def meant(node: ast.expr, seen: frozenset[str] = frozenset()) -> Iterator[ast.expr]:
        """What the expression may be, through names, branches and methods that keep the text."""
        if isinstance(node, ast.Name) and node.id in strings and node.id not in seen:
            for value in strings[node.id]:
                yield from meant(value, seen | {node.id})
        elif isinstance(node, ast.IfExp):
            yield from meant(node.body, seen)
            yield from meant(node.orelse, seen)
        elif isinstance(node, ast.BoolOp):
            for value in node.values:
                yield from meant(value, seen)
        elif isinstance(node, ast.NamedExpr):
            yield from meant(node.value, seen)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in KEEP
        ):
            yield from meant(node.func.value, seen)
        else:
            yield node

    def is_text(node: ast.expr) -> bool:
        return any(
            isinstance(one, ast.JoinedStr)
            or (isinstance(one, ast.Constant) and isinstance(one.value, (str, bytes)))
            for one in meant(node)
        )

    def is_assembled(node: ast.expr) -> bool:
        return any(map(is_put_together, meant(node)))

    def is_put_together(node: ast.expr) -> bool:
        if isinstance(node, ast.JoinedStr):
            return any(isinstance(part, ast.FormattedValue) for part in node.values)
        if isinstance(node, ast.BinOp):
            return is_text(node.left) or is_text(node.right) or is_assembled(node.left)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            return node.func.attr in {"format", "replace", "join"} and is_text(node.func.value)
        return False

    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            given = node.args[:1] + [k.value for k in node.keywords if k.arg in AS_ARGUMENTS]
            if name in TAKE_STATEMENTS and any(map(is_assembled, given)):
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
        ('q: str = f"LISTEN {x}"\nc.execute(q)', True),
        ('q = "LISTEN "\nq += x\nc.execute(q)', True),
        ('q = "a" if y else f"LISTEN {x}"\nc.execute(q)', True),
        ('c.execute("a" if y else f"LISTEN {x}")', True),
        ('c.execute(query=f"LISTEN {x}")', True),
        ('c.execute(f"LISTEN {x}".encode())', True),
        ('c.execute((q := f"LISTEN {x}"))', True),
        ('q = "LISTEN x"\nif y:\n    q = f"LISTEN {x}"\nc.execute(q)', True),
        ('c.execute(b"LISTEN %s" % x)', True),
        ('c.execute("a" if y else "b")', False),
        ("q = q.strip()\nc.execute(q)", False),
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
    "installed_sql": "postgres/installed.py",
}


def statements(source: str) -> Iterator[str]:
    """Every string that is no docstring."""
    tree = ast.parse(source)
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


@pytest.mark.parametrize("relation", HOMES)
def test_a_relation_is_asked_by_its_own_module_alone(relation: str) -> None:
    asks = re.compile(
        rf"\b(FROM|JOIN|INTO|UPDATE|TABLE)\s+(ONLY\s+)?\"?{relation}\b", re.IGNORECASE
    )
    found = {
        file.relative_to(ROOT / "pipeline").as_posix()
        for file in ROOT.glob("pipeline/**/*.py")
        if any(map(asks.search, statements(file.read_text())))
    }
    assert found == {HOMES[relation]}
