"""The embedder gives OpenCLIP's own vectors: as unit rows, in order, faster."""

import io
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from pipeline import embedders
from pipeline.embedders.local import device as device_module
from pipeline.embedders.openclip.blocks import LastBlock
from pipeline.embedders.openclip.embedder import MultimodalEmbedder, precision_cosine
from pipeline.embedders.openclip.image_towers import tokens_of_an_image
from pipeline.embedders.openclip.loading import _build
from pipeline.errors import ConfigurationError, ModelError, OutOfMemory, PermanentRowError
from tests.helpers.checkpoints import (
    SIGLIP_PREPROCESS,
    TINY_CLIP,
    TINY_SIGLIP,
    model_of,
    save_checkpoint,
    save_unbearable,
)

CAPTIONS = [
    "a photo of a red bicycle leaning against the old stone wall of a house",
    "a cat",
    "",
    "two dogs on a green sofa",
    "a cat",
]


def pictures() -> list[Image.Image]:
    random = np.random.default_rng(3)
    sizes = [(32, 32), (60, 40), (31, 90), (200, 150), (8, 5)]
    return [
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for width, height in sizes
    ]


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("clip"), TINY_CLIP)


@pytest.fixture(scope="module")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("siglip")
    return save_checkpoint(folder, TINY_SIGLIP, preprocess=SIGLIP_PREPROCESS)


@pytest.fixture(scope="module")
def clip(clip_folder: Path) -> MultimodalEmbedder:
    return MultimodalEmbedder(str(clip_folder), device="cpu", precision="float32", batch_size=2)


@pytest.fixture(scope="module")
def siglip(siglip_folder: Path) -> MultimodalEmbedder:
    return MultimodalEmbedder(str(siglip_folder), device="cpu", precision="float32")


# vectors


def test_texts_and_images_give_unit_float32_rows_in_input_order(clip: MultimodalEmbedder) -> None:
    texts, images = clip.embed_text(CAPTIONS), clip.embed_images(pictures())
    for rows in (texts, images):
        assert rows.shape == (5, clip.dimensions) == (5, 32)
        assert rows.dtype == np.float32
        assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-6)
    for position, caption in enumerate(CAPTIONS):
        assert texts[position] == pytest.approx(clip.embed_text([caption])[0], abs=1e-6)
    for position, picture in enumerate(pictures()):
        assert images[position] == pytest.approx(clip.embed_images([picture])[0], abs=1e-6)


def test_images_are_the_same_where_every_pixel_is(
    clip: MultimodalEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = np.random.default_rng(4).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    other = one.copy()
    other[1, 5, 7:] ^= 255
    sizes: list[int] = []
    forward = clip.model.forward

    def recording(encode: Any, batch: Any) -> Any:
        sizes.append(len(batch))
        return forward(encode, batch)

    monkeypatch.setattr(clip.model, "forward", recording)
    rows = clip.encoders["image"].embed([one, other, one.copy(), other[:, ::-1].copy()])
    assert sum(sizes) == 3
    assert (rows[0] == rows[2]).all()
    assert len(np.unique(rows, axis=0)) == 3


def test_no_input_gives_no_row(clip: MultimodalEmbedder) -> None:
    assert clip.embed_text([]).shape == (0, 32)
    assert clip.embed_images([]).shape == (0, 32)


def test_a_bare_string_is_not_taken_for_a_list_of_letters(clip: MultimodalEmbedder) -> None:
    with pytest.raises(TypeError):
        clip.embed_text("a cat")


FAMILIES: dict[str, tuple[dict[str, Any], bool]] = {
    "clip": (TINY_CLIP, True),
    "quickgelu": ({**TINY_CLIP, "quick_gelu": True}, True),
    "custom text": ({**TINY_CLIP, "custom_text": True}, True),
    "projection with bias": (
        {**TINY_CLIP, "text_cfg": {**TINY_CLIP["text_cfg"], "proj_bias": True}},
        True,
    ),
    "layer scale, custom blocks": (
        {
            **TINY_CLIP,
            "text_cfg": {**TINY_CLIP["text_cfg"], "ls_init_value": 0.5, "scale_heads": True},
        },
        True,
    ),
    "read at a named end token": (
        {**TINY_CLIP, "text_cfg": {**TINY_CLIP["text_cfg"], "pool_type": "eos", "eos_id": 0}},
        True,
    ),
    "read at the last position": (
        {**TINY_CLIP, "text_cfg": {**TINY_CLIP["text_cfg"], "pool_type": "last"}},
        False,
    ),
    "not causal": (
        {
            **TINY_CLIP,
            "custom_text": True,
            "text_cfg": {**TINY_CLIP["text_cfg"], "no_causal_mask": True},
        },
        False,
    ),
    "image layer scale": (
        {**TINY_CLIP, "vision_cfg": {**TINY_CLIP["vision_cfg"], "ls_init_value": 0.5}},
        True,
    ),
    "one image block": (
        {**TINY_CLIP, "vision_cfg": {**TINY_CLIP["vision_cfg"], "layers": 1}},
        True,
    ),
    "images read at the mean": (
        {**TINY_CLIP, "vision_cfg": {**TINY_CLIP["vision_cfg"], "pool_type": "avg"}},
        True,
    ),
    "normed after pooling": (
        {**TINY_CLIP, "vision_cfg": {**TINY_CLIP["vision_cfg"], "final_ln_after_pool": True}},
        True,
    ),
    "coca": (
        {
            **TINY_CLIP,
            "custom_text": True,
            "text_cfg": {**TINY_CLIP["text_cfg"], "context_length": 76, "embed_cls": True,
                         "output_tokens": True},
            "vision_cfg": {**TINY_CLIP["vision_cfg"], "attentional_pool": True,
                           "attn_pooler_heads": 2, "output_tokens": True},
            "multimodal_cfg": {"context_length": 76, "vocab_size": 49408, "width": 48, "heads": 2,
                               "layers": 1, "attn_pooler_heads": 2},
        },
        False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_equal_openclips_own_in_every_family(family: str, tmp_path: Path) -> None:
    config, cut = FAMILIES[family]
    folder = save_checkpoint(tmp_path / "model", config)
    embedder = MultimodalEmbedder(str(folder), device="cpu", precision="float32", batch_size=3)
    lengths: list[int] = []
    forward = embedder.model.forward

    def recording(encode: Any, batch: Any) -> Any:
        if isinstance(batch, np.ndarray):
            lengths.append(batch.shape[1])
        return forward(encode, batch)

    embedder.model.forward = recording  # type: ignore[method-assign]

    model = model_of(config)
    context = config["text_cfg"]["context_length"]
    with torch.inference_mode():
        tokens = SimpleTokenizer(context_length=context)(CAPTIONS)
        texts = torch.nn.functional.normalize(model.encode_text(tokens), dim=-1)
        transform = image_transform_v2(PreprocessCfg(size=(32, 32)), is_train=False)
        batch = torch.stack([transform(picture) for picture in pictures()])
        images = torch.nn.functional.normalize(model.encode_image(batch), dim=-1)

    assert np.abs(embedder.embed_text(CAPTIONS) - texts.numpy()).max() < 1e-5
    assert np.abs(embedder.embed_images(pictures()) - images.numpy()).max() < 1e-5
    assert (max(lengths) < context) is cut
    last = embedder.model.module.visual.transformer.resblocks[-1]
    assert isinstance(last, LastBlock) is (family not in {"images read at the mean", "coca"})


def test_siglip_vectors_equal_openclips_own(
    siglip: MultimodalEmbedder, siglip_folder: Path
) -> None:
    captions = ["a red bicycle", "two CATS, on a sofa!", "dog"]
    model = model_of(TINY_SIGLIP)
    tokenizer = HFTokenizer(str(siglip_folder), context_length=16, clean="canonicalize")
    with torch.inference_mode():
        texts = torch.nn.functional.normalize(model.encode_text(tokenizer(captions)), dim=-1)
    assert np.abs(siglip.embed_text(captions) - texts.numpy()).max() < 1e-5
    prepared = np.stack(siglip.encoders["text"].prepare(captions))
    assert (prepared == tokenizer(captions).numpy()).all()
    assert prepared.shape == (3, 16)


def test_equal_inputs_of_a_call_are_embedded_once(
    clip: MultimodalEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[int] = []
    forward = clip.model.forward

    def counting(encode: Any, batch: Any) -> Any:
        embedded.append(len(batch))
        return forward(encode, batch)

    monkeypatch.setattr(clip.model, "forward", counting)
    red, blue = Image.new("RGB", (40, 40), "red"), Image.new("RGB", (40, 40), "blue")
    images = clip.embed_images([red, blue, red.copy(), red])
    assert sum(embedded) == 2
    assert (images[0] == images[2]).all()
    assert not (images[0] == images[1]).all()
    embedded.clear()
    clip.embed_text(["a cat", "A  cat", "a dog", "a cat"])  # one text to the tokenizer
    assert sum(embedded) == 2


def test_short_texts_share_one_large_batch_and_long_ones_do_not(
    clip: MultimodalEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, ...]] = []
    forward = clip.model.forward

    def recording(encode: Any, batch: Any) -> Any:
        shapes.append(batch.shape)
        return forward(encode, batch)

    monkeypatch.setattr(clip.model, "forward", recording)
    words = [f"{a}{b}" for a in "abcdefgh" for b in "klmnopq"]
    clip.embed_text([*words, " ".join(words)[:200]])
    assert all(rows * length <= clip.batch_size * 77 for rows, length in shapes)
    assert max(rows for rows, _ in shapes) > 10 * clip.batch_size


def test_what_texts_begin_with_in_common_goes_through_the_model_once(
    clip: MultimodalEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    block = clip.model.module.transformer.resblocks[0]
    mlp = block.mlp.forward
    monkeypatch.setattr(block.mlp, "forward", lambda x: (computed.append(len(x)), mlp(x))[1])
    monkeypatch.setattr(clip.model, "batch_size", 32)
    # Not sorted: beginnings are to be found wherever they stand in the call.
    animals, colours = ["cat", "dog", "gull"], ["red", "blue", "green", "old"]
    texts = [f"a photo of a {colour} {animal}" for animal in animals for colour in colours]
    rows = clip.embed_text(texts)
    # Start, "a photo of a", each colour; then each text's last word and end.
    assert sum(computed) == 5 + 4 + 12 * 2
    for text, row in zip(texts, rows, strict=True):
        assert row == pytest.approx(clip.embed_text([text])[0], abs=1e-6)


def test_short_texts_are_not_padded_to_the_width_of_long_ones(
    clip: MultimodalEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, ...]] = []
    forward = clip.model.forward
    monkeypatch.setattr(
        clip.model, "forward", lambda e, b: (shapes.append(b.shape), forward(e, b))[1]
    )
    # In alphabetical order a short one and a long one take turns.
    texts = [letter + tail for letter in "abcdefghij" for tail in ("", " red" * 40)]
    clip.embed_text(texts)
    tokens = sum(3 if len(text) == 1 else 43 for text in texts)
    assert tokens <= sum(rows * width for rows, width in shapes) < 1.2 * tokens


def test_a_text_beyond_the_context_is_the_mean_of_its_windows(clip: MultimodalEmbedder) -> None:
    text = "the harbour is still. three boats wait by the wall. " * 12
    windows = clip.encoders["text"].split(text, 0, 64)  # type: ignore[attr-defined]
    assert len(windows) > 1
    mean = clip.embed_text([window.text for window in windows]).mean(axis=0)
    assert clip.embed_text([text, "a cat"])[0] == pytest.approx(
        mean / np.linalg.norm(mean), abs=1e-5
    )


def test_cross_modal_similarity_takes_one_or_many_and_paths(
    clip: MultimodalEmbedder, tmp_path: Path
) -> None:
    red, blue = Image.new("RGB", (40, 40), "red"), Image.new("RGB", (40, 40), "blue")
    path = tmp_path / "red.png"
    red.save(path)
    expected = clip.embed_text(["a cat", "a dog"]) @ clip.embed_images([red, blue]).T
    got = clip.cross_modal_similarity(["a cat", "a dog"], [path, blue])
    assert got == pytest.approx(expected, abs=1e-6)
    assert clip.cross_modal_similarity("a cat", str(path)) == pytest.approx(
        expected[:1, :1], abs=1e-6
    )


def test_many_threads_may_prepare_while_others_embed(clip: MultimodalEmbedder) -> None:
    images = pictures() * 4

    def both(number: int) -> tuple[np.ndarray, np.ndarray]:
        of_images, of_texts = clip.encoders["image"], clip.encoders["text"]
        pixels = of_images.prepare([images[number]])
        tokens = of_texts.prepare([f"picture number {number}"])
        return of_images.embed(pixels)[0], of_texts.embed(tokens)[0]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(both, range(len(images))))
    assert np.stack([i for i, _ in results]) == pytest.approx(clip.embed_images(images), abs=1e-6)
    texts = clip.embed_text([f"picture number {number}" for number in range(len(images))])
    assert np.stack([t for _, t in results]) == pytest.approx(texts, abs=1e-6)
    assert threading.active_count() < 50


# pixels


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_prepared_images_are_openclips_transform(
    resize_mode: str, interpolation: str, tmp_path: Path
) -> None:
    wanted = {"resize_mode": resize_mode, "interpolation": interpolation, "fill_color": 9,
              "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}  # fmt: skip
    folder = save_checkpoint(tmp_path / "model", TINY_CLIP, preprocess=wanted)
    embedder = MultimodalEmbedder(str(folder), device="cpu", precision="float32")
    seen: list[torch.Tensor] = []
    embedder.model.module.encode_image = lambda batch: (seen.append(batch), batch[:, :, 0, 0])[1]

    config = PreprocessCfg(size=(32, 32), **wanted)
    transform = image_transform_v2(config, is_train=False)
    for picture in [*pictures(), pictures()[3].convert("L"), pictures()[3].convert("RGBA")]:
        (pixels,) = embedder.encoders["image"].prepare([picture])
        assert (pixels.dtype, pixels.shape) == (np.uint8, (3, 32, 32))
        embedder.encoders["image"].embed([pixels])
        assert torch.allclose(seen.pop()[0], transform(picture), atol=1e-6)
    description = embedder.description
    assert (description.mean, description.std) == ((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    assert (description.resize_mode, description.interpolation) == (resize_mode, interpolation)


def test_a_sliver_is_cropped_before_it_would_be_blown_up(
    clip: MultimodalEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 x 30,000 pixels, resized to a height of 32 as they are, would be 92 MB."""
    resized: list[int] = []
    resize = Image.Image.resize

    def recording(image: Image.Image, size: tuple[int, int], *arguments: Any) -> Image.Image:
        resized.append(size[0] * size[1])
        return resize(image, size, *arguments)

    monkeypatch.setattr(Image.Image, "resize", recording)
    ramp = np.linspace(0, 255, 30_000).astype(np.uint8)
    for rows in (ramp[None, :], ramp[:, None]):
        sliver = Image.fromarray(np.repeat(rows[..., None], 3, axis=-1))
        (pixels,) = clip.encoders["image"].prepare([sliver])
        assert np.abs(pixels.astype(int) - 127).max() <= 1  # the middle of the ramp
    assert max(resized) <= 16 * 32 * 32


def test_cropping_a_long_image_first_changes_no_pixel_by_much(clip: MultimodalEmbedder) -> None:
    smooth = np.indices((40, 800)).sum(axis=0) % 256
    picture = Image.fromarray(smooth.astype(np.uint8)).convert("RGB").resize((801, 41))
    transform = image_transform_v2(PreprocessCfg(size=(32, 32)), is_train=False).transforms
    expected = picture
    for step in transform[:-2]:
        expected = step(expected)
    (pixels,) = clip.encoders["image"].prepare([picture])
    difference = pixels.transpose(1, 2, 0).astype(int) - np.asarray(expected)
    assert np.abs(difference).mean() < 1.5


def test_an_image_that_cannot_be_resized_is_that_rows_error(
    clip: MultimodalEmbedder, tmp_path: Path
) -> None:
    """Such as one that is opened from half a file: its pixels are read when it is resized."""
    pictures()[3].save(tmp_path / "whole.png")
    half = (tmp_path / "whole.png").read_bytes()[:2000]
    with Image.open(io.BytesIO(half)) as image, pytest.raises(PermanentRowError) as caught:
        clip.encoders["image"].prepare([image])
    assert caught.value.code == "corrupt"


# trouble


def test_a_row_without_direction_is_nan_and_the_others_are_not(
    clip: MultimodalEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = clip.model.module.encode_image

    def poisoned(batch: torch.Tensor) -> torch.Tensor:
        features = encode(batch).clone()
        features[batch.flatten(1).mean(dim=1) < -1] = 0  # black pictures
        return features

    monkeypatch.setattr(clip.model.module, "encode_image", poisoned)
    white, black = Image.new("RGB", (32, 32), "white"), Image.new("RGB", (32, 32), "black")
    encoder = clip.encoders["image"]
    rows = encoder.embed(encoder.prepare([white, black, white]))
    assert np.isnan(rows).all(axis=1).tolist() == [False, True, False]
    assert np.linalg.norm(rows[[0, 2]], axis=1) == pytest.approx(1, abs=1e-6)
    with pytest.raises(ModelError, match="1 of 3 images"):
        clip.embed_images([white, black, white])


@pytest.mark.parametrize(
    "raised",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_too_large_a_batch_is_out_of_memory(
    raised: Exception, clip: MultimodalEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: torch.Tensor) -> torch.Tensor:
        raise raised

    monkeypatch.setattr(clip.model.module, "encode_image", fail)
    monkeypatch.setattr(clip.model, "batch_size", 32)
    with pytest.raises(OutOfMemory, match="PIPELINE_BATCH_SIZE"):
        clip.embed_images(pictures()[:1])
    assert clip.batch_size == 16  # the next batch is not to fail in its turn


def test_a_model_too_large_for_the_device_is_said_to_be(
    clip: MultimodalEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    module = torch.nn.Linear(1, 1)
    monkeypatch.setattr(module, "to", full)
    with pytest.raises(ModelError, match=r"does not fit into the memory of cpu; .*PIPELINE_DEVICE"):
        clip.model.use(module, "float32")


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (RuntimeError("CUDA error: device-side assert"), ModelError),
        (RuntimeError("shapes do not match"), RuntimeError),
    ],
)
def test_other_failures_are_not_taken_for_memory(
    raised: Exception,
    expected: type[Exception],
    clip: MultimodalEmbedder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: torch.Tensor) -> torch.Tensor:
        raise raised

    monkeypatch.setattr(clip.model.module, "encode_image", fail)
    with pytest.raises(expected):
        clip.embed_images(pictures()[:1])


def test_a_picture_of_one_pixel_is_a_picture(clip_folder: Path) -> None:
    """On purpose: see docs/decisions.md."""
    clip = MultimodalEmbedder(str(clip_folder), device="cpu", precision="float32")
    colours = [(255, 0, 0), (0, 0, 255)]
    dots, large = (
        clip.embed_images([Image.new("RGB", size, colour) for colour in colours])
        for size in ((1, 1), (200, 200))
    )
    assert np.linalg.norm(dots, axis=1) == pytest.approx(1)
    assert dots == pytest.approx(large, abs=1e-5)


# precision


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "int8"])
@pytest.mark.parametrize("model", ["clip_folder", "siglip_folder", "demo"])
def test_every_precision_keeps_the_direction_of_float32(
    precision: str, model: str, request: pytest.FixtureRequest
) -> None:
    spec = "demo" if model == "demo" else str(request.getfixturevalue(model))
    assert precision_cosine(spec, precision, device="cpu") >= 0.999


def test_auto_is_bfloat16_only_where_the_cpu_multiplies_it(
    clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for flags, expected in [
        ({"avx512f", "avx512_bf16"}, "bfloat16"),
        ({"amx_bf16"}, "bfloat16"),
        ({"avx2"}, "float32"),
    ]:
        monkeypatch.setattr(device_module, "cpu_flags", lambda flags=flags: flags)
        embedder = MultimodalEmbedder(str(clip_folder), device="cpu")
        assert embedder.description.precision == expected
        assert embedder.model.module.visual.proj.dtype == device_module.DTYPES[expected]
        again = MultimodalEmbedder(str(clip_folder), device="cpu", precision=expected)
        assert again.description == embedder.description
        assert (again.embed_text(CAPTIONS) == embedder.embed_text(CAPTIONS)).all()


def test_auto_stays_with_float32_when_the_model_does_not_bear_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_unbearable(tmp_path)
    monkeypatch.setattr(device_module, "cpu_flags", lambda: {"avx512_bf16"})
    embedder = MultimodalEmbedder(str(folder), device="cpu")
    assert embedder.description.precision == "float32"
    exact = MultimodalEmbedder(str(folder), device="cpu", precision="float32")
    assert (embedder.embed_images(pictures()) == exact.embed_images(pictures())).all()
    assert "does not bear" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": "int4"}, "set auto, float32, bfloat16, float16, int8"),
        ({"device": "warp"}, "set auto, cpu, cuda"),
        ({"device": "cuda:99"}, "set auto, cpu, cuda"),
    ],
)
def test_a_device_or_precision_that_is_not_there_is_named(
    arguments: dict[str, str], message: str, clip_folder: Path
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        MultimodalEmbedder(str(clip_folder), **arguments)  # type: ignore[arg-type]


# the description


def test_the_description_says_what_the_model_is(
    clip: MultimodalEmbedder, siglip: MultimodalEmbedder
) -> None:
    one, other = clip.description, siglip.description
    assert (one.dimensions, one.image_size, one.context_length) == (32, (32, 32), 77)
    assert (other.dimensions, other.image_size, other.context_length) == (48, (32, 32), 16)
    assert (one.text_is_causal, other.text_is_causal) == (True, False)
    assert one.mean == pytest.approx(open_clip.OPENAI_DATASET_MEAN)
    assert (other.mean, other.std, other.resize_mode) == ((0.5,) * 3, (0.5,) * 3, "squash")
    assert (one.tokenizer["kind"], other.tokenizer["kind"]) == ("SimpleTokenizer", "HFTokenizer")
    assert (one.logit_scale, one.logit_bias) == (pytest.approx(1 / 0.07, rel=1e-4), None)
    assert (other.logit_scale, other.logit_bias) == (pytest.approx(1 / 0.07, rel=1e-4), -10.0)
    assert one.precision == "float32"


def test_a_description_survives_json(siglip: MultimodalEmbedder) -> None:
    description = siglip.description
    stored = embedders.described(json.loads(json.dumps(description.as_dict())))
    assert stored == description
    assert stored.fingerprint() == description.fingerprint()
    assert stored.differences(description) == []


def test_equal_content_has_one_fingerprint_wherever_it_lies(
    clip: MultimodalEmbedder, clip_folder: Path, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "copy", TINY_CLIP)
    copy = MultimodalEmbedder(str(tmp_path / "copy"), device="cpu", precision="float32").description
    assert copy.model != clip.description.model
    assert copy.fingerprint() == clip.description.fingerprint()
    assert copy.differences(clip.description) == []


def changed_weights(folder: Path) -> None:
    state = model_of(TINY_CLIP).state_dict()
    state["text_projection"][0, 0] += 1
    save_checkpoint(folder, TINY_CLIP, state=state)


CHANGES: dict[str, tuple[Any, str]] = {
    "weights": (changed_weights, "weights_sha256"),
    "activation": (
        lambda folder: save_checkpoint(folder, {**TINY_CLIP, "quick_gelu": True}),
        "architecture_config.quick_gelu: none != True",
    ),
    "preprocessing": (
        lambda folder: save_checkpoint(folder, TINY_CLIP, preprocess={"mean": [0.5, 0.5, 0.5]}),
        "mean",
    ),
    "resizing": (
        lambda folder: save_checkpoint(folder, TINY_CLIP, preprocess={"resize_mode": "squash"}),
        "resize_mode: shortest != squash",
    ),
    "tokenizer": (
        lambda folder: save_checkpoint(
            folder,
            {
                **TINY_CLIP,
                "text_cfg": {**TINY_CLIP["text_cfg"], "tokenizer_kwargs": {"clean": "whitespace"}},
            },
        ),
        "tokenizer.clean: lower != whitespace",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_of_the_model_is_another_fingerprint_and_named(
    change: str, clip: MultimodalEmbedder, tmp_path: Path
) -> None:
    make, named = CHANGES[change]
    make(tmp_path / "other")
    other = MultimodalEmbedder(str(tmp_path / "other"), device="cpu", precision="float32")
    assert other.description.fingerprint() != clip.description.fingerprint()
    assert any(line.startswith(named) for line in clip.description.differences(other.description))


def test_precision_is_part_of_the_fingerprint(clip: MultimodalEmbedder, clip_folder: Path) -> None:
    lower = MultimodalEmbedder(str(clip_folder), device="cpu", precision="bfloat16").description
    assert lower.fingerprint() != clip.description.fingerprint()
    assert clip.description.differences(lower) == ["precision: float32 != bfloat16"]


# imports


def test_importing_the_package_or_a_description_loads_no_torch() -> None:
    code = (
        "import sys, pipeline, pipeline.embedders.description, pipeline.modalities.text.windows, "
        "pipeline.embedders.openclip.checkpoints, "
        "pipeline.vectors, pipeline.embedders.local.hub, pipeline.embedders.openclip.prefixes; "
        "sys.exit(bool({'torch', 'open_clip', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("side", "patch", "batch_size", "largest"),
    [(32, 8, 0, 32), (112, 8, 0, 8), (112, 8, 20, 16), (32, 8, 20, 16)],
)
def test_pictures_of_many_patches_go_through_the_model_in_smaller_batches(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    side: int,
    patch: int,
    batch_size: int,
    largest: int,
) -> None:
    """Unless somebody said how many: 14 x 14 patches and a class token take 197 of 1,600.

    64 in batches of at most 20 are four of 16.
    """
    vision = TINY_CLIP["vision_cfg"] | {"image_size": side, "patch_size": patch}
    folder = save_checkpoint(tmp_path, TINY_CLIP | {"vision_cfg": vision})
    embedder = MultimodalEmbedder(
        str(folder), device="cpu", precision="float32", batch_size=batch_size
    )
    pixels = list(np.random.default_rng(0).integers(0, 256, (64, 3, side, side), dtype=np.uint8))
    sizes: list[int] = []
    encode = embedder.model.module.encode_image

    def recorded(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        features: torch.Tensor = encode(batch)
        return features

    monkeypatch.setattr(embedder.model.module, "encode_image", recorded)
    encoder = embedder.encoders["image"]
    together = encoder.embed(pixels)
    assert max(sizes) == largest
    assert sum(sizes) == 64
    alone = np.concatenate([encoder.embed([p]) for p in pixels])
    assert together == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize(
    ("architecture", "tokens"),
    [("ViT-B-32", 50), ("ViT-L-14", 257), ("ViT-B-16-SigLIP", 196), ("EVA02-B-16", 196)]
    + [(other, None) for other in ("RN50", "convnext_base", "swin_base_patch4_window7_224")],
)
def test_tokens_of_an_image_are_those_of_plain_vits(architecture: str, tokens: int | None) -> None:
    with torch.device("meta"):
        model = _build(open_clip.get_model_config(architecture))
    assert tokens_of_an_image(model) == tokens
