"""Imports point one way: a room imports what stands below it, and torch is the embedders' alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pipeline"

# From the ground up. What stands on one level may import what is on it or below; two rooms of one
# level may not import each other in a circle.
LEVELS = (
    (
        "errors",
        "waits",
        "jobs",
        "vectors",
        "references",
        "models",
        "plugins",
        "tracing",
        "version",
    ),
    ("settings", "setting_names", "setting_values", "setting_origins", "config_file"),
    ("postgres", "modalities", "loaders"),
    ("embedders", "sources", "queue"),
    ("spaces",),
    ("search", "quality", "transfer"),
    ("ingest", "doctor", "client"),
    ("unified_index", "integrations", "embeddings_api", "metrics"),
    ("web",),
    ("demo",),
    ("cli",),
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
LEVEL["__main__"] = LEVEL["cli"]  # the command by another name
FRONT_DOOR = "pipeline"
TORCH = {"torch", "torchvision", "open_clip", "timm"}


def module_of(path: Path) -> str:
    """Its dotted name; that of a package for its ``__init__``."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(module: str, source: str, *, is_package: bool = False) -> Iterator[str]:
    """Every module that it imports, wherever in the file and in whatever form, dotted.

    A name that ``from package import name`` takes counts as the module of that name, if there is
    one, and as the package's otherwise.
    """
    tree = ast.parse(source)
    importers = importers_of(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = module.split(".") if is_package else module.split(".")[:-1]
                above = here[: len(here) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield inner if inner in MODULES else base
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in importers:
            given = node.args[:1] + [k.value for k in node.keywords if k.arg == "name"]
            yield from (str(a.value) for a in given if isinstance(a, ast.Constant))


def importers_of(tree: ast.AST) -> set[str]:
    """What imports by a name given as a string, as it is called in this module."""
    return {"import_module", "__import__"} | {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in {"importlib", "builtins"}
        for alias in node.names
        if alias.name in {"import_module", "__import__"} and alias.asname
    }


def room_of(module: str) -> str:
    """The room, or the module in the hall, that a module of the package belongs to."""
    return module.split(".")[1] if "." in module else FRONT_DOOR


def all_imports() -> Iterator[tuple[str, str]]:
    """(who, what) for every import within the package and from outside."""
    for module, path in MODULES.items():
        source = path.read_text(encoding="utf-8")
        for imported in imports_of(module, source, is_package=path.name == "__init__.py"):
            yield module, imported


def faults(imports: Iterator[tuple[str, str]]) -> list[str]:
    """Imports that point up, ask the front door, or bring torch into another room."""
    found = []
    for who, what in imports:
        top, room = what.split(".")[0], room_of(who)
        if top in TORCH and room != "embedders":
            found.append(f"{who} imports {what}: torch is the embedders' alone")
        if top != "pipeline" or room == FRONT_DOOR:
            continue
        if what == "pipeline":
            found.append(f"{who} asks the front door")
        elif who.startswith(f"{what}.") and not who.endswith("__main__"):
            found.append(f"{who} asks the door of its own package, {what}")
        elif LEVEL[room_of(what)] > LEVEL[room]:
            found.append(f"{who} imports {what}, which stands above it")
    return found


def circles(edges: set[tuple[str, str]]) -> list[list[str]]:
    """Every set of nodes that reach each other; by Tarjan's algorithm, in its plain recursion."""
    after: dict[str, list[str]] = {}
    for one, other in sorted(edges):
        after.setdefault(one, []).append(other)
        after.setdefault(other, [])
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = lowest[node] = len(number)
        stack.append(node)
        for other in after[node]:
            if other not in number:
                visit(other)
            if other in stack:
                lowest[node] = min(lowest[node], lowest[other])
        if lowest[node] == number[node]:
            circle = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(circle) > 1:
                found.append(sorted(circle))

    for node in after:
        if node not in number:
            visit(node)
    return found


def test_every_room_has_a_level_and_every_level_its_rooms() -> None:
    rooms = {room_of(module) for module in MODULES} - {FRONT_DOOR}
    assert rooms == set(LEVEL)


def test_imports_point_down() -> None:
    assert faults(all_imports()) == []


def test_rooms_do_not_import_each_other_in_a_circle() -> None:
    between = {
        (room_of(who), room_of(what))
        for who, what in all_imports()
        if what in MODULES and FRONT_DOOR not in (room_of(who), room_of(what))
    }
    assert circles({(one, other) for one, other in between if one != other}) == []


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    # A package's ``__init__`` gathers what its modules offer; they import each other by module.
    def is_gathering(who: str, what: str) -> bool:
        return who.startswith(f"{what}.") or what.startswith(f"{who}.")

    edges = {(a, b) for a, b in all_imports() if b in MODULES and a != b and not is_gathering(a, b)}
    assert circles(edges) == []


@pytest.mark.parametrize(
    ("module", "line", "fault"),
    [
        ("pipeline.queue.claims", "from pipeline.spaces import Space", "stands above it"),
        ("pipeline.queue.claims", "from pipeline import spaces", "stands above it"),
        ("pipeline.queue.claims", "from ..spaces.space import Space", "stands above it"),
        ("pipeline.queue.claims", "from .. import ingest", "stands above it"),
        ("pipeline.queue.claims", "import pipeline.ingest.worker", "stands above it"),
        ("pipeline.queue.claims", "def f():\n    from pipeline import cli", "stands above it"),
        ("pipeline.queue.claims", "from pipeline import __version__", "asks the front door"),
        ("pipeline.queue.claims", "import pipeline", "asks the front door"),
        ("pipeline.queue.claims", "from pipeline.queue import anything", "the door of its own"),
        ("pipeline.vectors", "from pipeline.settings import Settings", "stands above it"),
        ("pipeline.ingest.worker", "import torch", "the embedders' alone"),
        ("pipeline.doctor", "import open_clip.factory as f", "the embedders' alone"),
        ("pipeline.doctor", "import_module('torch.nn')", "the embedders' alone"),
        ("pipeline.doctor", "importlib.import_module(name='torch')", "the embedders' alone"),
        ("pipeline.doctor", "__import__('torch')", "the embedders' alone"),
        ("pipeline.vectors", "__import__('pipeline.cli')", "stands above it"),
    ],
)
def test_a_fault_is_found(module: str, line: str, fault: str) -> None:
    (found,) = faults((module, what) for what in imports_of(module, line))
    assert fault in found


def test_an_importer_is_known_by_its_other_name() -> None:
    line = "from importlib import import_module as load\nload('torch')"
    assert "torch" in set(imports_of("pipeline.doctor", line))


def test_a_circle_is_found() -> None:
    assert circles({("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")}) == [["a", "b", "c"]]
    assert circles({("a", "b"), ("b", "c"), ("a", "c")}) == []
