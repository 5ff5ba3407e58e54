"""An image as a query is the image that was ingested, through whichever door it comes."""

import base64
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import ConfigurationError
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.unified_index import UnifiedIndex, build_unified_index
from tests.helpers.command import Demo
from tests.helpers.fakes import FakeEmbedder
from tests.unit.test_images_opened import FILES

# Their vectors come from a hash of the pixels: an image that differs by one is another.
ODD = ("JPEG exif 6", "png 16 bits", "tiff float", "png-alpha", "png trns grey", "gif clear")


@pytest.mark.parametrize("name", ODD)
def test_every_door_finds_the_file_itself(
    name: str, settings: Settings, space: Space, tmp_path: Path
) -> None:
    data = FILES[name]
    file = tmp_path / "file"
    file.write_bytes(data)
    build_unified_index([], [file], settings=settings).close()
    with UnifiedIndex(settings, FakeEmbedder()) as index, Image.open(file) as opened:
        for query in (file, data, bytearray(data), opened, Image.open(io.BytesIO(data))):
            (found,) = index.retrieve_cross_modal(query, 1)  # type: ignore[arg-type]
            assert found.similarity == pytest.approx(1, abs=1e-3), type(query)


def test_the_command_takes_a_file_and_a_reference_alike(demo: Demo, tmp_path: Path) -> None:
    file = tmp_path / "turned.jpg"
    file.write_bytes(FILES["JPEG exif 6"])
    data = "data:image/jpeg;base64," + base64.b64encode(file.read_bytes()).decode()
    by_file, by_data = (
        json.loads(demo.run("search", "--image", query, "--json", "-k", "3").stdout)
        for query in (str(file), data)
    )
    assert by_file == by_data


def test_what_names_nothing_is_refused_without_its_secret(demo: Demo) -> None:
    for wrong in ("s3:b/k?X-Amz-Signature=SECRET", "az:SECRET", "foo:u:SECRET@h", "a b?sig=SECRET"):
        for command in (["search", "--image"], ["add"]):
            done = demo.run(*command, wrong)
            assert done.returncode == 1, done
            assert "Traceback" not in done.stderr
            assert "secret" not in (done.stdout + done.stderr).lower()
            assert ("expected s3://" in done.stderr) == wrong.startswith("s3:")


def test_what_cannot_be_read_is_named(settings: Settings, space: Space) -> None:
    with (
        UnifiedIndex(settings, FakeEmbedder()) as index,
        pytest.raises(ConfigurationError, match="the bytes: this is text; expected JPEG"),
    ):
        index.retrieve_cross_modal(b"no image")
