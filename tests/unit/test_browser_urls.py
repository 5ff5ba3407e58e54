"""URLs mean what they mean to a browser: the same host, port and target, or a refusal.

The readings were taken from one, by tools/browser_urls.py.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import PermanentRowError, RowError
from pipeline.loaders import Loader, LoadOptions
from pipeline.loaders.urls import parse_url
from tests.helpers.http_server import BODY, Server, serving

FACTS = Path(__file__).parent / "data" / "browser_urls.json"
READINGS: list[dict[str, Any]] = json.loads(FACTS.read_text(encoding="utf-8"))
TAKEN = [r for r in READINGS if r["read"] is not None]
# What a browser takes and we do not, by a part of the reason that we give.
REFUSED = {"user name", "port 0", "host name", "expected http(s)"}
# What a name cannot have: Chromium takes a blank there for %20, which the standard does not.
NO_NAME = {"http://exa mple.com/", "http://exa%20mple.com/"}


def ids(reading: dict[str, Any]) -> str:
    return ascii(reading["text"])[1:-1][:40] + (" from base" if reading["base"] else "")


def target_of(reading: dict[str, Any]) -> str:
    """As the standard has it: Chromium writes a bar in a path as %7C, Firefox does not."""
    path, mark, query = reading["read"]["target"].partition("?")
    return path.replace("%7C", "|") + mark + query


def parsed(reading: dict[str, Any]) -> Any:
    base = reading["base"]
    return parse_url(reading["text"], *([parse_url(base)] if base else []))


def refusal_of(reading: dict[str, Any]) -> str | None:
    try:
        parsed(reading)
    except PermanentRowError as exc:
        return exc.message
    return None


@pytest.mark.parametrize("reading", TAKEN, ids=ids)
def test_a_url_is_read_as_a_browser_reads_it_or_refused(reading: dict[str, Any]) -> None:
    if (refusal := refusal_of(reading)) is not None:
        assert reading["text"] in NO_NAME or any(why in refusal for why in REFUSED), refusal
        return
    browser, url = reading["read"], parsed(reading)
    default = {"http": 80, "https": 443}[browser["scheme"]]
    assert (url.scheme, url.port, url.target) == (
        browser["scheme"],
        int(browser["port"] or default),
        target_of(reading),
    )
    assert url.host == browser["host"].strip("[]").removesuffix(".")


def test_what_a_browser_takes_is_rarely_refused() -> None:
    refused = {r["text"] for r in TAKEN if refusal_of(r) is not None}
    plain = {r["text"] for r in TAKEN if r["read"]["host"] == "example.com"}
    plain -= {r["text"] for r in TAKEN if r["read"]["user"] or r["read"]["port"] == "0"}
    assert len(plain) > 150
    assert refused & plain == set()


@pytest.mark.parametrize("reading", [r for r in READINGS if r["read"] is None], ids=ids)
def test_what_a_browser_refuses_is_refused(reading: dict[str, Any]) -> None:
    with pytest.raises(RowError) as failure:
        parsed(reading)
    assert failure.value.code in {"bad_reference", "unsupported_scheme"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.mark.parametrize(
    "reading",
    [
        r
        for r in TAKEN
        if r["text"].startswith("http://example.com") and not r["read"]["port"] and not r["base"]
        and r["read"]["host"] == "example.com" and not r["read"]["user"]
        and not r["text"].startswith("http://example.com:")
    ],
    ids=ids,
)  # fmt: skip
def test_what_is_asked_for_is_what_was_read(server: Server, reading: dict[str, Any]) -> None:
    with Loader(LoadOptions(http_allow_private=("127.0.0.0/8",))) as loader:
        server.requests.clear()
        url = reading["text"].replace("example.com", f"127.0.0.1:{server.port}", 1)
        with pytest.raises(PermanentRowError, match="404"):
            loader.load(url)
    assert server.paths() == [target_of(reading)]


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/photo;v=2", "/photo;v=2"),
        ("my photo.jpg?a b", "/my%20photo.jpg?a%20b"),
        ("\\photo;v=2#x y", "/photo;v=2"),
        ("../é.jpg", "/%C3%A9.jpg"),
        ("?v=2", "/redirect-to?v=2"),
    ],
)
def test_a_redirect_leads_where_a_browser_goes(server: Server, location: str, path: str) -> None:
    with Loader(LoadOptions(http_allow_private=("127.0.0.0/8",))) as loader:
        server.requests.clear()
        server.location = location.encode()
        with pytest.raises(PermanentRowError, match="404"):
            loader.load(server.url("/redirect-to"))
    assert server.paths() == ["/redirect-to", path]


def test_a_location_in_latin1_is_asked_for_as_its_bytes(server: Server) -> None:
    with Loader(LoadOptions(http_allow_private=("127.0.0.0/8",))) as loader:
        server.requests.clear()
        server.location = b"/caf\xe9"
        with pytest.raises(PermanentRowError, match="404"):
            loader.load(server.url("/redirect-to"))
    assert server.paths() == ["/redirect-to", "/caf%E9"]


def test_a_semicolon_in_a_path_is_part_of_it(server: Server) -> None:
    with Loader(LoadOptions(http_allow_private=("127.0.0.0/8",))) as loader:
        server.requests.clear()
        assert loader.load(server.url("/good?;v=2")).data == BODY
        with pytest.raises(PermanentRowError) as failure:
            loader.load(server.url("/good;v=2"))
        assert failure.value.code == "not_found"
    assert server.paths() == ["/good?;v=2", "/good;v=2"]
