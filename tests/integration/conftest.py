"""What the tests of attached tables share."""

from collections.abc import Iterator

import pytest

from pipeline.postgres.connections import Connection
from tests.helpers.attached import shopkeeper


@pytest.fixture
def shop(connection: Connection, url: str) -> Iterator[Connection]:
    """The login of the shop's owner, whose table ``shop.products`` is not attached yet."""
    with shopkeeper(connection, url) as own:
        yield own
