"""Every odd picture becomes the RGB picture a person would see, shown against a reference."""

import io
import struct
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from pipeline.errors import PermanentRowError
from pipeline.modalities.base import Decoded, ReadOptions
from pipeline.modalities.image.decoder import ImageDecoder
from tests.helpers.images import (
    ADOBE_RGB,
    ARITHMETIC_JPEG,
    cmyk_profile,
    difference,
    encode,
    grey_profile,
    pixels,
    png,
    rgb_profile,
    sample,
    tiff,
)

UPRIGHT = {  # EXIF orientation -> what a camera did to the upright picture
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.fixture(scope="module")
def decoder() -> Iterator[ImageDecoder]:
    with ImageDecoder(ReadOptions(decode_processes=1)) as decoder:
        yield decoder


def grey_sample() -> Image.Image:
    return sample().convert("L")


def deep(bits: int) -> np.ndarray:
    """The grey sample, its 0..255 spread over ``bits`` bits."""
    return np.rint(pixels(grey_sample()) / 255 * (2.0**bits - 1))


# -- formats -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format_name", "tolerance"),
    [("JPEG", 6), ("PNG", 0), ("WEBP", 5), ("GIF", 12), ("TIFF", 0), ("BMP", 0), ("AVIF", 5)],
)
def test_each_allowed_format_is_decoded(
    decoder: ImageDecoder, format_name: str, tolerance: float
) -> None:
    picture = decoder.decode(encode(sample(), format_name))
    assert picture.content.mode == "RGB"
    assert difference(picture.content, sample()) <= tolerance
    assert picture.notes["format"] == format_name
    assert (picture.notes["width"], picture.notes["height"]) == (96, 64)
    assert picture.notes["frames"] == 1


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_compressed_tiff_is_decoded(decoder: ImageDecoder, compression: str) -> None:
    picture = decoder.decode(encode(sample(), "TIFF", compression=compression))
    assert difference(picture.content, sample()) < 3


def test_a_progressive_jpeg_equals_its_baseline_twin(decoder: ImageDecoder) -> None:
    baseline = decoder.decode(encode(sample(), "JPEG", quality=90))
    progressive = decoder.decode(encode(sample(), "JPEG", quality=90, progressive=True))
    assert difference(baseline.content, progressive.content) == 0


def test_an_arithmetic_coded_jpeg_is_decoded(decoder: ImageDecoder) -> None:
    gradient = Image.radial_gradient("L").resize((32, 24))
    turned = gradient.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    slope = Image.linear_gradient("L").resize((32, 24))
    reference = Image.merge("RGB", (gradient, turned, slope))
    assert difference(decoder.decode(ARITHMETIC_JPEG).content, reference) < 6


def test_a_jpeg_with_trailing_bytes_is_decoded(decoder: ImageDecoder) -> None:
    data = encode(sample(), "JPEG")
    assert difference(decoder.decode(data + b"\0" * 100).content, decoder.decode(data).content) == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (2, 30_000)])
@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "TIFF", "BMP"])
def test_extreme_shapes_are_decoded(
    decoder: ImageDecoder, size: tuple[int, int], format_name: str
) -> None:
    picture = decoder.decode(encode(Image.new("RGB", size, (200, 30, 40)), format_name))
    assert picture.content.size == size
    assert np.abs(pixels(picture.content) - (200, 30, 40)).max() <= 3


# -- orientation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied_once(
    decoder: ImageDecoder, orientation: int, format_name: str
) -> None:
    method = UPRIGHT[orientation]
    stored = sample() if method is None else sample().transpose(method)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    picture = decoder.decode(encode(stored, format_name, exif=exif))
    assert difference(picture.content, sample()) < 6
    assert (picture.notes["width"], picture.notes["height"]) == (96, 64)
    assert picture.notes.get("orientation", 1) == orientation


def test_broken_exif_is_ignored(decoder: ImageDecoder) -> None:
    data = encode(sample(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert difference(decoder.decode(data).content, sample()) < 6


# -- alpha ---------------------------------------------------------------------------------------


def on_white(image: Image.Image, alpha: Image.Image) -> Image.Image:
    weight = pixels(alpha)[..., None] / 255
    flat = pixels(image.convert("RGB")) * weight + 255 * (1 - weight)
    return Image.fromarray(np.rint(flat).astype(np.uint8))


def alpha_ramp() -> Image.Image:
    return Image.linear_gradient("L").resize((96, 64))


@pytest.mark.parametrize("format_name", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_rgba_is_laid_on_white(decoder: ImageDecoder, format_name: str) -> None:
    image = sample()
    image.putalpha(alpha_ramp())
    options = {"lossless": True} if format_name == "WEBP" else {}
    picture = decoder.decode(encode(image, format_name, **options))
    assert difference(picture.content, on_white(sample(), alpha_ramp())) < 3
    assert picture.notes["alpha"] == "on white"


def test_grey_with_alpha_is_laid_on_white(decoder: ImageDecoder) -> None:
    image = grey_sample()
    image.putalpha(alpha_ramp())
    for format_name in ("PNG", "TIFF"):
        picture = decoder.decode(encode(image, format_name))
        assert difference(picture.content, on_white(grey_sample(), alpha_ramp())) < 1


def test_a_premultiplied_tiff_has_the_same_look(decoder: ImageDecoder) -> None:
    """ExtraSamples 1: the stored colours are already multiplied by alpha."""
    straight = sample()
    straight.putalpha(alpha_ramp())
    weight = pixels(alpha_ramp())[..., None] / 255
    stored = pixels(straight)
    stored[..., :3] = np.rint(stored[..., :3] * weight)
    flat = Image.fromarray(stored.astype(np.uint8), "RGBA")
    tag = struct.Struct("<HHII")
    data = encode(flat, "TIFF").replace(tag.pack(338, 3, 1, 2), tag.pack(338, 3, 1, 1))
    picture = decoder.decode(data)
    assert difference(picture.content, on_white(sample(), alpha_ramp())) < 3


def test_palette_transparency_is_laid_on_white(decoder: ImageDecoder) -> None:
    palette = sample().quantize(64)
    entries = bytes(range(0, 256, 4))
    png_data = encode(palette, "PNG", transparency=entries)
    alpha = Image.fromarray(np.array(list(entries), np.uint8)[np.asarray(palette)])
    assert difference(decoder.decode(png_data).content, on_white(palette, alpha)) < 1

    gif_data = encode(palette, "GIF", transparency=5)
    alpha = Image.fromarray(np.where(np.asarray(palette) == 5, 0, 255).astype(np.uint8))
    assert difference(decoder.decode(gif_data).content, on_white(palette, alpha)) < 1


def test_a_transparent_colour_of_a_png_is_laid_on_white(decoder: ImageDecoder) -> None:
    row = b"\0" + bytes([10, 20, 30, 200, 100, 50])
    rgb8 = png(2, 1, 8, 2, row, (b"tRNS", b"\0\x0a\0\x14\0\x1e"))
    assert list(decoder.decode(rgb8).content.getdata()) == [(255, 255, 255), (200, 100, 50)]
    deep_row = b"\0" + b"\x0a\0\x14\0\x1e\0" + b"\xc8\0\x64\0\x32\0"
    rgb16 = png(2, 1, 16, 2, deep_row, (b"tRNS", b"\x0a\0\x14\0\x1e\0"))
    assert list(decoder.decode(rgb16).content.getdata()) == [(255, 255, 255), (200, 100, 50)]
    grey16 = png(2, 1, 16, 0, b"\0\x12\x34\x80\x80", (b"tRNS", b"\x12\x34"))
    assert list(decoder.decode(grey16).content.getdata()) == [(255,) * 3, (128,) * 3]


def test_a_bmp_whose_alpha_is_zero_everywhere_is_opaque(decoder: ImageDecoder) -> None:
    image = sample()
    image.putalpha(0)
    header = encode(sample().convert("RGBA"), "BMP")  # Pillow writes 32 bits without a mask
    picture = decoder.decode(bmp_v4(image))
    assert header[:2] == b"BM"
    assert difference(picture.content, sample()) == 0


def bmp_v4(image: Image.Image) -> bytes:
    """A 32-bit BMP with a mask for alpha (BITMAPV4HEADER)."""
    body = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).tobytes("raw", "BGRA")
    header = (108).to_bytes(4, "little")
    header += b"".join(side.to_bytes(4, "little") for side in image.size)
    header += b"\1\0\x20\0\3\0\0\0" + len(body).to_bytes(4, "little") + b"\0" * 16
    header += b"\0\0\xff\0" + b"\0\xff\0\0" + b"\xff\0\0\0" + b"\0\0\0\xff"
    header += b"\0" * (108 - len(header))
    size = 14 + len(header)
    return (
        b"BM"
        + (size + len(body)).to_bytes(4, "little")
        + b"\0\0\0\0"
        + size.to_bytes(4, "little")
        + header
        + body
    )


# -- deep grey -----------------------------------------------------------------------------------


def assert_looks_grey(picture: Decoded, tolerance: float = 1.0) -> None:
    assert difference(picture.content, grey_sample().convert("RGB")) <= tolerance


def test_16_bit_grey_is_scaled_by_its_range(decoder: ImageDecoder) -> None:
    image = Image.fromarray(deep(16).astype(np.uint16))
    naive = image.convert("RGB")
    assert difference(naive, grey_sample().convert("RGB")) > 50  # what Pillow alone would do
    assert_looks_grey(decoder.decode(encode(image, "PNG")))
    assert_looks_grey(decoder.decode(encode(image, "TIFF")))


def test_a_dark_16_bit_png_stays_dark(decoder: ImageDecoder) -> None:
    image = Image.fromarray((deep(16) / 20).astype(np.uint16))
    picture = decoder.decode(encode(image, "PNG"))
    assert pixels(picture.content).max() <= 13


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_fewer_bits_in_16_are_scaled_by_those_bits(decoder: ImageDecoder, bits: int) -> None:
    assert_looks_grey(decoder.decode(tiff(deep(bits).astype(np.uint16))))


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(deep(31).astype(np.int32), id="int32 full"),
        pytest.param(deep(32).astype(np.uint32), id="uint32 full"),
        pytest.param(deep(16).astype(np.int32), id="int32 holding 16 bits"),
        pytest.param(deep(8).astype(np.uint32), id="uint32 holding 8 bits"),
        pytest.param((deep(16) - 32768).astype(np.int16), id="int16 around zero"),
        pytest.param((deep(20) - 500_000).astype(np.int32), id="int32 around zero"),
        pytest.param((deep(8) / 255).astype(np.float32), id="float 0..1"),
        pytest.param(deep(8).astype(np.float32), id="float 0..255"),
        pytest.param((deep(8) / 255 * 7e-5 - 3e-5).astype(np.float32), id="float tiny"),
        pytest.param((deep(8) * 1e30).astype(np.float32), id="float huge"),
    ],
)
def test_32_bit_and_float_grey_is_scaled_by_its_range(
    decoder: ImageDecoder, array: np.ndarray
) -> None:
    picture = decoder.decode(tiff(array))
    assert_looks_grey(picture)
    assert len(picture.notes["grey_range"]) == 2


def test_white_is_zero_is_turned_around(decoder: ImageDecoder) -> None:
    assert_looks_grey(decoder.decode(tiff((65535 - deep(16)).astype(np.uint16), photometric=0)))
    assert_looks_grey(decoder.decode(tiff((1 - deep(8) / 255).astype(np.float32), photometric=0)))


def test_a_range_declared_by_the_tiff_is_used(decoder: ImageDecoder) -> None:
    array = (1000 + deep(8) * 2).astype(np.uint16)
    assert_looks_grey(decoder.decode(tiff(array, t280=(1000,), t281=(1510,))))


def test_floats_that_are_no_numbers_do_not_spoil_the_rest(decoder: ImageDecoder) -> None:
    array = (deep(8) / 255).astype(np.float32)
    array[0, :3] = [np.nan, np.inf, -np.inf]
    picture = decoder.decode(tiff(array))
    assert_looks_grey(picture)
    assert list(picture.content.crop((0, 0, 3, 1)).getdata()) == [(0,) * 3, (255,) * 3, (0,) * 3]


@pytest.mark.parametrize("value", [0.0, 5.0, np.nan])
def test_a_constant_float_picture_is_one_colour(decoder: ImageDecoder, value: float) -> None:
    picture = decoder.decode(tiff(np.full((4, 4), value, np.float32)))
    assert len(set(picture.content.getdata())) == 1


def test_16_bit_colour_and_one_bit_are_decoded(decoder: ImageDecoder) -> None:
    rows = b"\0" + b"\xff\xff\x80\x80\0\0"
    assert list(decoder.decode(png(1, 1, 16, 2, rows)).content.getdata()) == [(255, 128, 0)]
    bilevel = grey_sample().point(lambda v: 255 * (v > 127)).convert("1")
    picture = decoder.decode(encode(bilevel, "TIFF", compression="group4"))
    assert difference(picture.content, bilevel.convert("RGB")) == 0


# -- colour spaces -------------------------------------------------------------------------------


def test_cmyk_without_profile_is_converted(decoder: ImageDecoder) -> None:
    cmyk = sample().convert("CMYK")
    assert difference(decoder.decode(encode(cmyk, "TIFF")).content, sample()) < 1


def test_adobe_inverted_cmyk_jpeg_is_not_a_negative(decoder: ImageDecoder) -> None:
    data = encode(sample().convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in data[:100]  # written inverted, as Photoshop does
    assert difference(decoder.decode(data).content, sample()) < 4


# Lab (8 bit) of every mixture of inks; without black: white, yellow, magenta, red, ...
INKS = [
    (ink[0], ink[1], ink[2]) if not black else (20, 128, 128)
    for ink in [
        (250, 128, 128), (225, 120, 210), (120, 205, 125), (120, 195, 175),
        (140, 95, 85), (125, 60, 155), (60, 150, 80), (50, 128, 128),
    ]
    for black in (False, True)
]  # fmt: skip


def test_cmyk_with_profile_is_converted_through_it(decoder: ImageDecoder) -> None:
    profile = cmyk_profile(INKS)
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255)]
    image = Image.new("CMYK", (5, 1))
    image.putdata(inks)
    picture = decoder.decode(encode(image, "TIFF", icc_profile=profile))
    white, cyan, magenta, yellow, black = picture.content.getdata()
    expected = [lab_to_srgb(INKS[index]) for index in (8, 4, 2)]
    assert np.abs(np.array([cyan, magenta, yellow]) - expected).max() <= 15
    assert min(white) >= 245  # paper becomes white, the densest ink black
    assert max(black) <= 10
    assert picture.notes["icc"] == "converted to sRGB"
    plain = decoder.decode(encode(image, "TIFF"))
    assert difference(plain.content, picture.content) > 20  # the profile matters


def lab_to_srgb(lab: tuple[int, int, int]) -> list[int]:
    """CIE Lab (D50, 8 bit) -> sRGB, from the formulas of CIE 15 and IEC 61966-2-1."""
    lightness, a, b = lab[0] / 255 * 100, lab[1] - 128, lab[2] - 128
    fy = (lightness + 16) / 116
    f = np.array([fy + a / 500, fy, fy - b / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * (0.9642, 1.0, 0.8249)
    matrix = np.array(
        [[3.13427, -1.61691, -0.49064], [-0.97879, 1.91610, 0.03344], [0.07195, -0.22896, 1.40538]]
    )
    return srgb_encode(np.clip(matrix @ xyz, 0, 1))


def srgb_encode(linear: np.ndarray) -> list[int]:
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return [round(float(value) * 255) for value in curve]


def test_wide_gamut_is_converted_to_srgb(decoder: ImageDecoder) -> None:
    colours = [(128, 128, 128), (200, 100, 50), (60, 140, 90), (255, 255, 255), (0, 0, 0)]
    image = Image.new("RGB", (5, 1))
    image.putdata(colours)
    to_xyz = np.array(ADOBE_RGB)
    matrix = np.array(
        [[3.13427, -1.61691, -0.49064], [-0.97879, 1.91610, 0.03344], [0.07195, -0.22896, 1.40538]]
    )
    expected = [
        srgb_encode(np.clip(matrix @ to_xyz @ (np.array(colour) / 255) ** 2.2, 0, 1))
        for colour in colours
    ]
    for format_name, tolerance in (("PNG", 3), ("TIFF", 3), ("WEBP", 3)):
        options = {"lossless": True} if format_name == "WEBP" else {}
        data = encode(image, format_name, icc_profile=rgb_profile(ADOBE_RGB, 2.2), **options)
        picture = decoder.decode(data)
        assert np.abs(np.array(picture.content.getdata()) - expected).max() <= tolerance
        assert picture.notes["icc"] == "converted to sRGB"


def test_a_profile_works_together_with_alpha_palette_and_orientation(
    decoder: ImageDecoder,
) -> None:
    profile = rgb_profile(ADOBE_RGB, 2.2)
    reference = decoder.decode(encode(sample(), "PNG", icc_profile=profile)).content
    opaque = sample()
    opaque.putalpha(255)
    assert difference(decode(decoder, opaque, icc_profile=profile), reference) == 0
    seen = sample()
    seen.putalpha(alpha_ramp())
    expected = on_white(reference, alpha_ramp())
    assert difference(decode(decoder, seen, icc_profile=profile), expected) < 1
    palette = sample().quantize(32)
    expected = decode(decoder, palette.convert("RGB"), icc_profile=profile)
    assert difference(decode(decoder, palette, icc_profile=profile), expected) == 0
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned = sample().transpose(Image.Transpose.ROTATE_90)
    assert difference(decode(decoder, turned, icc_profile=profile, exif=exif), reference) == 0


def decode(decoder: ImageDecoder, image: Image.Image, **options: object) -> Image.Image:
    return decoder.decode(encode(image, "PNG", **options)).content


def test_a_grey_profile_is_applied_to_grey_of_8_and_16_bits(decoder: ImageDecoder) -> None:
    profile = grey_profile(1.0)  # linear light
    expected = [srgb_encode(np.array([value / 255] * 3)) for value in (0, 64, 128, 255)]
    grey8 = Image.fromarray(np.array([[0, 64, 128, 255]], np.uint8))
    grey16 = Image.fromarray(np.array([[0, 64, 128, 255]], np.uint16) * 257)
    for image in (grey8, grey16):
        seen = list(decode(decoder, image, icc_profile=profile).getdata())
        assert np.abs(np.array(seen) - expected).max() <= 2


def test_an_srgb_profile_changes_no_pixel(decoder: ImageDecoder) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = decoder.decode(encode(sample(), "PNG", icc_profile=profile))
    assert difference(picture.content, sample()) == 0
    assert "icc" not in picture.notes


@pytest.mark.parametrize(
    "profile",
    [
        pytest.param(b"not a profile", id="junk"),
        pytest.param(rgb_profile(ADOBE_RGB, 2.2)[:200], id="cut"),
        pytest.param(grey_profile(2.2), id="grey profile on colour"),
    ],
)
def test_a_broken_profile_is_ignored_with_a_note(decoder: ImageDecoder, profile: bytes) -> None:
    picture = decoder.decode(encode(sample(), "PNG", icc_profile=profile))
    assert difference(picture.content, sample()) == 0
    assert picture.notes["icc"].startswith("ignored: ")


def test_lab_tiff_is_converted(decoder: ImageDecoder) -> None:
    lab = Image.new("LAB", (1, 1), (125, 60, 155))
    picture = decoder.decode(encode(lab, "TIFF"))
    expected = np.array(lab_to_srgb((125, 60, 155)))
    assert np.abs(np.array(picture.content.getpixel((0, 0))) - expected).max() <= 4


# -- frames --------------------------------------------------------------------------------------


def frames() -> list[Image.Image]:
    return [sample(), Image.new("RGB", (96, 64), "green"), Image.new("RGB", (96, 64), "blue")]


@pytest.mark.parametrize(
    ("format_name", "tolerance"),
    [("GIF", 12), ("WEBP", 5), ("PNG", 0), ("TIFF", 0), ("AVIF", 4)],
)
def test_the_first_frame_is_used_and_all_are_counted(
    decoder: ImageDecoder, format_name: str, tolerance: float
) -> None:
    first, *others = frames()
    data = encode(first, format_name, save_all=True, append_images=others)
    picture = decoder.decode(data)
    assert difference(picture.content, sample()) <= tolerance
    assert picture.notes["frames"] == 3


def test_a_bigtiff_is_counted_and_decoded(decoder: ImageDecoder) -> None:
    first, *others = frames()
    data = encode(first, "TIFF", save_all=True, append_images=others, big_tiff=True)
    picture = decoder.decode(data)
    assert (difference(picture.content, sample()), picture.notes["frames"]) == (0, 3)


def test_a_gif_cut_after_its_first_frame_still_gives_that_frame(decoder: ImageDecoder) -> None:
    first, *others = frames()
    whole = encode(first, "GIF", save_all=True, append_images=others)
    picture = decoder.decode(whole[:-20])
    assert difference(picture.content, decoder.decode(whole).content) == 0
    assert picture.notes["frames"] is None


def test_a_gif_with_a_transparent_first_frame_is_laid_on_white(decoder: ImageDecoder) -> None:
    blank = Image.new("P", (8, 8), 0)
    blank.putpalette([0, 0, 0, 255, 0, 0])
    picture = decoder.decode(encode(blank, "GIF", transparency=0))
    assert set(picture.content.getdata()) == {(255, 255, 255)}


# -- HEIC, an optional extra ---------------------------------------------------------------------


def test_heic_is_decoded_upright_where_the_extra_is_installed(decoder: ImageDecoder) -> None:
    heif = pytest.importorskip("pillow_heif", reason="the optional extra [heic]")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned = sample(192, 128).transpose(Image.Transpose.ROTATE_90)
    buffer = io.BytesIO()
    heif.from_pillow(turned).save(buffer, exif=exif.tobytes(), quality=90)
    picture = decoder.decode(buffer.getvalue())
    assert picture.notes["format"] == "HEIF"
    assert difference(picture.content, sample(192, 128)) < 6


def test_heic_without_the_extra_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.modalities.image import rendering

    monkeypatch.setitem(rendering._PLUGINS, "HEIF", ("pillow_heif_missing", "HeifImageFile"))
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64
    with pytest.raises(PermanentRowError, match=r"pip install .*\[heic\]") as failure:
        rendering.render(data, rendering.Limits(1000, 1000))
    assert failure.value.code == "unsupported_format"
