"""What a login that may create in our schema puts beside our functions, under their names.

PostgreSQL prefers a function of just the types that are given, so each call within ours gives just
the types that are declared, and all of them: none is converted, none is left to its default.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pipeline.postgres.connections import Connection, connect
from pipeline.spaces import Space
from tests.helpers.traps import set_traps
from tests.integration.test_attacks_by_functions import items
from tests.integration.test_serve import serving

__all__ = ["items"]
SQL = Path(__file__).parents[2] / "sql"

# With all arguments and their types, as a client must who may be led elsewhere.
CALLS = (
    "SELECT public.text_embedding('new'::text, interval '10 s')",
    "SELECT public.text_embedding('new'::text, interval '10 s')",  # from the cache
    "SELECT public.text_embeddings(ARRAY['new', 'newer'], interval '10 s')",
    "SELECT public.text_embedding('old'::text, interval '10 s')",  # notes that it is used
    "SELECT public.ask_for_query_embeddings(ARRAY['asked'])",
    "CALL public.embed_query('called'::text, interval '10 s')",
    "SELECT public.search_items('new'::text, NULL::public.halfvec, NULL::bigint, NULL::text[], 1, "
    "'{\"a\": 1}'::jsonb, NULL::real, 'calibrated'::text, NULL::text)",
    "SELECT public.search_items(NULL::text, NULL::public.halfvec, 1::bigint, NULL::text[], 1, "
    "'{}'::jsonb, 0.1::real, 'quota'::text, NULL::text)",
    "SELECT public.hybrid_search('hybrid'::text, NULL::text[], 1, '{}'::jsonb, 1::real, 1::real, "
    "10, 'raw'::text)",
    "SELECT public.classify_items(ARRAY['cat'], 'a photo of a {}'::text, NULL::bigint[], "
    "'text'::text, '{}'::jsonb)",
    "SELECT public.near_duplicates(0.5::real, 'text'::text, '{}'::jsonb, 10)",
    "SELECT public.blend_embeddings(ARRAY[public.item_embedding(1::bigint)], ARRAY[1::real])",
    "SELECT public.refresh_space_statistics(NULL::text)",
    "SELECT public.missed_changes(0::bigint, 100::bigint)",
    "SELECT public.remove_gone(ARRAY[99::bigint])",
    "SELECT pg_catalog.count(*) FROM public.ingest_status",
    "SELECT pg_catalog.count(*) FROM public.space_status",
    "SELECT pg_catalog.count(*) FROM public.item_catalog",
    "INSERT INTO public.source_items (source, source_key, modality, content_ref) "
    "VALUES ('s', 'k', 'text', 'x')",
    "UPDATE public.source_items SET content_ref = 'y', modality = 'image' WHERE source_key = 'k'",
    "UPDATE public.source_items SET id = DEFAULT WHERE source_key = 'k'",
    "DELETE FROM public.source_items WHERE source_key = 'k'",
    "TRUNCATE public.source_items",
)


@pytest.fixture
def client(url: str) -> Iterator[Connection]:
    """Whoever names all in full; bare names are PostgreSQL's."""
    with connect(url, schema=None) as connection:
        yield connection


@pytest.mark.usefixtures("items")
@pytest.mark.parametrize("isolation", ["read committed", "serializable"])
def test_no_function_of_ours_takes_anothers_for_one(
    url: str, connection: Connection, client: Connection, space: Space, isolation: str
) -> None:
    connection.execute(
        "INSERT INTO query_embeddings (space_id, query_sha256, query, embedding, embedded_at, "
        "last_used_at) SELECT %s, query_key('old'), 'old', embedding, now(), now() - "
        "interval '2 hours' FROM multimodal_items LIMIT 1",
        (space.id,),
    )
    traps = set_traps(connection, "public", of="public")
    client.execute(
        f"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {isolation}".encode()
    )
    with serving(url):
        for call in CALLS:
            try:
                client.execute(call.encode())
            except psycopg.Error as exc:
                pytest.fail(f"{call}: {exc}, {traps.sprung(client)}")
            assert traps.sprung(client) is None, call
    # Whose errors are nobody's to see.
    assert connection.execute(
        "SELECT last_used_at > now() - interval '1 hour' FROM query_embeddings WHERE query = 'old'"
    ).fetchone() == (True,)


def test_no_function_of_ours_is_called_by_the_names_of_some_arguments() -> None:
    """One that has just these, and no others, would be the better match."""
    found = {
        file.name: calls
        for file in sorted(SQL.glob("**/*.sql"))
        if (calls := re.findall(r"@schema@\.\w+\([^()]*=>", file.read_text("utf-8")))
    }
    assert found == {}


def test_nor_does_one_that_acts_for_its_owner_without_a_loop_back(
    url: str, connection: Connection, client: Connection
) -> None:
    connection.execute("DROP EXTENSION dblink")
    traps = set_traps(connection, "public", of="public")
    with serving(url):
        client.execute("SELECT public.ask_for_query_embeddings(ARRAY['asked'])")
    assert traps.sprung(client) is None
