"""Statistics of rows that are no longer there are taken anew by whoever comes by; and what retired
spaces cost is said, and ended where that is asked for."""

from pathlib import Path

import pytest

from pipeline import spaces
from pipeline.doctor.check import Check
from pipeline.doctor.examination import examine
from pipeline.ingest.run import ingest
from pipeline.postgres.chores import every
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.database import Database
from pipeline.settings import Settings
from pipeline.spaces import Space, probes
from pipeline.spaces.retirement import drop_retired
from pipeline.spaces.statistics import refresh_active, refresh_if_stale
from tests.helpers.command import Done, pipeline
from tests.helpers.databases import as_login
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.processes import wait_until
from tests.helpers.spaces import fill, second_space
from tests.integration.test_serve import serving


@pytest.fixture
def filled(settings: Settings, connection: Connection, space: Space) -> Space:
    """100 items, and the statistics of them."""
    add_texts(connection, [f"text {n}" for n in range(100)])
    fill(settings, space, FakeEmbedder())
    probes.store(connection, space, FakeEmbedder())
    connection.execute("SELECT refresh_space_statistics()")
    return space


def known(connection: Connection) -> int:
    (count,) = connection.execute(
        "SELECT item_count FROM space_modalities AS m JOIN embedding_spaces AS e "
        "ON e.id = m.space_id WHERE e.name = 'fake' AND modality = 'text'"
    ).fetchone() or (None,)
    assert count is not None
    return int(count)


def mean_is_that_of_the_items(connection: Connection) -> bool:
    (same,) = connection.execute(
        "SELECT l2_distance(mean::vector, (SELECT avg(embedding::vector) FROM multimodal_items)) "
        "< 0.001 FROM space_modalities WHERE modality = 'text' ORDER BY space_id LIMIT 1"
    ).fetchone() or (False,)
    return bool(same)


def delete(connection: Connection, count: int) -> None:
    connection.execute("DELETE FROM source_items WHERE id <= %s", (count,))


def test_an_ingest_with_nothing_due_notices_that_rows_are_gone(
    settings: Settings, connection: Connection, filled: Space
) -> None:
    delete(connection, 60)
    assert not mean_is_that_of_the_items(connection)
    assert ingest(settings).done == 0
    assert known(connection) == 40
    assert mean_is_that_of_the_items(connection)


def test_less_than_the_stated_share_is_left_for_a_day(
    settings: Settings, connection: Connection, filled: Space
) -> None:
    delete(connection, 5)
    ingest(settings)
    assert known(connection) == 100
    connection.execute("UPDATE space_modalities SET measured_at = now() - interval '25 h'")
    ingest(settings)
    assert known(connection) == 95


def test_so_does_the_command(
    url: str, tmp_path: Path, connection: Connection, filled: Space
) -> None:
    delete(connection, 60)
    assert pipeline(tmp_path, "ingest", "--once", DATABASE_URL=url).returncode == 0
    assert known(connection) == 40


def test_serve_notices_it(url: str, connection: Connection, filled: Space) -> None:

    delete(connection, 60)
    with serving(url), every(0.1, Database(url), "statistics", refresh_active):
        wait_until(lambda: known(connection) == 40, "the first look")
        delete(connection, 80)
        wait_until(lambda: known(connection) == 20, "the next look")


def test_a_chore_that_fails_is_tried_again(
    url: str, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:

    asked: list[int] = []

    def chore(own: Connection) -> None:
        asked.append(own.info.backend_pid)
        if len(asked) < 3:
            own.execute("SELECT 1 / 0")

    with every(0.01, Database(url), "counting", chore):
        wait_until(lambda: len(asked) > 3, "the chore to go on")
    assert len(set(asked)) == len(asked)  # each on a connection of its own, closed after it
    said = [r for r in caplog.records if r.levelname == "WARNING"]
    assert [r.getMessage() for r in said] == ["counting, later: division by zero"]


def test_a_login_that_may_not_take_them_anew_goes_on(
    url: str, connection: Connection, filled: Space
) -> None:

    delete(connection, 60)
    with as_login(connection, url, "reader", "LOGIN IN ROLE pipeline_analyst") as own:
        assert not refresh_if_stale(own, spaces.active_space(own))
    assert known(connection) == 100


def checks(settings: Settings, name: str) -> list[Check]:
    return [check for check in examine(settings) if check.name == name]


def test_the_doctor_says_how_far_they_are_off(
    settings: Settings, connection: Connection, filled: Space
) -> None:
    delete(connection, 4)
    assert [check.ok for check in checks(settings, "statistics text")] == [True]
    delete(connection, 60)
    (check,) = checks(settings, "statistics text")
    assert not check.ok
    assert "of 100 items, now 40" in check.found
    assert "beyond 5% the next `pipeline ingest` takes them" in check.found


# Retired spaces.


@pytest.fixture
def retired(settings: Settings, connection: Connection, filled: Space) -> Space:
    """The first space, after another one has become active and a row has changed."""
    second = second_space(connection)
    fill(settings, second, FakeEmbedder(12))
    spaces.build_indexes(connection, second)
    spaces.activate(connection, second)
    connection.execute("UPDATE source_items SET content_ref = content_ref || '!' WHERE id <= 3")
    return filled


def retire(connection: Connection, days: int) -> None:
    connection.execute(
        "UPDATE embedding_spaces SET retired_at = now() - make_interval(days => %s) "
        "WHERE state = 'retired'",
        (days,),
    )


def test_the_doctor_says_how_many_jobs_a_retired_space_has_and_what_to_do(
    settings: Settings, connection: Connection, retired: Space
) -> None:
    (check,) = checks(settings, "retired fake")
    assert check.ok  # it may yet be rolled back to
    assert check.found.startswith("3 jobs wait since ")
    assert "pipeline ingest --once --space fake" in check.found
    retire(connection, 8)
    (check,) = checks(settings, "retired fake")
    assert not check.ok
    assert check.fix.startswith("pipeline space drop fake --yes")
    connection.execute("DELETE FROM ingest_jobs")
    assert [check.ok for check in checks(settings, "retired fake")] == [True]


def names(connection: Connection) -> list[str]:
    return [space.name for space in spaces.list_spaces(connection)]


def ingest_retired(url: str, tmp_path: Path, days: int) -> Done:
    """With nothing due for the active space, so that no model is loaded."""
    with connect(url) as own:
        own.execute(
            "DELETE FROM ingest_jobs WHERE space_id = "
            "(SELECT id FROM embedding_spaces WHERE state = 'active')"
        )
    return pipeline(
        tmp_path, "ingest", "--once", DATABASE_URL=url, PIPELINE_DROP_RETIRED_DAYS=str(days)
    )


def test_a_retired_space_is_dropped_only_when_that_is_asked_for_and_its_time_has_come(
    url: str, tmp_path: Path, connection: Connection, retired: Space
) -> None:
    retire(connection, 20)
    for days, left in ((0, ["fake", "second"]), (30, ["fake", "second"]), (14, ["second"])):
        done = ingest_retired(url, tmp_path, days)
        assert done.returncode == 0, done.stderr
        assert names(connection) == left
    assert "dropped the space fake, retired for 14 days or more" in done.stderr
    assert not connection.execute("SELECT FROM ingest_jobs WHERE space_id = 1").fetchall()


def test_a_login_that_does_not_own_the_tables_leaves_it(
    url: str, tmp_path: Path, connection: Connection, retired: Space
) -> None:
    retire(connection, 20)
    with as_login(connection, url, "worker", "LOGIN IN ROLE pipeline_ingest") as own:
        assert drop_retired(own, 14) == []
    assert names(connection) == ["fake", "second"]
