"""Pictures: they are drawn, say what they should, and a wrong target is refused before the work."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import spaces
from pipeline.errors import ConfigurationError, SpaceError
from pipeline.postgres.connections import Connection
from pipeline.quality import plots
from pipeline.quality.comparison import Recall
from pipeline.quality.projection import principal_components, project
from pipeline.quality.tunings import MeasuredOn, Tuning
from pipeline.spaces import Space
from pipeline.transfer import ForeignItem, import_items
from pipeline.vectors import unit_rows


@pytest.fixture
def gapped(connection: Connection, space: Space) -> Space:
    """Texts and images in two cones, as CLIP models place them."""
    random = np.random.default_rng(5)
    rows = []
    for modality, cone in zip(("text", "image"), random.normal(size=(2, 8)) * 3, strict=True):
        vectors = unit_rows(cone + random.normal(size=(120, 8)))
        rows += [
            ForeignItem("row", f"{modality} {n}", modality, f"{modality} <{n}> & more", {}, vector)
            for n, vector in enumerate(vectors)
        ]
    import_items(connection, space, "test", rows)
    return space


def tunings() -> list[Tuning]:
    found = []
    for asked, searched, slow in (("text", "text", 1), ("text", "image", 3), ("image", "text", 2)):
        tried = tuple(
            Recall(asked, searched, "none", 10, ef, 100, 1 - slow * 3 / ef, 0, slow * ef / 100)
            for ef in (20, 40, 80, 160)
        )
        found.append(Tuning(asked, searched, 0.95, tried, tried[-1], MeasuredOn(9, 9, None)))
    return found


def test_the_map_shows_the_gap_and_its_end(connection: Connection, gapped: Space) -> None:
    projection = project(connection, gapped, sample=100)
    assert projection.modalities == ["text"] * 100 + ["image"] * 100
    assert projection.gap is not None
    assert projection.gap > 1
    texts, images = projection.before[:100], projection.before[100:]
    spread = texts.std(axis=0).max()
    assert np.linalg.norm(texts.mean(axis=0) - images.mean(axis=0)) > 2 * spread
    texts, images = projection.after[:100], projection.after[100:]
    assert np.linalg.norm(texts.mean(axis=0) - images.mean(axis=0)) < 0.2
    again = project(connection, gapped, sample=100)
    assert (again.before == projection.before).all()


def test_pictures_of_every_kind_are_written(
    connection: Connection, gapped: Space, tmp_path: Path
) -> None:
    projection = project(connection, gapped, sample=50)
    for suffix in plots.MAP_SUFFIXES:
        path = tmp_path / f"map{suffix}"
        plots.check_target(path, plots.MAP_SUFFIXES)
        plots.draw_map(projection, path)
    for suffix in plots.CURVE_SUFFIXES:
        plots.draw_tuning(tunings(), tmp_path / f"curve{suffix}")
    for name in ("map.png", "curve.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.size[0] > 1000
            red, _, blue = np.asarray(picture.convert("RGB"), dtype=int).transpose(2, 0, 1)
            # Dots and lines of both colours.
            assert ((blue - red > 60).sum() > 500) & ((red - blue > 60).sum() > 500)
    page = (tmp_path / "map.html").read_text()
    assert page.count("<title>") == 201  # the page's own, and one per item and panel
    assert "text &lt;" in page
    assert "&amp; more</title>" in page
    assert "<script" not in page
    assert (tmp_path / "curve.svg").read_text().startswith("<?xml")


def test_a_map_needs_items(connection: Connection, space: Space) -> None:
    with pytest.raises(SpaceError, match="has 0 items; a map needs at least 3"):
        project(connection, spaces.active_space(connection), sample=10)


def test_components_are_the_main_axes() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(500, 6)) * [1, 5, 0.1, 3, 0.1, 0.1]
    points, explained = principal_components(rows.astype(np.float32))
    assert points.std(axis=0) == pytest.approx([5, 3], rel=0.15)
    assert explained == pytest.approx(34 / 35, abs=0.02)
    assert abs(np.corrcoef(points[:, 0], rows[:, 1])[0, 1]) > 0.99


def test_a_wrong_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"end the name with \.png, \.svg"):
        plots.check_target(tmp_path / "map.jpg", plots.CURVE_SUFFIXES)
    with pytest.raises(ConfigurationError, match="is no folder"):
        plots.check_target(tmp_path / "nowhere" / "map.png", plots.MAP_SUFFIXES)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        plots.draw_tuning(tunings(), tmp_path / "folder.png")


def test_without_matplotlib_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None; sys.modules['matplotlib.figure'] = None\n"
        "import pipeline.quality.plots"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'pgvector-crossmodal-pipeline[plots]'" in done.stderr.splitlines()[-1]
