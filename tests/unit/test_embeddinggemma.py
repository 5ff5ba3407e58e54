"""EmbeddingGemma 2, with random weights, against transformers' own forward of the same folder."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoProcessor

from pipeline import embedders
from pipeline.embedders.embeddinggemma.opening import GemmaEmbedder
from pipeline.errors import ConfigurationError, ModelError, PermanentRowError
from pipeline.vectors import Vectors
from tests.helpers.embeddinggemma import DIMENSIONS, IDS, ITEM, QUERY, save
from tests.helpers.saved_by_transformers import quiet

TEXTS = ["a red bicycle", "猫", "The harbour at dawn, seen from the hill: small boats, gulls."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("gemma"))


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.fixture(scope="module")
def gemma(folder: Path) -> GemmaEmbedder:
    return opened(folder)


def opened(folder: Path, options: str = "", precision: str = "float32") -> Any:
    spec = f"{folder}{options}"
    family = embedders.family_that_claims(spec)
    assert family.kind == "embeddinggemma-2"
    return family.open(spec, device="cpu", precision=precision, batch_size=3)


class Reference:
    """What sentence-transformers does: the processor, the model, the mean over the tokens."""

    def __init__(self, folder: Path) -> None:
        with quiet():
            self.processor = AutoProcessor.from_pretrained(folder)
            self.model = AutoModel.from_pretrained(folder).eval()

    def embed(self, **given: Any) -> Vectors:
        inputs = self.processor(return_tensors="pt", padding=True, **given)
        with torch.no_grad():
            states = self.model(**inputs).last_hidden_state
        mask = inputs["attention_mask"][..., None].float()
        mean = (states * mask).sum(1) / mask.sum(1)
        rows: Vectors = torch.nn.functional.normalize(mean, dim=-1).numpy()
        return rows


@pytest.fixture(scope="module")
def reference(folder: Path) -> Reference:
    return Reference(folder)


def images() -> list[Image.Image]:
    random = np.random.default_rng(3)
    sizes = [(60, 40), (300, 200), (40, 400), (1000, 17), (200, 200)]
    return [
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for width, height in sizes
    ]


def sounds() -> list[Any]:
    random = np.random.default_rng(4)
    lengths = (330, 1600, 16_000, 40_001, 480_000)
    return [random.normal(0, 0.2, n).astype(np.float32) for n in lengths]


def films() -> list[list[Image.Image]]:
    """Of one frame, of several, and wide ones."""
    return [images()[:1], [image.resize((320, 180)) for image in images()], images()[3:4] * 2]


def everything() -> list[tuple[str, Sequence[Any]]]:
    """By modality."""
    return [("text", TEXTS), ("image", images()), ("audio", sounds()), ("video", films())]


def embed(gemma: Any, modality: str, contents: Sequence[Any], role: str = "item") -> Vectors:
    encoder = gemma.encoders[modality]
    rows: Vectors = encoder.embed(encoder.prepare(contents), role)
    return rows


def test_texts_are_those_of_transformers_with_the_prompt_of_their_role(
    gemma: GemmaEmbedder, reference: Reference
) -> None:
    for role, prompt in (("item", ITEM), ("query", QUERY)):
        rows = embed(gemma, "text", TEXTS, role)
        expected = reference.embed(text=[prompt + text for text in TEXTS])
        assert rows.shape == (3, DIMENSIONS)
        assert np.abs(rows - expected).max() < 1e-5
    assert np.abs(embed(gemma, "text", TEXTS) - embed(gemma, "text", TEXTS, "query")).max() > 1e-3


def test_images_are_those_of_transformers(gemma: GemmaEmbedder, reference: Reference) -> None:
    expected = np.concatenate([reference.embed(images=[image]) for image in images()])
    assert np.abs(embed(gemma, "image", images()) - expected).max() < 1e-5


def test_sounds_are_those_of_transformers(gemma: GemmaEmbedder, reference: Reference) -> None:
    expected = np.concatenate([reference.embed(audio=[samples]) for samples in sounds()])
    assert np.abs(embed(gemma, "audio", sounds()) - expected).max() < 1e-5


def test_films_are_those_of_transformers(gemma: GemmaEmbedder, reference: Reference) -> None:
    expected = [
        reference.embed(videos=[np.stack(frames)], do_sample_frames=False) for frames in films()
    ]
    assert np.abs(embed(gemma, "video", films()) - np.concatenate(expected)).max() < 1e-5


def test_one_alone_has_the_vector_that_it_has_among_others(gemma: GemmaEmbedder) -> None:
    for modality, contents in (
        ("text", TEXTS),
        ("image", images()),
        ("audio", sounds()),
        ("video", films()),
    ):
        alone = np.concatenate([embed(gemma, modality, [content]) for content in contents])
        assert np.abs(alone - embed(gemma, modality, contents)).max() < 1e-5, modality


def test_different_contents_have_different_vectors(gemma: GemmaEmbedder) -> None:
    rows = np.concatenate(
        [
            embed(gemma, "text", TEXTS),
            embed(gemma, "image", images()),
            embed(gemma, "audio", sounds()),
        ]
    )
    assert (rows @ rows.T - np.eye(len(rows))).max() < 0.9999


def test_what_a_text_says_is_never_a_special_token(gemma: GemmaEmbedder) -> None:
    tokens = gemma.encoders["text"].tokens  # type: ignore[attr-defined]
    for special in ("<|image|>", "<|audio|>", "<pad>", "<eos>", "<|video|>"):
        (ids,) = tokens.of([f"a {special} b"], "item")
        assert IDS[special] not in ids[1:-1]
    embed(gemma, "text", ["a caption that says <|image|> and <|audio|>"])


def test_a_long_text_becomes_windows_that_fit(gemma: GemmaEmbedder) -> None:
    encoder: Any = gemma.encoders["text"]
    text = "boats and gulls. " * 400
    windows = encoder.split(text, 8, 100)
    assert len(windows) > 1
    assert all(encoder.tokens.count(window.text) <= 2048 for window in windows)
    with pytest.raises(PermanentRowError, match="split it into windows first"):
        encoder.prepare([text])


def test_a_sound_too_short_to_be_heard_is_refused(gemma: GemmaEmbedder) -> None:
    with pytest.raises(PermanentRowError, match="hears nothing of fewer than 320"):
        gemma.encoders["audio"].prepare([np.zeros(319, dtype=np.float32)])


def test_fewer_dimensions_are_the_first_ones(gemma: GemmaEmbedder, folder: Path) -> None:
    fewer = opened(folder, "#dimensions=32")
    assert fewer.description.dimensions == 32
    rows, full = embed(fewer, "text", TEXTS), embed(gemma, "text", TEXTS)[:, :32]
    assert np.abs(rows - full / np.linalg.norm(full, axis=1, keepdims=True)).max() < 1e-6
    assert fewer.description.fingerprint() != gemma.description.fingerprint()


def test_a_smaller_budget_of_visual_tokens_is_the_processors(
    gemma: GemmaEmbedder, folder: Path, reference: Reference
) -> None:
    coarse = opened(folder, "#visual=70")
    rows = embed(coarse, "image", images())
    expected = [reference.embed(images=[i], max_soft_tokens=70) for i in images()]
    assert np.abs(rows - np.concatenate(expected)).max() < 1e-5
    assert np.abs(rows - embed(gemma, "image", images())).max() > 1e-3
    assert coarse.description.differences(gemma.description) == ["visual_tokens: 70 != 280"]


def test_no_inputs_give_no_rows(gemma: GemmaEmbedder) -> None:
    for modality, _ in everything():
        assert embed(gemma, modality, []).shape == (0, DIMENSIONS)


def test_towers_are_loaded_with_their_first_input(folder: Path) -> None:
    gemma = opened(folder)
    model = gemma.encoders["text"]._model
    embed(gemma, "text", TEXTS)
    assert (model.module.vision_tower, model.module.audio_tower) == (None, None)
    embed(gemma, "image", images()[:1])
    assert model.module.vision_tower is not None
    assert model.module.audio_tower is None


def test_a_model_without_a_tower_has_no_encoder_for_it(tmp_path: Path) -> None:
    gemma = opened(save(tmp_path, audio=False))
    assert sorted(gemma.encoders) == ["image", "text", "video"]
    assert gemma.description.visual_tokens == 280


def test_bfloat16_is_near_and_float16_is_refused(gemma: GemmaEmbedder, folder: Path) -> None:
    half = opened(folder, precision="bfloat16")
    for modality, contents in (
        ("text", TEXTS),
        ("image", images()),
        ("audio", sounds()),
        ("video", films()),
    ):
        cosines = (embed(half, modality, contents) * embed(gemma, modality, contents)).sum(1)
        assert cosines.min() > 0.99, modality
    for precision in ("float16", "int8"):
        with pytest.raises(ConfigurationError, match="float32 or bfloat16"):
            opened(folder, precision=precision)


def test_the_description_is_stored_and_read_again(gemma: GemmaEmbedder) -> None:
    stored = gemma.description.as_dict()
    again = embedders.described(json.loads(json.dumps(stored)))
    assert again.fingerprint() == gemma.description.fingerprint()
    assert (again.query_prompt, again.item_prompt) == (QUERY, ITEM)  # type: ignore[attr-defined]


def test_the_same_folder_elsewhere_is_the_same_model(gemma: GemmaEmbedder, copied: Path) -> None:
    assert opened(copied).description.fingerprint() == gemma.description.fingerprint()


def test_another_prompt_is_another_model(gemma: GemmaEmbedder, copied: Path) -> None:
    document = {"prompts": {"query": "find: ", "document": ITEM}}
    (copied / "config_sentence_transformers.json").write_text(json.dumps(document))
    assert opened(copied).description.fingerprint() != gemma.description.fingerprint()


@pytest.mark.parametrize(
    ("file", "document", "said"),
    [
        ("modules.json", [{"type": "x.Dense", "path": "2_Dense"}], "a step Dense"),
        ("1_Pooling/config.json", {"pooling_mode": "cls"}, "another pooling than the mean"),
        ("1_Pooling/config.json", {"pooling_mode_cls_token": True}, "another pooling"),
        ("1_Pooling/config.json", {"include_prompt": False}, "leaves the prompt out"),
        ("config_sentence_transformers.json", {"prompts": {"query": 3}}, "no text"),
        ("modules.json", {}, "no configuration"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": "x.y"}}, "asks for Python"),
        ("processor_config.json", {"processor_class": "No"}, "cannot be read by transformers"),
    ],
)
def test_what_would_be_done_otherwise_is_refused(
    copied: Path, file: str, document: Any, said: str
) -> None:
    (copied / file).write_text(json.dumps(document))
    with pytest.raises(ModelError, match=said):
        opened(copied)


def test_weights_that_lack_a_tensor_are_refused_where_they_are_wanted(copied: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    del weights["embed_vision.embedding_projection.weight"]
    save_file(weights, copied / "model.safetensors")
    gemma = opened(copied)
    embed(gemma, "text", TEXTS)
    with pytest.raises(ModelError, match="lacks 1 tensors of the model"):
        embed(gemma, "image", images()[:1])


def test_weights_that_are_not_finite_or_of_another_size_are_refused(copied: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    name = "language_model.embedding_projection.weight"
    whole = weights[name].clone()
    weights[name][0, 0] = float("nan")
    save_file(weights, copied / "model.safetensors")
    with pytest.raises(ModelError, match="not finite"):
        opened(copied)
    weights[name] = whole[:10].clone()
    save_file(weights, copied / "model.safetensors")
    with pytest.raises(ModelError, match=r"has the shape \(10, 64\)"):
        opened(copied)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("#dimensions=97", "16 to 96 can be kept"),
        ("#dimensions=-1", "no option"),
        ("#visual=71", "70, 140, 280"),
        ("#dimensions=32,size=3", "no option"),
    ],
)
def test_options_that_there_are_not(folder: Path, options: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        opened(folder, options)


def test_whose_spec_it_is(folder: Path, tmp_path: Path) -> None:
    def kind(spec: str) -> str:
        return embedders.family_that_claims(spec).kind

    assert kind(f"local-dir:{folder}") == kind(f"{folder}#visual=70") == "embeddinggemma-2"
    assert kind("google/embeddinggemma-2") == "embeddinggemma-2"
    assert kind("hf-hub:google/embeddinggemma-2-300m#dimensions=256") == "embeddinggemma-2"
    assert kind(str(tmp_path)) == kind("ViT-B-32/openai") == kind("demo") == "openclip"
    with pytest.raises(ModelError, match="does not exist"):
        embedders.family_that_claims("google/embeddinggemma-2").open(
            f"{tmp_path}/none#visual=70", device="cpu", precision="auto", batch_size=0
        )
