"""What the documentation says of the project's files, compared with them."""

import re
import tomllib
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    wanted = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *chain.from_iterable(
            lines
            for extra, lines in extras.items()
            if extra != "all"  # all the others
        ),
        *chain.from_iterable(project["dependency-groups"].values()),
    ]
    names = {re.match(r"[\w.-]+", line)[0].lower() for line in wanted}  # type: ignore[index]
    decisions = (ROOT / "docs/decisions.md").read_text(encoding="utf-8")
    table = decisions.partition("## Dependencies")[2].partition("\n## ")[0]
    cells = [line.split("|") for line in table.splitlines() if line.startswith("| ")]
    explained = {
        name.strip().lower()
        for _, packages, *_ in cells
        for name in re.sub(r"\(.*?\)", "", packages).split(",")
    }
    assert names - explained == set()
    assert all(len(row) == 5 and row[2].strip() and row[3].strip() for row in cells)


def test_the_picture_of_the_flow_names_the_stages_in_order() -> None:
    drawn = (ROOT / "docs/flow.svg").read_text(encoding="utf-8")
    stages = [drawn.index(f">{stage}</text>") for stage in (
        "claim", "load", "prepare", "embed", "write",
    )]  # fmt: skip
    assert stages == sorted(stages)
