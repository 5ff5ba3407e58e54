"""Nothing outside ``pipeline/modalities`` decides by the name of a modality."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.modalities import ModalityType, registered

PACKAGE = Path(__file__).parents[2] / "pipeline"
NAMES = {str(name) for name in ModalityType}
OBJECTS = {name.upper() for name in NAMES}
CLASSES = {type(modality).__name__ for modality in registered()}
# A statement that compares a modality with one of them, or gives a list of them.
SQL = re.compile(r"(?i)modality\b[^'\n]{{0,40}}'[{{]?({})\b".format("|".join(NAMES)))
# (file, line as it is written): the same word, but not a modality.
OTHER_WORDS = {
    ("cli/__init__.py", '] = "text",'): "a format of the log",
    ("cli/output.py", 'FORMATS = ("text", "json")'): "too",
    ("embedders/openclip/text_towers.py", 'return getattr(module, "text", module)'): "OpenCLIP's",
    ("embedders/openclip/tokenizers.py", 'tower: Any = getattr(module, "text", module)'): "too",
    ("embedders/embeddinggemma/model.py", 'HEARS = "audio"'): "transformers' word for a tower",
    ("embedders/embeddinggemma/checkpoint.py", 'item = said.get("document", _ITEM_PROMPT)'): (
        "sentence-transformers' word for an item"
    ),
    ("demo/next_steps.py", 'NEAREST_IMAGES = """\\'): "a statement that people are shown",
    (
        "embedders/openclip/huggingface/architecture.py",
        '"img_size": _square(vision, "image_size"),',
    ): "where a table begins that has timm's word for a number of layers",
    (
        "embedders/openclip/huggingface/architecture.py",
        '"depth": vision["num_hidden_layers"],',
    ): "that word",
    ("demo/manifest.py", 'image=SAMPLES / record["image"],'): "a field of the manifest",
    ("sources/documents.py", 'if not isinstance(doc.get("text"), str):'): "a key of the caller's",
    ("sources/documents.py", 'row = text_row(_usable(place, doc["text"]), source)'): "too",
    (
        "sources/documents.py",
        'metadata = {name: value for name, value in doc.items() if name not in {"id", "text"}}',
    ): "too",
}


def is_a_modalitys(node: ast.expr) -> bool:
    """Whether it is a name, an object or a member of one of the eight."""
    if isinstance(node, ast.Constant):
        return node.value in NAMES
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        return any(map(is_a_modalitys, node.elts))
    if isinstance(node, ast.Attribute):
        return node.attr in OBJECTS or is_a_modalitys(node.value)
    if isinstance(node, ast.Call):  # type(IMAGE), str(IMAGE.name)
        return any(map(is_a_modalitys, node.args)) and isinstance(node.func, ast.Name)
    return isinstance(node, ast.Name) and node.id in OBJECTS


def classes_of(tree: ast.AST) -> set[str]:
    """What the classes of the modalities are called in this module."""
    return {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("pipeline.modalities.")
        for alias in node.names
        if alias.name in CLASSES
    }


def decisions(tree: ast.AST) -> Iterator[int]:
    """Lines where a name stands as a constant or in a statement of SQL, or where something is
    compared with a modality, or looked up by one."""
    classes = classes_of(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and (
            node.value in NAMES or (isinstance(node.value, str) and SQL.search(node.value))
        ):
            yield node.lineno
            continue
        operands: list[ast.expr] = []
        if isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            operands = [node.value]
        elif isinstance(node, ast.Dict):
            operands = [key for key in node.keys if key is not None]
        elif isinstance(node, ast.Subscript):
            operands = [node.slice]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"isinstance", "issubclass"}:
            if {name.id for name in ast.walk(node) if isinstance(name, ast.Name)} & classes:
                yield node.lineno
                continue
            operands = node.args[1:]
        if any(map(is_a_modalitys, operands)):
            yield operands[0].lineno


# Where the words are those of other people's protocols, whose JSON says "text" and "image".
PROTOCOLS = ("embedders/remote/dialects/", "embeddings_api/asked.py")


def found() -> Iterator[tuple[str, str]]:
    """(file, line) of each in the package, but where the modalities live."""
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE).as_posix()
        text = path.read_text(encoding="utf-8")
        if not file.startswith(("modalities/", *PROTOCOLS)):
            for line in decisions(ast.parse(text)):
                yield file, text.splitlines()[line - 1].strip()


# A dictionary by modality that is no decision: an embedder names what it has an encoder for, and
# a command's options name whose column each of them is.
MAPPINGS = {
    "self.encoders: Mapping[str, Encoder] = {TEXT.name: self._texts, IMAGE.name: self._images}",
    "content = {TEXT.name: text_column, IMAGE.name: image_column} | _more_columns(column or [])",
}


def test_nothing_decides_by_a_modalitys_name() -> None:
    rest = [(file, line) for file, line in found() if line not in MAPPINGS]
    assert [one for one in rest if one not in OTHER_WORDS] == []
    assert set(OTHER_WORDS) - set(rest) == set()  # no exception outlives its line


# Lines of SQL that may hold a name, and why.
IN_SQL = {
    "modality text DEFAULT 'image',": "what is asked for where nothing is said",
    "of_query := 'text';": "what a typed query is",
    "hybrid_search.filter, NULL::real, hybrid_search.ranking, 'text'::text,": "the same",
    "|| CASE WHEN modality = 'text' THEN content_ref ELSE '' END, 100000));": (
        "of an index: an immutable function, which may not read known_modalities"
    ),
    "CASE WHEN k.media = 'image' AND i.content_ref ~ '^(https?://|data:image/)'": (
        "no modality, a kind of media"
    ),
}


def test_no_function_view_or_trigger_decides_by_a_name_either() -> None:
    folder = PACKAGE.parent / "sql"
    name = re.compile(r"('|\$\w*\$)({})\1".format("|".join(NAMES)))
    lines = {
        " ".join(line.split())
        for part in ("functions", "schema")
        for path in (folder / part).rglob("*.sql")
        for line in path.read_text("utf-8").splitlines()
        if name.search(line)
    }
    assert lines == set(IN_SQL)


@pytest.mark.parametrize(
    "line",
    [
        'if modality == "image": pass',
        "if modality is TEXT: pass",
        "if name == modalities.IMAGE.name: pass",
        "if kind in (ModalityType.TEXT, ModalityType.AUDIO): pass",
        "if name in {'text', 'image'}: pass",
        "ROWS = {IMAGE.name: 1}",
        "LARGE = ('video', 'audio')",
        "match name:\n    case 'image': pass",
        "execute(\"SELECT 1 FROM t WHERE modality = 'image'\")",
        "execute(\"SELECT 1 FROM t WHERE i.modality IN ('image', 'text')\")",
        "execute(\"SELECT search_items(modality => '{image}')\")",
        "from pipeline.modalities.image.modality import Image\nisinstance(x, Image)",
        "from pipeline.modalities.text.modality import Text as T\nissubclass(type(x), (T,))",
        "isinstance(x, type(IMAGE))",
        "if type(x) is type(TEXT): pass",
        "x = TABLE[IMAGE.name]",
        "TABLE[modalities.TEXT.name] = 1",
        "match name:\n    case ModalityType.IMAGE: pass",
    ],
)
def test_a_decision_is_found(line: str) -> None:
    assert list(decisions(ast.parse(line)))


@pytest.mark.parametrize(
    "line",
    [
        "row = NewSource(s, k, IMAGE.name, ref)",
        "x = TEXT.parts(d)",
        "from PIL import Image\nisinstance(x, Image.Image)",
        "execute('SELECT modality FROM t')",
    ],
)
def test_naming_one_is_no_decision(line: str) -> None:
    assert not list(decisions(ast.parse(line)))
