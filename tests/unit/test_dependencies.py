"""What is imported is declared, and what is declared is imported, by the rooms that may."""

import ast
import re
import sys
from collections.abc import Iterator

import pytest

from tests.helpers.requirements import BASE, DEV, EXTRAS, PROVIDED_BY, ROOT, of_extras
from tests.unit.test_layers import importers_of

# Who may import what an extra brings, besides the base.
ROOMS = {
    "pipeline/embedders/embeddinggemma": ("embed",),
    "pipeline/embedders/local": ("embed",),
    "pipeline/embedders/openclip": ("embed",),
    "pipeline/embedders/remote": ("remote",),
    "pipeline/embeddings_api": ("http",),
    "pipeline/metrics": ("metrics",),
    "pipeline/modalities/text/segments.py": ("embed",),
    "pipeline/modalities/audio": ("audio",),
    "pipeline/modalities/containers": ("audio", "video"),
    "pipeline/modalities/document": ("documents",),
    "pipeline/modalities/video": ("video",),
    "pipeline/postgres/embedded": ("server",),
    "pipeline/integrations/langchain.py": ("langchain",),
    "pipeline/integrations/llama_index.py": ("llamaindex",),
    "pipeline/integrations/mcp": ("mcp",),
    "pipeline/integrations/ray.py": ("ray", "parquet"),
    "pipeline/loaders/objects.py": ("s3", "gcs", "azure"),
    "pipeline/quality/plots.py": ("plots",),
    "pipeline/sources/records.py": ("parquet",),
    "pipeline/ingest/tracing.py": ("otel",),
    "pipeline/tracing.py": ("otel",),
    "pipeline/transfer": ("parquet",),
    "pipeline/web": ("web",),
}
NEVER_IMPORTED = {
    "pillow-heif": "rendering.py imports by a table of formats",
    "torchvision": "OpenCLIP's transforms are its; its version has to go with torch's",
}
_PEER = "a peer that benchmarks compare with, installed by hand, see benchmarks/README.md"
UNDECLARED = {
    "alembic_utils": "a plug-in that applications may have; without it a test is skipped",
    "clip_benchmark": "the Makefile installs it without its dependencies",
    "faiss": _PEER,
    "imagebind": "the stand-in of that name, for the tests of its plug-in",
    "infinity_emb": _PEER,
    "lancedb": _PEER,
    "langchain_postgres": _PEER,
    "misbehave": "a module that a test writes",
    "pipeline_imagebind": "the plug-in in plugins/imagebind",
    "psycopg2": "the driver of vecs",
    "resvg_py": "installed by hand by who draws the samples anew, see docs/demo-model.md",
    "sentence_transformers": _PEER,
    "vecs": _PEER,
}


def imports(tree: ast.AST) -> Iterator[str]:
    """Top-level names, wherever in the file: also what import_module() is given literally."""
    called_so = importers_of(tree) | {"importorskip", "find_spec"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in called_so:
                yield str(node.args[0].value).partition(".")[0]


def third_party(folder: str) -> Iterator[tuple[str, str, set[str]]]:
    """(file, name, distributions that may have it) of every import from outside."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        ours = {"pipeline", "tests", "benchmarks", *UNDECLARED}
        if folder == "tools":  # scripts, which import each other
            ours |= {other.stem for other in path.parent.glob("*.py")}
        file = path.relative_to(ROOT).as_posix()
        for name in set(imports(ast.parse(path.read_text(encoding="utf-8")))):
            if name not in sys.stdlib_module_names and name not in ours:
                yield file, name, PROVIDED_BY.get(name, {name})


def extras_for(file: str) -> set[str]:
    """What the rooms of ``file`` may import besides the base."""
    return of_extras(
        extra for room, extras in ROOMS.items() if file.startswith(room) for extra in extras
    )


@pytest.mark.parametrize("folder", ["pipeline", "migrations"])
def test_the_package_imports_the_base_and_each_room_its_extra(folder: str) -> None:
    wrong = [
        f"{file}: {name}"
        for file, name, found in third_party(folder)
        if not found & (BASE | extras_for(file))
    ]
    assert wrong == []


@pytest.mark.parametrize("folder", ["tests", "benchmarks", "tools"])
def test_what_stands_beside_the_package_imports_what_is_declared(folder: str) -> None:
    declared = BASE | DEV | of_extras(["all"])
    wrong = [f"{file}: {name}" for file, name, found in third_party(folder) if not found & declared]
    assert wrong == []


def test_every_dependency_of_the_package_is_imported_where_it_is_declared_for() -> None:
    used = [
        (file, found) for folder in ("pipeline", "migrations")
        for file, _, found in third_party(folder)
    ]  # fmt: skip
    in_the_base = {name for _, found in used for name in found & BASE}
    in_their_rooms = {name for file, found in used for name in found & extras_for(file)}
    assert BASE - in_the_base == set()
    assert of_extras(["all"]) - in_their_rooms == set(NEVER_IMPORTED)


def test_the_extra_all_is_all_of_them() -> None:
    (line,) = EXTRAS["all"]
    assert line.partition("[")[2].rstrip("]").split(",") == [e for e in EXTRAS if e != "all"]


def test_the_base_has_neither_a_model_nor_a_server() -> None:
    assert BASE & of_extras(["embed", "server"]) == set()


def test_every_extra_that_somebody_is_told_to_install_exists() -> None:
    told = set()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("pipeline/**/*.py")]:
        text = path.read_text(encoding="utf-8")
        told |= {
            (path.name, extra)
            for names in re.findall(r"pgvector-crossmodal-pipeline\[([\w,-]+)\]", text)
            for extra in names.split(",")
        }
        told |= {(path.name, extra) for extra in re.findall(r'MissingExtra\([^)]*"(\w+)"', text)}
    assert len(told) > 5
    assert {extra for _, extra in told} <= set(EXTRAS), told


def test_an_import_is_found_wherever_it_is() -> None:
    program = """
import one.part
def late():
    from two.part import name
    three = import_module("three.part")
    importlib.util.find_spec("four")
    __import__("five")
from importlib import import_module as load
load("six")
from . import beside
"""
    found = set(imports(ast.parse(program))) - {"importlib"}
    assert found == {"one", "two", "three", "four", "five", "six"}
