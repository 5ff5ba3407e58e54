"""Texts, images, sounds and a film in one space: a random EmbeddingGemma 2 of 1.5 M parameters."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from pipeline import embedders, spaces
from pipeline.errors import ModelError
from pipeline.postgres.connections import connect
from pipeline.postgres.database import Database
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.settings import Settings
from pipeline.spaces import probes
from pipeline.spaces.opening import open_model
from pipeline.unified_index import UnifiedIndex
from tests.helpers.command import Done, pipeline
from tests.helpers.databases import database_url
from tests.helpers.embeddinggemma import save
from tests.helpers.media import film, panned, scene, sound, tone

pytest.importorskip("av", reason="needs the extra [video]")
pytest.importorskip("soundfile", reason="needs the extra [audio]")

PITCHES = (220, 330, 550)
TEXTS = ("a red bicycle", "two cats on a mat")


class Filled:
    """A database with two texts, images and sounds and a film, embedded."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder, self.model = url, folder, folder / "model"
        self.media = folder / "media"

    def __call__(self, *arguments: str) -> Done:
        done = pipeline(self.folder, *arguments, DATABASE_URL=self.url)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def first(self, *arguments: str) -> Any:
        return json.loads(self("search", *arguments, "--json").stdout)[0]


@pytest.fixture(scope="module")
def filled(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    with connect(server.url()) as admin:
        admin.execute("CREATE DATABASE gemma")
    filled = Filled(database_url(server.url(), "gemma"), tmp_path_factory.mktemp("gemma"))
    save(filled.model)
    filled.media.mkdir()
    noise = np.random.default_rng(1).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(filled.media / f"{number}.png")
    for pitch in PITCHES:
        (filled.media / f"{pitch}.wav").write_bytes(sound(tone(16_000, 1.0, pitch), 16_000))
    (filled.media / "film.mp4").write_bytes(film(panned(scene(1), 20), rate=10))
    filled("migrate", "--no-space")
    filled("space", "create", "gemma", "--model", str(filled.model), "--precision", "float32")
    filled("add", str(filled.media), *(a for text in TEXTS for a in ("--text", text)))
    filled("space", "build", "gemma")
    filled("space", "activate", "gemma", "--no-gate")
    return filled


def test_every_modality_is_embedded_and_finds_itself(filled: Filled) -> None:
    with connect(filled.url) as connection:
        counts = dict(
            connection.execute("SELECT modality, count(*) FROM multimodal_items GROUP BY 1")
        )
        assert counts == {"text": 2, "image": 2, "audio": 3, "video": 1}
        assert connection.execute("SELECT count(*) FROM ingest_jobs").fetchone() == (0,)
    heard = filled.first("--audio", str(filled.media / "330.wav"), "--modality", "audio")
    assert heard["content_ref"].endswith("330.wav")
    assert heard["similarity"] == pytest.approx(1, abs=1e-3)
    seen = filled.first("--image", str(filled.media / "1.png"), "--modality", "image")
    assert seen["content_ref"].endswith("1.png")
    assert filled.first("a red bicycle", "--modality", "video")["content_ref"].endswith("film.mp4")


def test_a_text_that_is_searched_with_has_the_vector_of_a_query(filled: Filled) -> None:
    found = filled.first(TEXTS[0], "--modality", "text")
    assert found["similarity"] < 0.999  # an item of the very text has another prompt
    family = embedders.family_that_claims(str(filled.model))
    model = family.open(str(filled.model), device="cpu", precision="float32", batch_size=0)
    encoder: Any = model.encoders["text"]
    query = encoder.embed(encoder.prepare([TEXTS[0]]), "query")[0]
    with connect(filled.url) as connection:
        row = connection.execute(
            "SELECT embedding <#> %s::halfvec FROM multimodal_items WHERE content_ref = %s",
            (str(query.tolist()), found["content_ref"]),
        ).fetchone()
    assert row is not None
    assert -row[0] == pytest.approx(found["similarity"], abs=1e-3)


def test_probes_cover_texts_in_both_roles(filled: Filled) -> None:
    with connect(filled.url) as connection:
        counts = connection.execute(
            "SELECT modality, role, count(*) FROM space_probes GROUP BY 1, 2 ORDER BY 1, 2"
        ).fetchall()
        (item,), (query,) = connection.execute(
            "SELECT embedding FROM space_probes WHERE content = 'a photo of a cat' ORDER BY role"
        ).fetchall()
    assert [row[:2] for row in counts] == [
        ("audio", "item"), ("image", "item"), ("text", "item"), ("text", "query"),
        ("video", "item"),
    ]  # fmt: skip
    assert np.abs(np.asarray(item) - query).max() > 1e-3


def test_a_tower_is_proved_before_its_first_input(filled: Filled) -> None:
    """What hears changed; texts and images go on, and no sound gets a vector."""
    file = filled.model / "model.safetensors"
    as_saved, whole = file.read_bytes(), load_file(file)
    changed = {**whole, "embed_audio.embedding_projection.weight": whole["embed_audio.embedding_projection.weight"].flip(0)}  # fmt: skip # noqa: E501
    with connect(filled.url) as connection:
        space = spaces.active_space(connection)
        model = open_model(Database(filled.url), space)
        for modality, content in (("text", "cats"), ("image", Image.new("RGB", (50, 50), "red"))):
            encoder = model.encoders[modality]
            assert encoder.embed(encoder.prepare([content])).shape == (1, 96)
        tower = model.encoders["audio"]._model.module.audio_tower  # type: ignore[attr-defined]
        assert tower is None
        save_file(changed, file)
        try:
            hearing = model.encoders["audio"]
            inputs = hearing.prepare([tone(16_000, 0.5)[:, 0].astype(np.float32)])
            for _ in range(2):
                with pytest.raises(ModelError, match=r"probes \(audio\)"):
                    hearing.embed(inputs)
            with pytest.raises(ModelError, match="has the hash"):
                open_model(Database(filled.url), space)
        finally:
            file.write_bytes(as_saved)


def test_who_asks_by_text_alone_loads_no_tower(filled: Filled) -> None:
    with UnifiedIndex(Settings.load(database_url=filled.url)) as index:
        index.embed_query("a boat that nobody has asked for before")
        model: Any = index.embedder
        text = model.encoders["text"]._model.module
        assert (text.vision_tower, text.audio_tower) == (None, None)
        index.retrieve_cross_modal(filled.media / "1.png", 1, "image")
        assert text.vision_tower is not None


def test_probes_that_are_left_are_those_of_late_encoders(filled: Filled) -> None:
    with connect(filled.url) as connection:
        space = spaces.active_space(connection)
        family = embedders.family_that_claims(str(filled.model))
        model = family.open(str(filled.model), device="cpu", precision="float32", batch_size=0)
        left = probes.verify(connection, space, model, {"audio"})
    assert {probe.modality for probe, _ in left.probes} == {"audio"}
