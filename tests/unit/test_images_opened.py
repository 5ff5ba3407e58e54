"""An image that somebody opened with Pillow is, to the model, the image that its file is."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from pipeline import modalities
from pipeline.embedders.openclip.embedder import MultimodalEmbedder
from pipeline.errors import PermanentRowError
from pipeline.modalities import IMAGE, ReadOptions
from tests.helpers.checkpoints import TINY_CLIP, save_checkpoint
from tests.helpers.corpus import good_pictures
from tests.helpers.images import (
    ADOBE_RGB,
    difference,
    encode,
    grey_profile,
    rgb_profile,
    sample,
    tiff,
)

OPTIONS = ReadOptions()


def turned(format_name: str, orientation: int, image: Image.Image | None = None) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encode(image or sample(), format_name, exif=exif)


def deep(kind: str, top: float = 1.0) -> np.ndarray:
    return (np.asarray(sample().convert("L")) / 255 * top).astype(kind)


def files() -> dict[str, bytes]:
    """One of every mode and trait that Pillow's own ``convert("RGB")`` gets wrong, and others."""
    image = sample()
    clear = image.copy()
    clear.putalpha(Image.linear_gradient("L").resize(image.size))
    steps = bytes(range(0, 256, 16))
    unused = Image.merge("RGBA", (*image.split(), Image.new("L", image.size)))
    return good_pictures() | {
        **{f"{f} exif {n}": turned(f, n) for f in ("JPEG", "TIFF", "WEBP") for n in range(2, 9)},
        "png exif 6": turned("PNG", 6),
        "png exif 6, 16 bits": turned("PNG", 6, Image.fromarray(deep("u2", 65535))),
        "png exif 5, clear": turned("PNG", 5, clear),
        "png 16 bits": encode(Image.fromarray(deep("u2", 65535)), "PNG"),
        "png 16 bits, profile": encode(
            Image.fromarray(deep("u2", 65535)), "PNG", icc_profile=grey_profile(1.0)
        ),
        "tiff 12 bits": tiff(deep("u2", 4095)),
        "tiff 16 bits": tiff(deep("u2", 65535)),
        "tiff 16 bits, white is zero": tiff(deep("u2", 65535), 0),
        "tiff 16 bits, declared": tiff(deep("u2", 1000), t280=(0,), t281=(1000,)),
        "tiff uint32": tiff(deep("u4", 2**32 - 1)),
        "tiff float": tiff(deep("f4")),
        "tiff float, wide": tiff(deep("f4", 1e6) - 5e5),
        "png trns grey": encode(image.convert("L"), "PNG", transparency=128),
        "png trns colour": encode(image, "PNG", transparency=(230, 20, 30)),
        "png trns palette": encode(image.quantize(16), "PNG", transparency=steps),
        "png trns bit": encode(image.convert("1"), "PNG", transparency=0),
        "png grey, clear": encode(clear.convert("LA"), "PNG"),
        "gif clear": encode(image.quantize(16), "GIF", transparency=3),
        "bmp unused alpha": encode(unused, "BMP"),
        "tiff lab": encode(Image.merge("LAB", image.split()), "TIFF"),
        "tiff cmyk": encode(image.convert("CMYK"), "TIFF"),
        "jpeg profile": encode(image, "JPEG", icc_profile=rgb_profile(ADOBE_RGB, 2.2)),
        "png profile": encode(image, "PNG", icc_profile=rgb_profile(ADOBE_RGB, 1.0)),
    }  # fmt: skip


FILES = files()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> MultimodalEmbedder:
    folder = save_checkpoint(tmp_path_factory.mktemp("clip"), TINY_CLIP)
    return MultimodalEmbedder(str(folder), device="cpu", precision="float32")


@pytest.mark.parametrize("name", FILES)
def test_an_opened_image_is_rendered_as_its_file_is(name: str) -> None:
    of_file = IMAGE.decode(FILES[name], OPTIONS)
    of_image = IMAGE.decoded(opened(FILES[name]), OPTIONS)
    assert difference(of_file.content, of_image.content) == 0
    assert of_file.notes.items() >= of_image.notes.items()
    loaded = opened(FILES[name])
    loaded.load()
    assert difference(of_file.content, IMAGE.decoded(loaded, OPTIONS).content) == 0


@pytest.mark.parametrize("name", FILES)
def test_the_image_of_the_caller_stays_as_it_was(name: str) -> None:
    given, twin = opened(FILES[name]), opened(FILES[name])
    given.load()
    twin.load()
    before = dict(given.info)
    IMAGE.decoded(given, OPTIONS)
    assert (given.mode, given.size, given.tobytes()) == (twin.mode, twin.size, twin.tobytes())
    assert given.info == before
    assert given.getexif() == twin.getexif()


@pytest.mark.parametrize("name", FILES)
def test_the_vector_of_an_opened_image_is_that_of_its_file(
    name: str, clip: MultimodalEmbedder, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(FILES[name])
    decoded = IMAGE.decode(FILES[name], OPTIONS).content
    ingested = clip.encoders["image"].embed(clip.encoders["image"].prepare([decoded]))[0]
    assert float(clip.embed_images([opened(FILES[name])])[0] @ ingested) > 1 - 1e-5
    ((by_image, by_path),) = clip.cross_modal_similarity(
        "a cat", [opened(FILES[name]), tmp_path / "file"]
    )
    expected = float(clip.embed_text(["a cat"])[0] @ ingested)
    assert (by_image, by_path) == pytest.approx((expected, expected), abs=1e-5)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr",
             "HSV", "LAB", "I", "F", "I;16", "I;16B", "I;16L"]
)  # fmt: skip
def test_an_image_that_was_made_is_rendered_in_every_mode(mode: str) -> None:
    rendered = IMAGE.decoded(Image.new(mode, (5, 3)), OPTIONS).content
    assert (rendered.mode, rendered.size) == ("RGB", (5, 3))


def test_what_its_owner_did_to_an_image_counts() -> None:
    """Turned upright already; another frame than the first."""
    data = turned("JPEG", 6)
    upright = ImageOps.exif_transpose(opened(data))
    assert difference(IMAGE.decoded(upright, OPTIONS).content, upright) == 0
    moving = opened(FILES["gif-animated"])
    moving.seek(1)
    blue = np.asarray(IMAGE.decoded(moving, OPTIONS).content)
    assert (blue == (0, 0, 255)).all()


def test_an_opened_image_that_cannot_be_loaded_is_refused_by_name() -> None:
    data = FILES["png"]
    with pytest.raises(PermanentRowError) as caught:
        IMAGE.decoded(opened(data[: len(data) // 2]), OPTIONS)
    assert caught.value.code == "truncated"


def test_an_opened_image_is_measured_before_it_is_loaded() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        large = opened(encode(Image.new("1", (30_000, 3_000)), "PNG"))
    with pytest.raises(PermanentRowError) as caught:
        IMAGE.decoded(large, OPTIONS)
    assert caught.value.code == "too_large"


def test_which_modality_an_object_is_of() -> None:
    assert modalities.accepting(sample()) is IMAGE
    assert modalities.accepting(b"bytes") is None
