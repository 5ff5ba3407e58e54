"""Resizing in the decoder processes gives what OpenCLIP's own transform gives, byte for byte."""

import random
import time
from typing import Any

import numpy as np
import pytest
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from pipeline.modalities.base import ReadOptions
from pipeline.modalities.image.decoder import ImageDecoder
from pipeline.modalities.image.fitting import Fit
from tests.helpers.images import difference, encode, sample

SIZES = [(96, 64), (64, 96), (224, 224), (225, 224), (7, 100), (100, 7), (1, 1), (640, 481)]
CONFIGS: list[dict[str, Any]] = [
    {"size": (224, 224)},
    {"size": (32, 32), "interpolation": "bilinear"},
    {"size": (64, 48)},
    {"size": (64, 48), "interpolation": "bilinear"},
    {"size": (64, 64), "resize_mode": "squash"},
    {"size": (48, 64), "resize_mode": "squash", "interpolation": "bilinear"},
    {"size": (64, 64), "resize_mode": "longest", "fill_color": 127},
    {"size": (48, 64), "resize_mode": "longest", "fill_color": (10, 20, 30)},
]


def fit(config: dict[str, Any]) -> Fit:
    height, width = config["size"]
    return Fit(
        height,
        width,
        config.get("resize_mode", "shortest"),
        config.get("interpolation", "bicubic"),
        config.get("fill_color", 0),
    )


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_it_equals_openclips_transform(config: dict[str, Any]) -> None:
    steps = image_transform_v2(PreprocessCfg(**config), is_train=False).transforms[:-2]
    chance = random.Random(str(config))
    sizes = [*SIZES, *((chance.randrange(8, 300), chance.randrange(20, 120)) for _ in range(20))]
    for size in sizes:
        image = sample(96, 64).resize(size)
        expected = image
        if max(size) <= 16 * min(size):
            for step in steps:
                expected = step(expected)
            assert np.array_equal(np.asarray(fit(config)(image)), np.asarray(expected)), size
        fitted = fit(config)(image)
        assert fitted.size == config["size"][::-1]
        assert difference(fit(config)(fitted), fitted) == 0  # twice equals once


def test_a_very_long_picture_keeps_its_centre_and_costs_little() -> None:
    strip = Image.new("RGB", (1, 30_000), "red")
    strip.paste("blue", (0, 14_990, 1, 15_010))
    started = time.process_time()
    fitted = Fit(224, 224)(strip)
    assert time.process_time() - started < 1
    assert fitted.size == (224, 224)
    assert fitted.getpixel((112, 112)) == (0, 0, 255)
    assert Fit(64, 64, "longest", fill=127)(strip).size == (64, 64)


def test_decoder_processes_do_it() -> None:
    with ImageDecoder(ReadOptions(decode_processes=1), Fit(32, 32)) as decoder:
        picture = decoder.decode(encode(sample(), "PNG"))
    assert difference(picture.content, Fit(32, 32)(sample())) == 0
    assert (picture.notes["width"], picture.notes["height"]) == (96, 64)  # as it was
