"""Database URLs: what is understood is shown without its secrets, all else is not shown at all."""

import re

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, event

from pipeline.cli.output import exit_code
from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.postgres.connections import connect
from pipeline.postgres.engines import create_engine
from pipeline.postgres.reconnect import is_temporary
from pipeline.postgres.urls import libpq_url, shown_url, without_password

SECRET = re.compile("s3|cr3t")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3@cr3t@h:5432/x",
        "postgresql://u:s3/cr3t@h/x",
        "postgresql://u:s3?cr3t@h/x",
        "postgresql://u:s3#cr3t@h/x",
        "postgresql://u:s3 cr3t@h/x",
        "postgresql://u:s3%zzcr3t@h/x",
        "postgresql://u:s3cr3t/x",
        "postgresql://h/x?password=s3@cr3t",
        "postgresql://h/x?password=s3#cr3t",
        "postgresql://h/x?password=s3&cr3t",
        "postgresql://h/x?password=s3=cr3t",
        "postgresql://u:s3cr3t@[::1/x",
        "postgresql://u:s3cr3t@h:notaport/x",
        "postgresql://u:s3cr3t@h:65536/x",
        "postgresql://u:s3cr3t@h/x?application_name=\udcff",
        "POSTGRESQL://u:s3cr3t@h/x",
        "postgresql:u:s3cr3t@h/x",
        "mysql://u:s3cr3t@h/x",
        "host=h password=s3cr3t://x",
        "s3cr3t",
    ],
)
def test_a_malformed_url_is_refused_in_one_line_with_nothing_of_it(url: str) -> None:
    for use in (connect, shown_url, without_password):
        with pytest.raises(ConfigurationError, match="postgresql://user:password@host:5432") as got:
            use(url)
        assert not SECRET.search(str(got.value))
        assert len(str(got.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgres://u:s3%40cr3t@h:5432/x", "postgresql://u:***@h:5432/x"),
        ("postgresql+psycopg://u@h/x?sslmode=require", "postgresql://u@h/x?sslmode=require"),
        ("postgresql:///x?host=/run/a%40b&password=s3cr3t", None),
        ("postgresql:///x?host=/a%20folder", "postgresql:///x?host=/a%20folder"),
        ("postgresql://u:s3cr3t@[::1]:1,two:2/x", "postgresql://u:***@[::1]:1,two:2/x"),
        ("postgresql://h/x?sslpassword=s3cr3t", "postgresql://h/x?sslpassword=***"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str | None) -> None:
    expected = shown or "postgresql:///x?host=/run/a%40b&password=***"
    assert shown_url(url) == expected
    assert libpq_url(libpq_url(url)) == libpq_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cr3t@127.0.0.1:1/x",
        "postgresql://u:s3cr3t@h..x/x",
    ],
)
def test_what_cannot_be_connected_to_is_an_error_of_ours(url: str) -> None:
    with pytest.raises(DatabaseError) as got:
        connect(url)
    assert exit_code(got.value) == (75 if ":1/" in url else 1)
    assert "u:***@" in str(got.value)
    assert not SECRET.search(str(got.value))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cr3t@127.0.0.1:1/x?sslmode=nonsense",
        "postgresql://u:s3cr3t@127.0.0.1:1/x?channel_binding=nonsense",
        "postgresql://u:s3cr3t@127.0.0.1:1/x?target_session_attrs=nonsense",
        "postgresql://u:s3cr3t@127.0.0.1:1/x?ssl_min_protocol_version=nonsense",
        "postgresql://u:s3cr3t@127.0.0.1:1/x?keepalives=nonsense",
        "postgresql://u:s3cr3t@127.0.0.1/x?port=1,2",
        "postgresql://u:s3cr3t@127.0.0.1/x?port=0",
        "postgresql://u:s3cr3t@a,b,c/x?hostaddr=127.0.0.1",
    ],
)
def test_an_option_that_libpq_refuses_is_wrong_for_good(url: str) -> None:
    with pytest.raises(ConfigurationError) as got:
        connect(url)
    assert exit_code(got.value) == 1
    assert "u:***@" in str(got.value)
    assert not SECRET.search(str(got.value))
    with pytest.raises(psycopg.OperationalError) as raw:
        psycopg.connect(libpq_url(url))
    assert not is_temporary(raw.value)  # as an engine has it


@pytest.mark.parametrize(
    ("written", "means"),
    [
        (URL.create("postgresql+psycopg", "u", "a b+c%40@/?#%", "h", 5432, "x"),
         {"user": "u", "password": "a b+c%40@/?#%", "host": "h", "port": "5432", "dbname": "x"}),
        (URL.create("postgresql+psycopg2", "u u", host="h", database="x"),
         {"user": "u u", "host": "h", "dbname": "x"}),
        (URL.create("postgresql+asyncpg", host="::1", database="x", query={"ssl": "require"}),
         {"host": "::1", "dbname": "x", "sslmode": "require"}),
        (URL.create("postgresql+pg8000", host="h", database="a b"), {"host": "h", "dbname": "a b"}),
        (URL.create("postgresql+psycopg_async", host="h"), {"host": "h"}),
        (URL.create("postgresql+psycopg", database="x", query={
            "host": "/run/a b", "application_name": "my app+x", "options": "-c search_path=app"}),
         {"dbname": "x", "host": "/run/a b", "application_name": "my app+x",
          "options": "-c search_path=app"}),
        (URL.create("postgresql+psycopg", database="x", query={"host": ("a:5432", "b")}),
         {"dbname": "x", "host": "a,b", "port": "5432,"}),
        (URL.create("postgresql+psycopg", database="x", query={"host": "a,b", "port": "1,2"}),
         {"dbname": "x", "host": "a,b", "port": "1,2"}),
        # Of those who write no driver libpq is right, but where nothing it could mean would work.
        ("postgresql://h/x?application_name=a+b&options=-c+search_path%3Dapp+-c+a.b%3D1",
         {"host": "h", "dbname": "x", "application_name": "a+b",
          "options": "-c search_path=app -c a.b=1"}),
        ("postgres://a:1,b:2/x?target_session_attrs=primary",
         {"host": "a,b", "port": "1,2", "dbname": "x", "target_session_attrs": "primary"}),
        ("postgresql://h/x?ssl=true", {"host": "h", "dbname": "x", "sslmode": "require"}),
        ("postgresql://%2Frun%2Fa%20b/x", {"host": "/run/a b", "dbname": "x"}),
    ],
    ids=str,
)  # fmt: skip
def test_a_url_means_the_same_to_psycopg_and_to_an_engine(
    written: URL | str, means: dict[str, str]
) -> None:
    url = written if isinstance(written, str) else written.render_as_string(hide_password=False)
    assert conninfo_to_dict(libpq_url(url)) == means
    assert libpq_url(libpq_url(url)) == libpq_url(url)
    _, options = create_engine(url).dialect.create_connect_args(create_engine(url).url)
    asked = given_to_psycopg(url)
    assert {key: asked.get(key) for key in means if key != "application_name"} == {
        key: value for key, value in means.items() if key != "application_name"
    }
    assert set(options) <= {"dbname", "context"}
    assert SECRET.search(shown_url(url)) is None
    visible, password = without_password(url)
    assert password == means.get("password")
    assert conninfo_to_dict(visible) == {k: v for k, v in means.items() if k != "password"}


def given_to_psycopg(url: str) -> dict[str, object]:
    """What the driver is given when the engine connects."""
    engine, given = create_engine(url), {}

    @event.listens_for(engine, "do_connect")
    def _(dialect: object, record: object, args: list[object], options: dict[str, object]) -> None:
        given.update(options)
        raise DatabaseError("enough is known")

    with pytest.raises(DatabaseError):
        engine.connect()
    return given


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("postgresql+asyncpg://u:s3@h/x?prepared_statement_cache_size=0", "SQLAlchemy's asyncpg"),
        (
            "postgresql://u:s3@h/x?schema=public",
            "the option schema in the database URL is Prisma's",
        ),
        ("postgresql://u:s3@h/x?currentSchema=app", "JDBC's"),
    ],
)
def test_an_option_of_another_program_is_named(url: str, names: str) -> None:
    with pytest.raises(ConfigurationError, match=names) as got:
        libpq_url(url)
    assert not SECRET.search(str(got.value))
