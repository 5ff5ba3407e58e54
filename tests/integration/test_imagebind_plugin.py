"""The plug-in for ImageBind, with a small model that has ImageBind's names and signatures
(``tests/helpers/imagebind_stand_in``): the contract, and one space over six modalities."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import embedders
from pipeline.embedders.description import Description
from pipeline.errors import ConfigurationError, ModelError, PermanentRowError
from pipeline.ingest.run import ingest
from pipeline.modalities import known_names
from pipeline.postgres import migrate
from pipeline.postgres.connections import connect
from pipeline.search.sheet import write_sheet
from pipeline.settings import Settings
from pipeline.spaces.opening import NewSpace, ensure_space
from pipeline.unified_index import UnifiedIndex
from tests.helpers.measured import csv, distances, grey, motion
from tests.helpers.media import sound, tone

pytest.importorskip("soundfile", reason="needs the extra [audio]")
pytest.importorskip("av", reason="needs the extra [audio]")

ROOT = Path(__file__).parents[2]
PLUG_IN, STAND_IN = ROOT / "plugins/imagebind", ROOT / "tests/helpers/imagebind_stand_in"
LICENCE = "CC-BY-NC-SA-4.0"
PACKAGE = "pipeline_imagebind"
SIX = ("text", "image", "audio", "depth", "thermal", "imu")


@pytest.fixture
def family(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The plug-in and the stand-in as if they were installed, and the licence accepted."""
    monkeypatch.syspath_prepend(str(PLUG_IN))
    monkeypatch.syspath_prepend(str(STAND_IN))
    monkeypatch.setenv("PIPELINE_ACCEPT_LICENSE", f"MIT, {LICENCE}")
    from pipeline_imagebind import IMAGEBIND

    embedders.register(IMAGEBIND)
    yield IMAGEBIND
    embedders.unregister(IMAGEBIND)
    for name in [n for n in sys.modules if n.partition(".")[0] in ("imagebind", PACKAGE)]:
        del sys.modules[name]


@pytest.fixture
def weights(family: Any, tmp_path: Path) -> Path:
    from imagebind.models import imagebind_model

    torch.manual_seed(3)
    file = tmp_path / "imagebind.pth"
    torch.save(imagebind_model.imagebind_huge().state_dict(), file)
    return file


@pytest.fixture
def opened(family: Any, weights: Path) -> Any:
    return family.open(f"imagebind:{weights}", device="cpu", precision="float32", batch_size=2)


def files(folder: Path) -> list[tuple[str, str]]:
    """Two contents of each modality, as (modality, reference)."""
    found = [("text", "a red bicycle"), ("text", "two cats on a mat")]
    noise = np.random.default_rng(1).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)
    for n, pixels in enumerate(noise):
        made = {
            "image": ("png", None),
            "audio": ("wav", sound(tone(16_000, 3.0, 300 + 200 * n), 16_000)),
            "depth": ("depth.png", grey(distances(n))),
            "thermal": ("thermal.tiff", grey(distances(n + 2), "TIFF")),
            "imu": ("csv", csv(motion(4.0, seed=n))),
        }
        for modality, (ending, data) in made.items():
            file = folder / f"{n}.{ending}"
            Image.fromarray(pixels).save(file) if data is None else file.write_bytes(data)
            found.append((modality, str(file)))
    return found


def test_one_space_over_six_modalities(
    weights: Path,
    empty_url: str,
    settings_of: Callable[..., Settings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    migrate.upgrade(empty_url)
    settings = settings_of(
        empty_url, model=f"imagebind:{weights}", precision="float32", decode_processes=1
    )
    given = files(tmp_path)
    with connect(empty_url) as connection:
        connection.cursor().executemany(
            "INSERT INTO source_items (source, source_key, modality, content_ref) "
            "VALUES ('test', %s, %s, %s)",
            [(reference, modality, reference) for modality, reference in given],
        )
        ensure_space(connection, NewSpace.of(settings), print)
        report = ingest(settings)
        assert (report.done, report.failed) == (12, 0)
        counts = connection.execute("SELECT modality, count(*) FROM multimodal_items GROUP BY 1")
        assert dict(counts.fetchall()) == dict.fromkeys(SIX, 2)
        probed = connection.execute("SELECT DISTINCT modality FROM space_probes").fetchall()
        assert {name for (name,) in probed} == set(SIX)
        stored = connection.execute("SELECT description FROM embedding_spaces").fetchone()
        assert stored is not None
        assert (stored[0]["kind"], stored[0]["licence"]) == ("imagebind", LICENCE)
    with UnifiedIndex(settings) as index:
        for modality, reference in given[2:7]:
            found = index.retrieve_cross_modal(
                Path(reference), 1, modality, query_modality=modality
            )
            assert found[0].document.content_ref == reference
            assert found[0].similarity == pytest.approx(1, abs=2e-3)
        every = index.retrieve_cross_modal("a red bicycle", 12)
        assert {n.document.modality for n in every} == set(SIX)
        page = tmp_path / "page.html"
        lacking = write_sheet(page, "all", every, settings, [tmp_path])
    assert lacking == []
    # Of an image, a depth, a thermal image and motion, two each.
    assert page.read_text().count("data:image/webp") == 8
    monkeypatch.setenv("PIPELINE_ACCEPT_LICENSE", "MIT")
    with UnifiedIndex(settings) as index, pytest.raises(ConfigurationError, match=LICENCE):
        index.retrieve_cross_modal("another query", 1)


def test_batches_and_their_order_decide_nothing(opened: Any) -> None:
    rng = np.random.default_rng(0)
    contents = {
        "text": ["one", "two words", "three"],
        "image": [Image.fromarray(rng.integers(0, 256, (30, 80, 3), np.uint8)) for _ in range(3)],
        "audio": [rng.normal(size=n).astype(np.float32) for n in (500, 16_000, 160_000)],
        "depth": [distances(n, (30 + n, 400)) for n in range(3)],
        "thermal": [distances(n) for n in range(3)],
        "imu": [rng.normal(size=(n, 6)).astype(np.float32) for n in (2000, 300, 1)],
    }
    assert set(opened.encoders) == set(contents) == set(SIX) <= set(known_names())
    for name, three in contents.items():
        encoder = opened.encoders[name]
        inputs = encoder.prepare(three)
        together = encoder.embed(inputs)
        assert together.shape == (3, opened.description.dimensions)
        assert np.abs(np.linalg.norm(together, axis=1) - 1).max() < 1e-5
        alone = np.concatenate([encoder.embed([one]) for one in inputs])
        assert np.abs(together - alone).max() < 1e-5
        assert np.abs(together[0] - together[1]).max() > 1e-3
        assert encoder.embed([]).shape == (0, opened.description.dimensions)


def test_what_a_text_says_is_no_special_token(opened: Any) -> None:
    encoder = opened.encoders["text"]
    (ids,) = encoder.prepare(["a cat <|endoftext|> and a dog"])
    assert list(ids).count(49_407) == 1
    assert encoder.split("word " * 200, 8, 100)[-1].end == len("word " * 200) - 1
    assert len(encoder.split("word " * 200, 8, 100)) > 2


def test_a_sound_of_ten_seconds_is_heard_in_three_clips(opened: Any) -> None:
    encoder = opened.encoders["audio"]
    (heard,) = encoder.prepare([tone(16_000, 10.0, 440)[:, 0].astype(np.float32)])
    assert heard.shape == (3, 1, 128, 204)
    with pytest.raises(PermanentRowError, match="fewer than 400") as short:
        encoder.prepare([np.zeros(399, np.float32)])
    assert short.value.code == "empty_file"


def test_depth_is_disparity_and_a_hole_is_neither_near_nor_far(opened: Any) -> None:
    encoder = opened.encoders["depth"]
    near, far, hole = (
        float(encoder.prepare([np.full((20, 20), mm, np.uint16)])[0].mean())
        for mm in (500, 5000, 0)
    )
    assert near > hole > far
    # 0.075 m between the eyes, 518.86 pixels: 2 m are 19.5 pixels.
    (two,) = encoder.prepare([np.full((20, 20), 2000, np.uint16)])
    assert two.mean() == pytest.approx((19.457 - 25.08) / 17.7, abs=1e-3)


def test_motion_that_is_short_is_held_at_its_end(opened: Any) -> None:
    samples = np.arange(12, dtype=np.float32).reshape(2, 6)
    (moved,) = opened.encoders["imu"].prepare([samples])
    assert moved.shape == (6, 2000)
    assert (moved[:, 0] == samples[0]).all()
    assert (moved[:, 1:] == samples[1][:, None]).all()


def test_the_licence_is_stored_and_is_no_part_of_the_fingerprint(opened: Any) -> None:
    stored = opened.description.as_dict()
    assert stored["licence"] == LICENCE
    again: Description = embedders.described(stored)
    assert again.fingerprint() == opened.description.fingerprint()
    assert "licence" not in again.canonical()
    assert set(again.canonical()) >= {"weights_sha256", "tokenizer_sha256", "preprocessing"}


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch misbehaved",))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"hello", "cannot be read as weights alone"),
        (Malicious(), "cannot be read as weights alone"),
        ({"words.weight": torch.zeros(3, 8)}, "no checkpoint of ImageBind"),
        ([torch.zeros(3)], "something else than a state dictionary"),
        ("nan", "not finite"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(
    family: Any, weights: Path, content: Any, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(weights.parent)
    if content == "nan":
        content = torch.load(weights, weights_only=True)
        content["words.weight"][7] = torch.nan
    if isinstance(content, bytes):
        weights.write_bytes(content)
    else:
        torch.save(content, weights)
    with pytest.raises(ModelError, match=says):
        family.open(f"imagebind:{weights}", device="cpu", precision="float32", batch_size=0)
    assert not (weights.parent / "misbehaved").exists()


def test_it_is_refused_for_a_reason(family: Any, weights: Path) -> None:
    options: dict[str, Any] = {"device": "cpu", "batch_size": 0}
    with pytest.raises(ModelError, match="names no checkpoint"):
        family.open("imagebind:", precision="float32", **options)
    with pytest.raises(ModelError, match="does not exist"):
        family.open(f"imagebind:{weights}x", precision="float32", **options)
    with pytest.raises(ConfigurationError, match="not in float16"):
        family.open(f"imagebind:{weights}", precision="float16", **options)
    with pytest.raises(ModelError, match="has the hash"):
        family.open(f"imagebind:{weights}", precision="float32", weights_sha256="beef", **options)
    lower = family.open_new(f"imagebind:{weights}", device="cpu", precision="bfloat16")
    assert lower.description.precision == "bfloat16"


def test_nothing_is_imported_before_the_licence_is_accepted(tmp_path: Path) -> None:
    metadata = tmp_path / "with_imagebind-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: with-imagebind\nVersion: 0\n")
    project = (PLUG_IN / "pyproject.toml").read_text()
    assert 'imagebind = "pipeline_imagebind:IMAGEBIND"' in project
    (metadata / "entry_points.txt").write_text(
        "[pipeline.embedders]\nimagebind = pipeline_imagebind:IMAGEBIND\n"
    )
    program = (
        "import sys\nfrom pipeline import embedders\n"
        "from pipeline.errors import ConfigurationError\n"
        "family = embedders.family_that_claims('imagebind:/m.pth')\n"
        "try: family.open_new('imagebind:/m.pth', device='cpu', precision='auto')\n"
        "except ConfigurationError as exc: print(exc)\n"
        "print({'torch', 'imagebind'} & {*sys.modules})"
    )
    paths = [str(path) for path in (tmp_path, PLUG_IN, STAND_IN, ROOT)]
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    refused, imported = done.stdout.splitlines() or [done.stderr, ""]
    assert f"set PIPELINE_ACCEPT_LICENSE={LICENCE}" in refused
    assert imported == "set()"
