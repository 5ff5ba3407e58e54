"""Whatever the settings of the role and the database: our commands work, or say what to do."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from pipeline import spaces
from pipeline.cli import main
from pipeline.errors import DatabaseError
from pipeline.postgres import migrate, table_locks
from pipeline.postgres.connections import connect, libpq_url
from pipeline.postgres.database import Database
from pipeline.postgres.reconnect import Outage, ReconnectingConnection
from pipeline.postgres.session import NEEDED
from pipeline.spaces import probes
from tests.helpers.fakes import FAKE_FAMILY, FakeEmbedder

TEXTS = ["Zürich bei Nacht", "a red bicycle"]

# Setting -> what somebody may have set for the database; a colon before a second setting.
SETTINGS = {
    "German dates": {"datestyle": "German"},
    "SQL dates": {"datestyle": "SQL, DMY"},
    "dates as they were": {"datestyle": "Postgres"},
    "intervals by the standard": {"intervalstyle": "sql_standard"},
    "ISO intervals": {"intervalstyle": "iso_8601"},
    "Latin clients": {"client_encoding": "LATIN1"},
    "few digits": {"extra_float_digits": "-15"},
    "bytes escaped": {"bytea_output": "escape"},
    "another time zone": {"timezone": "Pacific/Kiritimati"},
    "backslashes as escapes": {"standard_conforming_strings": "off"},
    "every name quoted": {"quote_all_identifiers": "on"},
    "no NULL in arrays": {"array_nulls": "off"},
    "serializable": {"default_transaction_isolation": "serializable"},
    "repeatable read": {"default_transaction_isolation": "repeatable read"},
    "deferrable": {"default_transaction_deferrable": "on"},
    "a search path of the application's": {"search_path": "app"},
    "a search path that leads nowhere": {"search_path": "nowhere"},
    "a search path without a schema": {"search_path": ""},
    "statement_timeout": {"statement_timeout": "400ms"},
    "lock_timeout": {"lock_timeout": "50ms"},
    "idle_in_transaction_session_timeout": {"idle_in_transaction_session_timeout": "50ms"},
    "idle_session_timeout": {"idle_session_timeout": "400ms"},
    "transaction_timeout": {"transaction_timeout": "400ms"},
    "no statistics of activity": {"track_activities": "off"},
    "errors alone": {"client_min_messages": "error"},
    "no row security": {"row_security": "off"},
}


SECONDS = 0.6


def hold_up(url: str) -> None:
    """Whatever is written takes longer than the timeouts, and so does the model, so that
    connections lie idle meanwhile."""
    FAKE_FAMILY.make = lambda dimensions: FakeEmbedder(
        dimensions, before=lambda _: time.sleep(SECONDS)
    )
    with connect(url) as connection:
        connection.execute(
            """
            CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN PERFORM pg_catalog.pg_sleep(0.6); RETURN NULL; END';
            CREATE TRIGGER slow AFTER INSERT ON source_items EXECUTE FUNCTION slow();
            CREATE TRIGGER slow AFTER INSERT ON multimodal_items_text_s1 EXECUTE FUNCTION slow();
            """
        )


@pytest.fixture(autouse=True)
def model() -> Iterator[None]:
    yield
    FAKE_FAMILY.make = FakeEmbedder


@pytest.fixture
def probed_url(url: str) -> str:
    with connect(url) as connection:
        probes.store(connection, spaces.active_space(connection), FakeEmbedder())
    return url


def set_for_database(url: str, settings: dict[str, str]) -> None:
    with psycopg.connect(libpq_url(url), autocommit=True) as admin:
        for name, value in settings.items():
            admin.execute(
                sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                    sql.Identifier(admin.info.dbname), sql.Identifier(name), sql.Literal(value)
                )
            )


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    probed_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """``pipeline ARGUMENTS`` in this process: its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", probed_url)
    monkeypatch.setenv("PIPELINE_DEVICE", "cpu")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@contextlib.contextmanager
def locked_for_a_while(url: str) -> Iterator[None]:
    """An application's transaction is in the way of `add`, and ends by itself."""
    with psycopg.connect(libpq_url(url)) as application:
        application.execute("LOCK TABLE public.source_items IN EXCLUSIVE MODE")
        timer = threading.Timer(SECONDS, application.rollback)
        timer.start()
        yield
        timer.join()


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_add_ingest_search_and_doctor_work(
    url: str, command: Command, settings: dict[str, str]
) -> None:
    if any(name.endswith("_timeout") for name in settings):
        hold_up(url)
    set_for_database(url, settings)
    with locked_for_a_while(url) if "lock_timeout" in settings else contextlib.nullcontext():
        code, _, err = command("add", *(f"--text={text}" for text in TEXTS))
    assert code == 0, err
    code, out, err = command("ingest", "--once", "--json")
    assert (code, json.loads(out)["done"]) == (0, 2), err
    code, out, err = command("search", TEXTS[0], "--json")
    assert code == 0, err
    assert json.loads(out)[0]["content_ref"] == TEXTS[0]
    assert json.loads(out)[0]["similarity"] == pytest.approx(1, abs=1e-3)
    code, out, err = command("doctor")
    assert code == 0, out + err
    with connect(url) as connection:
        rows = connection.execute("SELECT content_ref FROM public.source_items")
        assert {ref for (ref,) in rows} == set(TEXTS)


def test_what_we_need_is_set_on_every_connection_of_ours(url: str) -> None:
    """An index may take hours to build, on one of these."""
    set_for_database(
        url,
        {name: "1h" for name in NEEDED if name.endswith("_timeout")}
        | {"search_path": "app", "datestyle": "German", "intervalstyle": "iso_8601"},
    )
    database = Database(url)
    lasting = ReconnectingConnection(url, "pipeline test", Outage(1, threading.Event()))
    shown = "SELECT current_setting(name) FROM unnest(%s::text[]) AS name"
    for connection in (database.connect(), database.open(), connect(url)):
        with connection:
            rows = connection.execute(shown, ([*NEEDED, "search_path"],)).fetchall()
        assert [value for (value,) in rows] == [*WANTED, "public, pg_temp"]
    rows = lasting.run(lambda c: c.execute(shown, (list(NEEDED),)).fetchall())
    assert [value for (value,) in rows] == WANTED
    lasting.close()
    with connect(url, schema=None, keeps_path=True) as foreign:  # an import's
        assert foreign.execute("SHOW search_path").fetchone() == ("app",)
    with connect(url, schema=None) as elsewhere:
        assert elsewhere.execute("SHOW search_path").fetchone() == ("pg_catalog, pg_temp",)


WANTED = ["ISO, DMY" if name == "DateStyle" else value for name, value in NEEDED.items()]


def test_a_migration_waits_for_a_table_no_longer_than_its_role_says(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for the table behind it waits as long."""
    monkeypatch.setattr(table_locks, "PATIENCE_SECONDS", 0)
    migrate.downgrade(url, "pipeline_0006_installed_sql")
    set_for_database(url, {"lock_timeout": "200ms"})
    with psycopg.connect(libpq_url(url)) as application:
        application.execute("SELECT FROM public.query_embeddings, public.source_items")
        with pytest.raises(DatabaseError, match="did not get its locks"):
            migrate.upgrade(url)
    assert migrate.upgrade(url).installed


@pytest.mark.parametrize(("said", "kept"), [("0", "2s"), ("1min", "2s"), ("200ms", "200ms")])
def test_only_a_shorter_lock_timeout_of_the_role_stays(url: str, said: str, kept: str) -> None:
    with psycopg.connect(libpq_url(url)) as connection:
        connection.execute(f"SET lock_timeout = '{said}'".encode())
        table_locks.wait_shortly(connection)
        assert connection.execute("SHOW lock_timeout").fetchone() == (kept,)


# what stands: a database that takes no writes


def test_a_database_that_takes_no_writes_is_searched_and_examined(
    url: str, command: Command
) -> None:
    assert command("add", "--text=a boat")[0] == 0
    assert command("ingest", "--once")[0] == 0
    set_for_database(url, {"default_transaction_read_only": "on"})
    code, out, err = command("search", "a boat", "--json")
    assert (code, json.loads(out)[0]["content_ref"]) == (0, "a boat")
    assert "was embedded here, since the database takes no writes" in err
    code, out, err = command("doctor")
    assert code == 0, out + err
    for arguments in (["add", "--text=another"], ["ingest", "--once"]):
        code, out, err = command(*arguments)
        assert (code != 0, out) == (True, "")
        assert "read-only" in err
        assert "default_transaction_read_only" in err
        assert len(err.splitlines()) == 1
