"""The notebooks run from their first cell to their last on the demonstration's data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.helpers.command import Demo

FOLDER = Path(__file__).parents[2] / "docs/notebooks"


@pytest.fixture
def executed(
    demo: Demo,
    new_database: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], Any]:
    """A function that runs a notebook on a copy of the demonstration's database."""
    monkeypatch.setenv("DATABASE_URL", new_database(demo.url.partition("?")[0].rpartition("/")[2]))
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path / "home"))

    def execute(name: str) -> Any:
        notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
        client = NotebookClient(notebook, timeout=250, resources={"metadata": {"path": tmp_path}})
        client.execute()
        return notebook

    return execute


def outputs(notebook: Any) -> str:
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            found += [output.get("text", ""), data.get("text/html", "")]
            found += ["<img" for kind in data if kind.startswith("image/")]
    return "\n".join(found)


def test_an_analysts_tour_shows_images_and_tables(executed: Callable[[str], Any]) -> None:
    shown = outputs(executed("analysts-tour"))
    assert shown.count("<img") > 30
    assert "a birthday cake" in shown
    assert "<th>certainty</th>" in shown


def test_a_damaged_model_is_refused_and_another_precision_let_in(
    executed: Callable[[str], Any],
) -> None:
    shown = outputs(executed("changing-the-model"))
    assert "the space 'damaged' finds less than the active one" in shown
    assert "exact is active" in shown
    assert "demo is active" in shown


@pytest.mark.parametrize("name", ["analysts-tour", "changing-the-model"])
def test_what_is_committed_was_run(name: str) -> None:
    """So that people see it where nothing runs."""
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [o for cell in cells for o in cell.outputs if o.output_type == "error"]
