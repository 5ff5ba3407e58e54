"""The files of sql/ that are installed name nothing of ours, and nothing of pgvector's, bare."""

import re
from pathlib import Path

import pytest

from pipeline.models import Base
from pipeline.postgres.sql_files import FILES, ROLE_FILES, Schemas, digest, files_to_install

SQL = Path(__file__).parents[2] / "sql"
INSTALLED = sorted(SQL.glob("schema/**/*.sql")) + sorted(SQL.glob("functions/*.sql"))
UNINSTALLED = sorted(SQL.glob("uninstall/*.sql"))
PUBLIC = Schemas("public", "public")

MADE = re.compile(r"CREATE OR REPLACE (?:FUNCTION|PROCEDURE|VIEW) @schema@\.(\w+)")
OURS = (
    {name for file in INSTALLED for name in MADE.findall(file.read_text())}
    | {table.name for table in Base.metadata.tables.values()}
    | {"item_match", "hybrid_match", "multimodal_items_id_seq", "ingest_job_versions"}
)
PGVECTORS = {"halfvec", "vector", "l2_normalize", "l2_norm", "vector_norm", "vector_dims"}


def code(text: str) -> str:
    """Without what people read: comments, COMMENT ON, messages and their hints."""
    text = re.sub(r"--.*", "", text)
    text = re.sub(r"(COMMENT ON [^']*? IS)\s+'.*?';", r"\1;", text, flags=re.S)
    text = re.sub(r"RAISE (?:EXCEPTION|WARNING|NOTICE).*?;$", ";", text, flags=re.S | re.M)
    # Channels are of the database, triggers of their table.
    return re.sub(r"NOTIFY \w+|pg_notify\('\w+'|OR REPLACE TRIGGER \w+", "", text)


def bare(text: str) -> set[str]:
    """The names that stand alone, and not beside a dot, in an argument's or a column's name."""
    text = re.sub(r"OPERATOR\(@vector@\.[^)]+\)|@vector@(\.\w+)?|@schema@\.\w+", "", text)
    names = "|".join(OURS | PGVECTORS)
    return set(re.findall(rf"(?<!AS )(?<!\.)\b(?:{names})\b(?!\.)|<[=#-]>", text))


@pytest.mark.parametrize("file", INSTALLED + UNINSTALLED, ids=lambda file: file.stem)
def test_a_file_names_ours_and_pgvectors_with_their_schema(file: Path) -> None:
    assert bare(code(file.read_text())) == set()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SELECT FROM source_items", {"source_items"}),
        ("SELECT FROM @schema@.source_items", set()),
        ("EXECUTE format('DELETE FROM source_items WHERE id = %s', n)", {"source_items"}),
        ("SELECT search_items.modality", set()),
        ("SELECT text_embedding('x')", {"text_embedding"}),
        ("e::halfvec <=> q", {"halfvec", "<=>"}),
        ("e::@vector@.halfvec OPERATOR(@vector@.<=>) q", set()),
        ("COMMENT ON VIEW @schema@.item_catalog IS 'See source_items; or not.';", set()),
        ("RAISE EXCEPTION 'see source_items' USING HINT = 'search_items(1);';\n", set()),
    ],
)
def test_the_test_sees_a_bare_name(text: str, found: set[str]) -> None:
    assert bare(code(text)) == found


def test_every_file_is_installed_and_rights_are_given_last() -> None:
    names = list(files_to_install(PUBLIC, roles=True))
    assert sorted(names) == sorted(file.relative_to(SQL).as_posix() for file in INSTALLED)
    assert names[-1] == "schema/grants.sql"
    without = files_to_install(PUBLIC, roles=False)
    assert set(names) - set(without) == set(ROLE_FILES)
    assert all(any(Path(name).match(pattern) for pattern in FILES) for name in without)


def test_placeholders_are_filled_in_once_each_and_nothing_is_left() -> None:
    for text in files_to_install(Schemas('"a @vector@ b"', "ext"), roles=True).values():
        assert "@schema@" not in text
        assert "@vector@" not in text.replace('"a @vector@ b"', "")


def test_the_digest_covers_names_texts_and_placeholders() -> None:
    digests = {
        digest(files_to_install(PUBLIC, roles=True)),
        digest(files_to_install(PUBLIC, roles=False)),
        digest(files_to_install(Schemas("shop", "public"), roles=True)),
        digest({"a": "b"}),
        digest({"b": "a"}),
        digest({"a": "b", "c": "d"}),
        digest({"a": "b\0c", "d": ""}),
    }
    assert len(digests) == 7


@pytest.mark.parametrize("file", sorted(SQL.glob("**/*.sql")), ids=lambda file: file.name)
def test_no_plain_literal_has_a_backslash(file: Path) -> None:
    """A session may have standard_conforming_strings off, and a body is read where it runs."""
    assert literals_with_a_backslash(file.read_text()) == []


def literals_with_a_backslash(text: str) -> list[str]:
    found = re.findall(r"--.*|(?:\b[eE])?'(?:[^']|'')*'", text)
    return [literal for literal in found if literal.startswith("'") and "\\" in literal]


def test_the_test_sees_such_a_literal() -> None:
    text = r"SELECT E'\n' || 'it''s \' -- isn't '\'" + "\n|| '\\S' || 'plain'"
    assert literals_with_a_backslash(text) == [r"'it''s \'", r"'\S'"]
