"""An index is built with the memory and the cores of the server's machine, as far as it tells."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline import spaces
from pipeline.postgres.connections import Connection, connect
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.spaces.index.resources import _count, build_resources
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.spaces import fill, second_space


def kilobytes(memory: str) -> int:
    assert memory.endswith("kB")
    return int(memory[:-2])


def test_a_graph_gets_the_memory_it_needs_and_every_core(
    connection: Connection, settings: Settings, space: Space
) -> None:
    add_texts(connection, [f"text {n}" for n in range(200)])
    fill(settings, space, FakeEmbedder())
    connection.execute("SET maintenance_work_mem = '64kB'")
    found = build_resources(connection, space, "text")
    assert found.maintenance_work_mem is not None
    # 200 nodes of 16 bytes of vector and 34 neighbours of 16 bytes, and what they stand in.
    assert 100 < kilobytes(found.maintenance_work_mem) < 400
    online = Path("/sys/devices/system/cpu/online").read_text()
    assert found.workers == _count(online) - 1


def test_what_the_server_gives_anyway_is_not_made_less(
    connection: Connection, space: Space
) -> None:
    assert build_resources(connection, space, "text").maintenance_work_mem is None


def test_a_role_that_may_not_see_the_machine_leaves_the_settings(
    url: str, connection: Connection, space: Space
) -> None:
    connection.execute("DROP ROLE IF EXISTS modest")
    connection.execute("CREATE ROLE modest LOGIN IN ROLE pipeline_ingest")
    try:
        with connect(url.replace("user=postgres", "user=modest")) as modest:
            found = build_resources(modest, space, "text")
    finally:
        connection.execute("DROP ROLE modest")
    assert (found.maintenance_work_mem, found.workers) == (None, None)


def test_pgvector_agrees_that_the_graph_fits(
    connection: Connection,
    settings: Settings,
    space: Space,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With the server's least setting it says in a notice that it does not."""
    second = second_space(connection, 256)
    add_texts(connection, [f"text {n}" for n in range(4000)])
    fill(settings.model_copy(update={"claim_size": 1000}), second, FakeEmbedder(256))

    def notices(memory: str | None) -> Sequence[str]:
        caplog.clear()
        connection.execute("SET maintenance_work_mem = '1MB'")
        spaces.build_indexes(connection, second, maintenance_memory=memory, parallel_workers=0)
        connection.execute(f"DROP INDEX {second.index_name('text')}")
        return [m for m in caplog.messages if "no longer fits" in m]

    assert len(notices("1MB")) == 1
    assert notices(None) == []


@pytest.mark.parametrize(("online", "cores"), [("0\n", 1), ("0-3,8", 5), ("0-1", 2), ("2,4-5", 3)])
def test_cores_are_counted_from_ranges(online: str, cores: int) -> None:
    assert _count(online) == cores
