"""Probes with real (tiny, random) models: every kind of drift is planted and noticed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from pipeline import spaces
from pipeline.embedders import Description, Embedder
from pipeline.embedders.openclip.embedder import MultimodalEmbedder
from pipeline.errors import ModelError
from pipeline.postgres.connections import Connection
from pipeline.spaces import Space, probes
from tests.helpers.checkpoints import (
    SIGLIP_PREPROCESS,
    TINY_CLIP,
    TINY_SIGLIP,
    model_of,
    save_checkpoint,
)
from tests.helpers.fakes import FakeEmbedder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def clip(folder: Path) -> MultimodalEmbedder:
    return load(save_checkpoint(folder / "clip", TINY_CLIP))


@pytest.fixture(scope="module")
def siglip(folder: Path) -> MultimodalEmbedder:
    return load(save_checkpoint(folder / "siglip", TINY_SIGLIP, preprocess=SIGLIP_PREPROCESS))


def load(path: Path, precision: str = "float32") -> MultimodalEmbedder:
    return MultimodalEmbedder(str(path), device="cpu", precision=precision)


def probed(connection: Connection, embedder: Any, name: str = "probed") -> Space:
    space = spaces.create(connection, name, embedder)
    probes.store(connection, space, embedder)
    return space


class Disguised:
    """An embedder that claims to be another: a drift that no description shows."""

    def __init__(self, embedder: Embedder, description: Description) -> None:
        self.encoders, self.description = embedder.encoders, description


def both_refuse(
    connection: Connection, space: Space, before: Any, now: Any, field: str, modality: str
) -> None:
    """The description names the field, and the vectors alone are noticed too."""
    with pytest.raises(ModelError, match=field):
        spaces.check_model(space, now.description)
    with pytest.raises(ModelError, match=rf"probes \({modality}\).*what changed:.*{field}"):
        probes.verify(connection, space, now)
    with pytest.raises(ModelError, match=rf"probes \({modality}\).*look at the weights"):
        probes.verify(connection, space, Disguised(now, before.description))


def test_the_same_model_passes_again_and_again(
    connection: Connection, clip: MultimodalEmbedder, folder: Path
) -> None:
    space = probed(connection, clip)
    row = connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE modality = 'image') FROM space_probes "
        "WHERE space_id = %s",
        (space.id,),
    ).fetchone()
    assert row == (9, 4)
    probes.verify(connection, space, clip)
    probes.verify(connection, space, load(folder / "clip"))


def test_a_space_without_probes_gets_them_from_the_first_worker(
    connection: Connection, space: Space
) -> None:
    embedder = FakeEmbedder()
    probes.verify(connection, space, embedder)
    probes.verify(connection, space, embedder)
    with pytest.raises(ModelError, match="probes"):
        probes.verify(connection, space, FakeEmbedder(12))


def test_a_role_that_may_not_store_probes_is_not_kept_from_working(
    connection: Connection, space: Space, caplog: pytest.LogCaptureFixture
) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL ROLE pipeline_ingest")
        probes.verify(connection, space, FakeEmbedder())
    assert "may not store any" in caplog.text
    assert connection.execute("SELECT count(*) FROM space_probes").fetchone() == (0,)


def test_other_weights_are_noticed(
    connection: Connection, clip: MultimodalEmbedder, folder: Path
) -> None:
    state = model_of(TINY_CLIP).state_dict()
    state["visual.proj"] = state["visual.proj"] + 0.05 * torch.randn_like(state["visual.proj"])
    now = load(save_checkpoint(folder / "other", TINY_CLIP, state=state))
    both_refuse(connection, probed(connection, clip), clip, now, "weights_sha256", "image")


def test_quickgelu_is_noticed(
    connection: Connection, clip: MultimodalEmbedder, folder: Path
) -> None:
    now = load(save_checkpoint(folder / "quick", {**TINY_CLIP, "quick_gelu": True}))
    field = "architecture_config.quick_gelu"
    # A picture's vector moves by less than 1e-5 there, so the texts alone tell.
    both_refuse(connection, probed(connection, clip), clip, now, field, "text")


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("mean", [0.3, 0.3, 0.3], "mean"),
        ("interpolation", "bilinear", "interpolation"),
        ("resize_mode", "shortest", "resize_mode"),
    ],
)
def test_other_preprocessing_is_noticed(
    connection: Connection,
    siglip: MultimodalEmbedder,
    folder: Path,
    name: str,
    value: Any,
    field: str,
) -> None:
    preprocess = {**SIGLIP_PREPROCESS, name: value}
    now = load(save_checkpoint(folder / f"pre-{name}", TINY_SIGLIP, preprocess=preprocess))
    both_refuse(connection, probed(connection, siglip), siglip, now, field, "image")


def test_another_padding_of_the_tokenizer_is_noticed(
    connection: Connection, siglip: MultimodalEmbedder, folder: Path
) -> None:
    path = save_checkpoint(folder / "padded", TINY_SIGLIP, preprocess=SIGLIP_PREPROCESS)
    file = path / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pad_token": "<pad>"}))
    with pytest.raises(ModelError, match=r"probes \(text\)"):
        probes.verify(connection, probed(connection, siglip), load(path))


def test_a_library_that_resizes_otherwise_is_noticed_and_its_version_named(
    connection: Connection, clip: MultimodalEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = probed(connection, clip)
    versions = probes.libraries()
    assert {"torch", "pillow", "open_clip_torch"} <= set(versions)
    monkeypatch.setattr(probes, "libraries", lambda: {**versions, "pillow": "99.0"})
    probes.verify(connection, space, clip)  # another version with the same vectors is welcome
    resize = Image.Image.resize

    def coarse(self: Image.Image, size: Any, *_: Any, **__: Any) -> Image.Image:
        return resize(self, size, Image.Resampling.NEAREST)

    monkeypatch.setattr(Image.Image, "resize", coarse)
    with pytest.raises(ModelError, match=rf"probes \(image\).*pillow: {versions['pillow']} != 99"):
        probes.verify(connection, space, clip)


def test_half_precision_is_another_space_and_bears_its_own_noise(
    connection: Connection, clip: MultimodalEmbedder, folder: Path
) -> None:
    half = load(folder / "clip", "bfloat16")
    with pytest.raises(ModelError, match="precision: float32 != bfloat16"):
        spaces.check_model(probed(connection, clip), half.description)
    spaces.drop(connection, spaces.get_space(connection, "probed"))
    space = probed(connection, half)
    probes.verify(connection, space, half)
    # What two kinds of processors differ by: float32 stands in for the other one.
    probes.verify(connection, space, Disguised(clip, half.description))


def test_an_encoder_of_other_dimensions_than_its_model_is_refused(
    connection: Connection, space: Space
) -> None:
    model = FakeEmbedder()
    model.encoders["image"] = FakeEmbedder(9).encoders["image"]
    with pytest.raises(ModelError, match=r"encoder for image .* of 9 dimensions.* says 8"):
        probes.store(connection, space, model)


def test_vectors_that_are_not_finite_are_not_stored(connection: Connection, space: Space) -> None:
    class Broken(FakeEmbedder):
        def embed(self, contents: list[bytes]) -> Any:
            return super().embed(contents) * float("nan")

    with pytest.raises(ModelError, match="not finite"):
        probes.store(connection, space, Broken())
    assert connection.execute("SELECT count(*) FROM space_probes").fetchone() == (0,)
    probes.store(connection, space, FakeEmbedder())
    with pytest.raises(ModelError, match=r"9 of 9 probes.*the least is 0\.00000"):
        probes.verify(connection, space, Broken())
