"""gs:// and az:// prefixes as attached sources, against the emulators of Google's and Azure's
stores; S3 is in ``test_locations_s3.py``."""

import io
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import ConfigurationError
from pipeline.loaders import Loader, LoadOptions
from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.sources.locations import Location, attach_location, sync_location
from pipeline.sources.removal import Brake
from pipeline.spaces import Space
from tests.helpers.command import pipeline
from tests.helpers.workers import work
from tests.integration.test_object_stores import azure, gcs, put_azure, put_gcs

__all__ = ["azure", "gcs"]

Put = Callable[[str, bytes], None]


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8 + number, 8), (number, 5, 5)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(params=["gs", "az"])
def store(request: pytest.FixtureRequest) -> tuple[str, Put]:
    """The URL of a bucket, and what puts an object into it."""
    if request.param == "gs":
        endpoint = request.getfixturevalue("gcs")
        return "gs://pictures", lambda key, body: put_gcs(endpoint, key, body)
    endpoint = request.getfixturevalue("azure")
    put_azure(endpoint, "/pictures", "restype=container")
    return "az://pictures", lambda key, body: put_azure(
        endpoint, f"/pictures/{urllib.parse.quote(key)}", body=body
    )


def test_a_prefix_is_attached_followed_and_detached(
    store: tuple[str, Put], connection: Connection, settings: Settings, space: Space
) -> None:
    bucket, put = store
    for number in range(3):
        put(f"2026/sub/ü {number}.png", picture(number))
    put("2027/other.png", picture(9))
    put("2026/notes.csv", b"a,b")
    own = settings.model_copy(update={"buckets": (bucket,)})
    assert attach_location(connection, Location(f"{bucket}/2026/"), own) == "2026"
    report = sync_location(connection, "2026", own, Brake(0.1))
    assert (report.listed, report.added, report.is_well) == (3, 3, True)
    with Loader(LoadOptions.of(own)) as loader:
        assert work(own, space, load=loader.load).done == 3
    again = sync_location(connection, "2026", own, Brake(0.1))
    assert (again.listed, again.added, again.changed, again.removed) == (3, 0, 0, 0)
    put("2026/sub/new.png", picture(7))
    assert sync_location(connection, "2026", own, Brake(0.1)).added == 1
    keys = connection.execute("SELECT row_key FROM source_items ORDER BY row_key").fetchall()
    assert [key for (key,) in keys] == ["sub/new.png", *(f"sub/ü {n}.png" for n in range(3))]


def test_what_cannot_be_listed_says_why(
    store: tuple[str, Put], connection: Connection, settings: Settings
) -> None:
    bucket, _ = store
    for url, buckets, said in (
        (f"{bucket}/2026", (), "PIPELINE_BUCKETS"),
        (bucket.replace("pictures", "missing"), (bucket.replace("pictures", "missing"),),
         "cannot be listed: "),
    ):  # fmt: skip
        own = settings.model_copy(update={"buckets": buckets})
        with pytest.raises(ConfigurationError, match=said):
            attach_location(connection, Location(url), own)


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_a_store_that_is_not_there_is_a_line(url: str, tmp_path: Path, scheme: str) -> None:
    nobody = "http://127.0.0.1:9"
    done = pipeline(
        tmp_path, "attach", f"{scheme}://pictures/2026", DATABASE_URL=url,
        PIPELINE_BUCKETS=f"{scheme}://pictures",
        PIPELINE_LOAD_TIMEOUT_SECONDS="3", STORAGE_EMULATOR_HOST="127.0.0.1:9",
        AZURE_STORAGE_CONNECTION_STRING="DefaultEndpointsProtocol=http;AccountName=photos;"
        f"AccountKey=c2VjcmV0;BlobEndpoint={nobody}/photos;",
    )  # fmt: skip
    assert done.returncode in {1, 75}
    assert "Traceback" not in done.stderr
    assert f"{scheme}://pictures/2026 cannot be listed" in done.stderr
    assert "c2VjcmV0" not in done.stderr
