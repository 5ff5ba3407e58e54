"""Two-phase commit and the isolation that a database has by default."""

import collections
import contextlib
import threading

import psycopg
import pytest

from pipeline.errors import DatabaseError
from pipeline.postgres import migrate, table_locks
from pipeline.postgres.connections import connect
from pipeline.postgres.embedded import EmbeddedServer
from tests.integration.test_attacks_by_waiting import database_of
from tests.integration.test_serve import serving


def test_a_prepared_transaction_in_the_way_is_named_with_its_cure(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_locks, "PATIENCE_SECONDS", 0.5)
    with database_of(server, max_prepared_transactions=5) as url, connect(url) as application:
        application.execute("UPDATE installed_sql SET sha256 = 'of an older release'")
        application.execute("BEGIN")
        application.execute("SELECT count(*) FROM item_catalog")
        application.execute("PREPARE TRANSACTION 'left'")
        with pytest.raises(DatabaseError, match="ROLLBACK PREPARED 'left'"):
            migrate.upgrade(url, roles=False, old_pgvector=True)
        application.execute("ROLLBACK PREPARED 'left'")


@pytest.mark.parametrize(
    "question",
    ["ask_for_query_embeddings(ARRAY['a red bicycle'])", "ask_for_file_embedding('an image')"],
)
def test_a_transaction_that_asked_for_a_vector_is_prepared(
    server: EmbeddedServer, question: str
) -> None:
    with (
        database_of(server, max_prepared_transactions=5) as url,
        serving(url),
        connect(url) as application,
    ):
        application.execute("BEGIN")
        application.execute(f"SELECT {question}".encode())
        application.execute("PREPARE TRANSACTION 'asks'")
        application.execute("COMMIT PREPARED 'asks'")


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
def test_new_texts_are_answered_whatever_the_databases_isolation(
    url: str, dblink: None, level: str
) -> None:
    with connect(url) as admin:
        admin.execute(
            f"ALTER DATABASE {admin.info.dbname} SET default_transaction_isolation = "
            f"'{level}'".encode()
        )
    seen: collections.Counter[str] = collections.Counter()

    def ask(mine: int) -> None:
        with contextlib.closing(psycopg.connect(url, autocommit=True)) as own:
            for n in range(8):
                try:
                    own.execute("SELECT text_embedding(%s, '60 s')", (f"text {mine} {n}",))
                    seen["answered"] += 1
                except psycopg.Error as exc:
                    seen[f"{exc.sqlstate}: {exc}"] += 1

    with serving(url):
        threads = [threading.Thread(target=ask, args=(mine,)) for mine in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(300)
    assert dict(seen) == {"answered": 48}
