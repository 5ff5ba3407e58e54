"""docs/architecture.md and its picture say what is there."""

import re
from pathlib import Path

from tests.unit.test_layers import LEVELS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
PICTURE = (ROOT / "docs/house.svg").read_text(encoding="utf-8")


def test_every_file_that_it_names_is_there() -> None:
    named = set(re.findall(r"`((?:\w+/)+[\w.]*|\w+\.(?:toml|md|py))`", TEXT))
    assert len(named) > 40
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
    linked = set(re.findall(r"\]\(([\w./-]+)\)", TEXT))
    assert [name for name in sorted(linked) if not (ROOT / "docs" / name).exists()] == []


def test_every_name_within_a_file_is_there() -> None:
    """What is said to be in a file: `NAME` of `file`."""
    pairs = re.findall(r"`(\w+)(?:\(\))?` of\s+`([\w/.]+\.py)`", TEXT)
    pairs += [
        (name, file)
        for names, file in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| `([\w/.]+)` \|", TEXT, re.M)
        for name in re.findall(r"\w+", names)
    ]
    assert len(pairs) > 9
    missing = [
        (name, file)
        for name, file in pairs
        if not re.search(rf"^(class )?{name}\b", (ROOT / file).read_text("utf-8"), re.M)
    ]
    assert missing == []


def test_the_picture_has_every_room_on_its_level() -> None:
    levels: dict[str, list[str]] = {}
    for y, name in re.findall(
        r'<rect class="(?:box|two)" x="\d+" y="(\d+)"[^>]*/><text[^>]*class="name">([\w/]+)',
        PICTURE,
    ):
        levels.setdefault(y, []).append(name.rstrip("/"))
    drawn = [set(names) for _, names in sorted(levels.items(), key=lambda pair: -int(pair[0]))]
    assert drawn == [set(rooms) for rooms in LEVELS]


def test_each_addition_takes_three_lines() -> None:
    answers = TEXT.partition("## Where do I add ...")[2].strip().split("\n\n")
    assert len(answers) == 6
    assert [len(answer.splitlines()) for answer in answers] == [3] * 6
