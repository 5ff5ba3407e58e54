"""Database URLs: what is understood is shown without its secrets, all else is not shown at all."""

import re

import pytest

from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.postgres.connections import connect
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
        "postgresql://u:s3cr3t@127.0.0.1/x?sslmode=nonsense",
        "postgresql://u:s3cr3t@a,b,c/x?hostaddr=127.0.0.1",
    ],
)
def test_what_cannot_be_connected_to_is_an_error_of_ours(url: str) -> None:
    with pytest.raises(DatabaseError) as got:
        connect(url)
    assert "u:***@" in str(got.value)
    assert not SECRET.search(str(got.value))
