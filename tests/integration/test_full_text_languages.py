"""Words are found in the language of the row, of the database, or as they are."""

import psycopg
import pytest

from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection
from pipeline.spaces import Space
from tests.integration.test_sql_functions import cache

TEXTS = {
    "de": "Die Häuser am Wasser",
    "de-AT": "Viele Häuser in Wien",
    "german": "Unsere Häuser",
    "fr": "Les chevaux blancs",
    "EN_us": "Running horses",
    "tlh": "nuqneH horses",
    "xx": "hors",  # which is what English makes of a horse
    "": "two horses walking",
    None: "our horses walked",
}


@pytest.fixture
def filled(connection: Connection, space: Space) -> Connection:
    for language, text in TEXTS.items():
        connection.execute(
            "INSERT INTO source_items (source, source_key, modality, content_ref, metadata) "
            "VALUES ('t', %s, 'text', %s, "
            "jsonb_strip_nulls(jsonb_build_object('language', %s::text)))",
            (str(language), text, language),
        )
    connection.execute(
        "INSERT INTO multimodal_items (source_id, modality, content_ref, metadata, space_id, "
        "content_sha256, embedding) SELECT id, modality, content_ref, metadata, %s, '', "
        "'[1,0,0,0,0,0,0,0]' FROM source_items",
        (space.id,),
    )
    return connection


def found(connection: Connection, words: str) -> set[str]:
    """The keys of the source items with these words, as hybrid_search finds them."""
    known = connection.execute("SELECT FROM query_embeddings WHERE query = %s", (words,)).fetchone()
    if known is None:
        cache(connection, _space(connection), words)
    rows = connection.execute(
        "SELECT s.source_key FROM hybrid_search(%s) AS h JOIN source_items AS s "
        "ON s.id = h.source_id WHERE h.text_rank IS NOT NULL",
        (words,),
    ).fetchall()
    return {key for (key,) in rows}


def _space(connection: Connection) -> Space:
    from pipeline import spaces

    return spaces.active_space(connection)


def test_each_row_is_searched_in_its_own_language(filled: Connection) -> None:
    assert found(filled, "haus") == {"de", "de-AT", "german"}  # Häuser, in German alone
    assert found(filled, "cheval") == {"fr"}
    assert found(filled, "horse") == {"EN_us", "", "None"}  # in English, the database's own
    assert found(filled, "horses") == {"EN_us", "", "None", "tlh"}  # simple: the very word
    assert found(filled, "die") == set()  # a word of no weight in German


def test_a_database_has_a_language_for_the_rows_that_say_none(filled: Connection, url: str) -> None:
    filled.execute("INSERT INTO source_items (source, source_key, modality, content_ref) "
                   "VALUES ('t', 'new', 'text', 'Neue Häuser')")  # fmt: skip
    filled.execute(
        "INSERT INTO multimodal_items (source_id, modality, content_ref, space_id, "
        "content_sha256, embedding) SELECT id, modality, content_ref, 1, '', "
        "'[1,0,0,0,0,0,0,0]' FROM source_items WHERE source_key = 'new'"
    )
    assert "new" not in found(filled, "haus")
    filled.execute("CALL configure_text_search('german')")
    assert "new" in found(filled, "haus")  # rows from before too
    filled.execute("UPDATE installed_sql SET sha256 = 'another'")
    migrate.upgrade(url, old_pgvector=True)
    assert "new" in found(filled, "haus")  # as an upgrade leaves it
    filled.execute("CALL configure_text_search('simple')")
    assert found(filled, "haus") == {"de", "de-AT", "german"}
    with pytest.raises(psycopg.Error, match="config is null"):
        filled.execute("CALL configure_text_search(NULL)")
    with pytest.raises(psycopg.Error, match="klingon"):
        filled.execute("CALL configure_text_search('klingon')")


@pytest.mark.parametrize("language", ["de", "", None])
def test_the_index_serves_every_language(filled: Connection, language: str | None) -> None:
    filled.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref, metadata) "
        "SELECT 'many', n::text, 'text', 'filler ' || n, "
        "jsonb_strip_nulls(jsonb_build_object('language', %s::text)) "
        "FROM generate_series(1, 5000) AS n",
        (language,),
    )
    filled.execute("ANALYZE source_items")
    plan = filled.execute(
        "EXPLAIN SELECT id FROM source_items WHERE item_document(modality, content_ref, metadata) "
        "@@ words_of_any('haus') AND item_document(modality, content_ref, metadata) @@ "
        "words_of('haus', metadata)"
    ).fetchall()
    assert any("source_items_document" in row[0] for row in plan), plan


def test_only_the_owner_sets_it(filled: Connection) -> None:
    filled.execute("SET ROLE pipeline_analyst")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        filled.execute("CALL configure_text_search('german')")
