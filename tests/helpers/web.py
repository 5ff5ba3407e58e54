"""The pages over a database, in this process; and what a page says, read from its HTML."""

import html
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from pipeline.postgres.database import Database
from pipeline.postgres.pool import DatabasePool
from pipeline.postgres.reading import Reading
from pipeline.settings import Settings
from pipeline.web.application import application
from pipeline.web.finding import Finder
from pipeline.web.images import Cache, Images
from pipeline.web.options import WebOptions
from pipeline.web.parts import Parts


@contextmanager
def pages(
    settings: Settings,
    *,
    cache: Path | None = None,
    cache_bytes: int = 2**28,
    loads: bool = False,
    roots: Sequence[Path] = (),
    **options: Any,
) -> Iterator[TestClient]:
    """A browser without JavaScript that asks the pages by 127.0.0.1."""
    assert settings.database_url is not None
    pool = DatabasePool(Database(settings.database_url.get_secret_value()))
    reading = Reading(pool)
    chosen = replace(WebOptions.of(settings, hosts=()), **options)
    images = Images(settings, lambda: roots, Cache(cache, cache_bytes))
    own = Reading(pool, lowers=False) if chosen.allows_writes else None
    app = application(
        Parts(chosen, reading, Finder(reading, chosen.read, loads=loads), images, own)
    )
    client = TestClient(
        app,
        base_url="http://127.0.0.1:8765",
        headers={"Accept": "text/html"},
        raise_server_exceptions=False,
    )
    try:
        yield client
    finally:
        client.close()
        images.close()
        pool.close()


def items(page: str) -> list[int]:
    """The numbers of the items that a page shows, in its order."""
    return [int(n) for n in re.findall(r'data-more="[^"]*\?item=(\d+)"', page)]


def shown_sql(page: str) -> str:
    """The statement that a page shows."""
    found = re.search(r"<pre[^>]*><code>(.*?)</code>", page, re.DOTALL)
    assert found, page
    return html.unescape(found[1])


def next_page(page: str) -> str | None:
    """Where its further rows are."""
    found = re.search(r'<li class="more"[^>]*>\s*<a href="([^"]+)"', page)
    return html.unescape(found[1]) if found else None


def words(page: str) -> str:
    """What a page says, without its marks."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())
