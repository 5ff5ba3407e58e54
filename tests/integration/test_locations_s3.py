"""Prefixes of an object store as attached sources, against moto's server."""

import io
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from PIL import Image

from pipeline.errors import ConfigurationError
from pipeline.loaders import Loader, LoadOptions
from pipeline.loaders.listed import PAGE
from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.sources.locations import (
    Location,
    LocationReport,
    attach_location,
    locations_due,
    sync_location,
    sync_objects,
)
from pipeline.sources.removal import FEW, Brake
from pipeline.spaces import Space
from tests.helpers.fakes import FakeEmbedder
from tests.helpers.stores import BUCKET, Store, store
from tests.helpers.workers import work

CAREFUL = Brake(0.1)
URL = "s3://photos/2026"


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8 + number % 50, 8), (number % 250, number // 250, 5)).save(file, "PNG")
    return file.getvalue()


def filled(store: Store, count: int = 20) -> None:
    for number in range(count):
        store.put(f"2026/{number:02}.png", picture(number))


@pytest.fixture
def open_settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"buckets": ("s3://photos",)})


@pytest.fixture
def sync(connection: Connection, open_settings: Settings) -> Callable[..., LocationReport]:
    def run(brake: Brake = CAREFUL) -> LocationReport:
        return sync_location(connection, "2026", open_settings, brake)

    return run


@pytest.fixture
def ingest(open_settings: Settings, space: Space) -> Callable[[], FakeEmbedder]:
    """Work on all that is due; how much the model did."""

    def run() -> FakeEmbedder:
        embedder = FakeEmbedder()
        with Loader(LoadOptions.of(open_settings)) as loader:
            report = work(open_settings, space, embedder, load=loader.load)
        assert (report.failed, report.retrying) == (0, 0)
        return embedder

    return run


@pytest.fixture
def stored(
    store: Store,
    connection: Connection,
    open_settings: Settings,
    sync: Callable[..., LocationReport],
    ingest: Callable[[], FakeEmbedder],
) -> Store:
    """Twenty pictures, attached and embedded."""
    filled(store)
    assert attach_location(connection, Location(URL + "/"), open_settings) == "2026"
    assert sync().added == 20
    assert ingest().embedded == 20
    store.requests.clear()
    return store


def counts(report: LocationReport) -> tuple[int, int, int, int, int]:
    return report.listed, report.added, report.changed, report.moved, report.removed


def names(connection: Connection, table: str = "source_items") -> list[str]:
    rows = connection.execute(f"SELECT content_ref FROM {table}")  # type: ignore[arg-type]
    return sorted(ref.removeprefix(URL + "/") for (ref,) in rows)


def rows(connection: Connection, *keys: str) -> list[Any]:
    return connection.execute(
        "SELECT s.id, i.id, i.embedding::text, i.content_sha256, s.metadata FROM source_items AS s "
        "JOIN multimodal_items AS i ON i.source_id = s.id WHERE s.row_key = ANY (%s) ORDER BY s.id",
        (list(keys),),
    ).fetchall()


def test_what_is_below_a_prefix_becomes_source_items(
    store: Store, connection: Connection, open_settings: Settings
) -> None:
    odd = "2026/sub/\u00fc #?%20+&=.PNG"
    others = (".hidden.png", "sub/.hidden/x.png", "notes.txt", "table.csv", "dir/", "video.xyz")
    for key in ("2026/a.png", odd, "2027/b.png", "20266/c.png", *(f"2026/{o}" for o in others)):
        store.put(key, picture(1))
    location = Location("S3://photos/2026/", "shots", metadata={"year": 2026}, exclude=["b*"])
    store.put("2026/sub/below.png", picture(2))
    assert attach_location(connection, location, open_settings) == "shots"
    report = sync_location(connection, "shots", open_settings, CAREFUL)
    assert report == LocationReport(listed=2, added=2, skipped=7)
    found = connection.execute(
        "SELECT source, source_key, content_ref, row_key, modality, metadata FROM source_items "
        "ORDER BY row_key"
    ).fetchall()
    assert found == [
        ("shots", f"s3://photos/2026/{key}", f"s3://photos/2026/{key}", key, "image",
         {"year": 2026})
        for key in ("a.png", odd.removeprefix("2026/"))
    ]  # fmt: skip
    (status,) = connection.execute(
        'SELECT name, "of", capture, source_items, needs_sync, synced_at IS NOT NULL '
        "FROM attached_source_status"
    ).fetchall()
    assert status == ("shots", "s3://photos/2026", "scan", 2, False, True)


def test_a_listing_is_all_that_is_asked_for(
    stored: Store, sync: Callable[..., LocationReport], connection: Connection
) -> None:
    before = connection.execute("SELECT * FROM source_items ORDER BY id").fetchall()
    assert counts(sync()) == (20, 0, 0, 0, 0)
    assert stored.requests == {"LIST": 1}
    assert connection.execute("SELECT * FROM source_items ORDER BY id").fetchall() == before
    assert connection.execute("SELECT * FROM ingest_jobs").fetchall() == []
    assert connection.execute("SELECT * FROM attached_listing_pages").fetchall() == []


def test_what_changed_is_loaded_again_and_the_same_bytes_are_not(
    stored: Store, sync: Callable[..., LocationReport], ingest: Callable[[], FakeEmbedder]
) -> None:
    stored.put("2026/03.png", picture(99))
    stored.put("2026/04.png", picture(4))  # the same again, at another time
    assert counts(sync()) == (20, 0, 1, 0, 0)
    assert ingest().embedded == 1
    assert counts(sync()) == (20, 0, 0, 0, 0)


def test_another_content_of_the_same_size_is_known_by_its_etag(
    stored: Store, sync: Callable[..., LocationReport], connection: Connection
) -> None:
    body = bytearray(picture(3))
    body[-1] ^= 1
    stored.put("2026/03.png", bytes(body))
    put_at = stored.client.head_object(Bucket=BUCKET, Key="2026/03.png")["LastModified"]
    connection.execute("UPDATE attached_objects SET modified_at = %s", (put_at,))  # one second
    assert counts(sync()) == (20, 0, 1, 0, 0)
    assert connection.execute("SELECT content_changed FROM ingest_jobs").fetchall() == [(False,)]


def test_what_is_new_is_added_and_what_is_gone_goes(
    stored: Store,
    sync: Callable[..., LocationReport],
    connection: Connection,
    ingest: Callable[[], FakeEmbedder],
) -> None:
    stored.put("2026/new.png", picture(77))
    stored.delete("2026/05.png")
    assert counts(sync()) == (20, 1, 0, 0, 1)
    assert ingest().embedded == 1
    assert "05.png" not in names(connection)
    assert names(connection) == names(connection, "multimodal_items")
    assert connection.execute("SELECT count(*) FROM attached_objects").fetchone() == (20,)


def test_what_was_renamed_moves_with_its_vector(
    stored: Store,
    sync: Callable[..., LocationReport],
    connection: Connection,
    ingest: Callable[[], FakeEmbedder],
) -> None:
    connection.execute("""UPDATE source_items SET metadata = '{"mine": 1}'""")
    before = rows(connection, "05.png", "06.png")
    stored.rename("2026/05.png", "2026/sub/five.png")
    stored.rename("2026/06.png", "2026/sub/06.png")
    assert counts(sync()) == (20, 0, 0, 2, 0)
    assert ingest().embedded == 0
    assert rows(connection, "sub/five.png", "sub/06.png") == before
    assert counts(sync()) == (20, 0, 0, 0, 0)
    assert names(connection) == names(connection, "multimodal_items")


def test_twins_that_were_renamed_move_each_to_a_place_of_its_own(
    store: Store,
    connection: Connection,
    open_settings: Settings,
    sync: Callable[..., LocationReport],
    ingest: Callable[[], FakeEmbedder],
) -> None:
    filled(store)
    for key in ("a/1.png", "b/2.png", "c/3.png"):
        store.put(f"2026/{key}", picture(99))
    attach_location(connection, Location(URL), open_settings)
    sync()
    ingest()
    before = rows(connection, "a/1.png", "b/2.png")
    store.rename("2026/a/1.png", "2026/z/1.png")
    store.rename("2026/b/2.png", "2026/y/2.png")
    assert counts(sync()) == (23, 0, 0, 2, 0)
    assert rows(connection, "z/1.png", "y/2.png") == before


def test_what_was_deleted_from_the_table_comes_back(
    stored: Store, sync: Callable[..., LocationReport], connection: Connection
) -> None:
    connection.execute("DELETE FROM source_items WHERE row_key = '05.png'")
    connection.execute(
        "UPDATE source_items SET content_ref = 'elsewhere', modality = 'text' "
        "WHERE row_key = '06.png'"
    )
    connection.execute("UPDATE source_items SET row_key = NULL WHERE row_key = '07.png'")
    assert sync().added == 1
    assert len(names(connection)) == 20
    assert {"05.png", "06.png", "07.png"} <= set(names(connection))
    assert connection.execute(
        "SELECT count(*) FROM source_items WHERE row_key IS NULL OR modality <> 'image'"
    ).fetchone() == (0,)


# a store in trouble


def fail_from(number: int) -> Callable[[str, int], bool]:
    return lambda kind, count: kind == "LIST" and count >= number


@pytest.fixture
def many(
    store: Store, connection: Connection, open_settings: Settings, sync: Callable[..., Any]
) -> Store:
    """More than two pages of a listing."""
    for number in range(2 * PAGE + 10):
        store.put(f"2026/{number:04}.png", b"%d" % number)
    attach_location(connection, Location(URL), open_settings)
    assert counts(sync()) == (2 * PAGE + 10, 2 * PAGE + 10, 0, 0, 0)
    store.requests.clear()
    return store


def test_a_listing_that_fails_half_way_removes_nothing_and_goes_on_where_it_was(
    many: Store,
    sync: Callable[..., LocationReport],
    connection: Connection,
    open_settings: Settings,
) -> None:
    many.delete("2026/0005.png", "2026/1500.png")
    many.rename("2026/0006.png", "2026/6.png")
    many.put("2026/0007.png", b"another")
    many.fails = fail_from(2)
    report = sync_location(connection, "2026", open_settings, Brake(0.1, released=True))
    assert counts(report) == (PAGE, 0, 1, 0, 0)
    assert not report.is_complete
    assert len(report.problems) == 1
    assert f"failed after {PAGE}" in report.problems[0]
    assert "nothing was removed" in report.problems[0]
    assert len(names(connection)) == 2 * PAGE + 10
    (problem,) = connection.execute(
        "SELECT problem FROM attached_source_status WHERE needs_sync"
    ).fetchall()
    assert problem == (report.problems[0],)

    many.fails = lambda _, __: False
    many.requests.clear()
    report = sync()
    assert counts(report) == (2 * PAGE + 8, 0, 0, 1, 2)
    assert many.requests == {"LIST": 2}  # the first thousand are not asked for again
    assert report.is_well
    assert "goes on behind s3://photos/2026/" in report.notes[0]
    assert connection.execute(
        "SELECT needs_sync FROM attached_source_status"
    ).fetchall() == [(False,)]  # fmt: skip


def test_an_interrupted_listing_that_is_old_begins_anew(
    many: Store, sync: Callable[..., LocationReport], connection: Connection
) -> None:
    many.fails = fail_from(2)
    assert not sync().is_complete
    connection.execute("UPDATE attached_listing_pages SET listed_at = now() - interval '2 days'")
    many.fails = lambda _, __: False
    many.requests.clear()
    assert counts(sync()) == (2 * PAGE + 10, 0, 0, 0, 0)
    assert many.requests == {"LIST": 3}


def test_an_emptied_prefix_and_a_mass_deletion_are_refused(
    stored: Store, sync: Callable[..., LocationReport], connection: Connection
) -> None:
    stored.delete(*(f"2026/{n:02}.png" for n in range(FEW + 1)))
    report = sync()
    assert (report.removed, [str(r) for r in report.refused]) == (
        0,
        [
            "11 of the 20 rows of the source '2026' would go at once; none of them was removed: "
            "if that is meant, --allow-mass-delete"
        ],
    )
    assert len(names(connection)) == 20
    assert sync(Brake(0.1, released=True)).removed == FEW + 1
    stored.delete(*(f"2026/{n:02}.png" for n in range(20)))
    assert sync(Brake(1.0)).refused
    assert len(names(connection)) == 20 - FEW - 1


def test_a_bucket_that_is_gone_removes_nothing(
    stored: Store, sync: Callable[..., LocationReport], connection: Connection
) -> None:
    stored.delete(*(f"2026/{n:02}.png" for n in range(20)))
    stored.client.delete_bucket(Bucket="photos")
    assert not sync(Brake(1.0, released=True)).is_complete
    assert len(names(connection)) == 20


def test_a_key_that_cannot_be_listed_is_named(
    stored: Store, sync: Callable[..., LocationReport], connection: Connection
) -> None:
    stored.put("2026/a//b.png", picture(1))
    report = sync(Brake(1.0, released=True))
    assert not report.is_complete
    assert "2026/a//b.png" in report.problems[0]
    assert len(names(connection)) == 20


def test_a_sync_of_a_release_that_takes_no_turns_does_not_mix(
    many: Store,
    sync: Callable[..., LocationReport],
    connection: Connection,
    open_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pipeline.errors import DatabaseError
    from pipeline.sources.locations import sync as of_location

    seconds: list[LocationReport] = []

    def other(_: int) -> None:
        if not seconds:
            seconds.append(LocationReport())
            monkeypatch.setattr(of_location, "exclusively", lambda *_, **__: nullcontext())
            seconds[0] = sync()

    with pytest.raises(DatabaseError, match="synced by somebody else"):
        sync_location(connection, "2026", open_settings, CAREFUL, other)
    assert seconds[0].is_well
    assert len(names(connection)) == 2 * PAGE + 10
    assert counts(sync()) == (2 * PAGE + 10, 0, 0, 0, 0)


# attaching


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("s3://nothing/here", "s3://nothing is not open to references"),
        ("s3://missing/x", "NoSuchBucket"),
        ("s3://", "expected s3://bucket/prefix"),
        ("https://example.com/photos", "cannot be listed; attach a folder, or a prefix"),
        ("/no/such/folder", "is no folder"),
        ("s3://photos/\udcff", "not UTF-8"),
    ],
)
def test_what_cannot_be_listed_is_not_attached(
    store: Store, connection: Connection, open_settings: Settings, where: str, said: str
) -> None:
    settings = open_settings.model_copy(update={"buckets": ("s3://photos", "s3://missing")})
    with pytest.raises(ConfigurationError, match=said):
        attach_location(connection, Location(where), settings)
    assert connection.execute("SELECT * FROM attached_sources").fetchall() == []


@pytest.mark.parametrize(
    ("location", "said"),
    [
        (Location("s3://photos/2026/"), "is attached already, as 2026"),
        (Location("s3://photos"), "overlaps with s3://photos/2026"),
        (Location("s3://photos/2026/sub"), "overlaps with s3://photos/2026"),
        (Location("s3://photos/2027", "2026"), "there is a source '2026' already"),
        (Location("s3://photos/2027", "others"), "there is a source 'others' already"),
        (Location("s3://photos/2027", "a\nb"), "cannot name a source"),
        (Location("s3://photos/2027", every_seconds=0), "expected a number above 0"),
        (Location("s3://photos/2027", every_seconds=float("nan")), "expected a number above 0"),
        (Location("s3://photos/2027", metadata={"a": "\0"}), "NUL"),
    ],
)
def test_a_location_overlaps_with_no_other_and_has_a_name_of_its_own(
    store: Store, connection: Connection, open_settings: Settings, location: Location, said: str
) -> None:
    attach_location(connection, Location(URL), open_settings)
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "VALUES ('others', 'k', 'text', 'x')"
    )
    with pytest.raises(ConfigurationError, match=said):
        attach_location(connection, location, open_settings)


def test_a_name_that_is_taken_gives_way_to_the_whole_url(
    store: Store, connection: Connection, open_settings: Settings
) -> None:
    assert attach_location(connection, Location(URL), open_settings) == "2026"
    other = Location("s3://photos/old/2026/")
    assert attach_location(connection, other, open_settings) == "s3://photos/old/2026"


def test_locations_are_due_by_their_interval(
    store: Store, connection: Connection, open_settings: Settings
) -> None:
    store.put("a/1.png", picture(1))
    for name, every in (("a", 3600.0), ("b", 0.001), ("c", None)):
        attach_location(connection, Location(f"s3://photos/{name}", None, every), open_settings)
    assert locations_due(connection) == ["a", "b"]
    for name in "abc":
        sync_location(connection, name, open_settings, CAREFUL)
    assert locations_due(connection) == ["b"]
    connection.execute("UPDATE attached_sources SET synced_at = now() - interval '61 minutes'")
    assert locations_due(connection) == ["a", "b"]
    store.fails = lambda kind, _: kind == "LIST"
    assert not sync_location(connection, "a", open_settings, CAREFUL).is_complete
    assert locations_due(connection) == ["b"]


# hints


def test_a_hint_leads_to_one_look_and_no_listing(
    stored: Store,
    connection: Connection,
    open_settings: Settings,
    ingest: Callable[[], FakeEmbedder],
) -> None:
    stored.put("2026/new.png", picture(60))
    stored.put("2026/02.png", picture(61))
    stored.put("2026/notes.txt", b"text")
    stored.requests.clear()
    keys = ["new.png", "02.png", "s3://photos/2026/02.png", "01.png", "notes.txt", "never.png"]
    report = sync_objects(connection, "2026", keys, open_settings)
    assert counts(report) == (3, 1, 1, 0, 0)
    assert stored.requests == {"HEAD": 4}  # the text is not asked for
    assert ingest().embedded == 2
    again = sync_objects(connection, "2026", reversed(keys), open_settings)
    assert counts(again) == (3, 0, 0, 0, 0)


def test_a_hint_of_a_deletion_is_believed_when_it_is_so(
    stored: Store, connection: Connection, open_settings: Settings
) -> None:
    stored.delete("2026/03.png")
    report = sync_objects(connection, "2026", ["03.png", "04.png"], open_settings)
    assert counts(report) == (1, 0, 0, 0, 1)
    assert "03.png" not in names(connection)
    assert "04.png" in names(connection)


def test_hints_remove_no_more_than_the_brake_lets_go_and_nothing_of_a_lost_bucket(
    stored: Store, connection: Connection, open_settings: Settings
) -> None:
    keys = [f"{n:02}.png" for n in range(FEW + 1)]
    stored.delete(*(f"2026/{key}" for key in keys))
    assert sync_objects(connection, "2026", keys, open_settings).refused
    stored.delete(*(f"2026/{n:02}.png" for n in range(20)))
    stored.client.delete_bucket(Bucket="photos")
    report = sync_objects(connection, "2026", ["03.png"], open_settings)
    assert (report.is_complete, report.removed) == (False, 0)
    assert len(names(connection)) == 20


def test_a_store_that_does_not_answer_is_told_of_each_hint(
    stored: Store, connection: Connection, open_settings: Settings
) -> None:
    stored.fails = lambda kind, _: kind == "HEAD"
    report = sync_objects(connection, "2026", ["03.png"], open_settings)
    assert (report.is_complete, report.removed) == (False, 0)
    assert "s3://photos/2026/03.png" in report.problems[0]


__all__ = ["store"]  # a fixture
