"""Folders as they are on people's disks: hidden files, links, what somebody wants left out."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from pipeline.sources.files import expand
from pipeline.sources.source_items import AddReport
from tests.helpers.command import Run


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2)).save(path, "PNG")
    return path


def found(folder: Path, *exclude: str) -> tuple[list[str], AddReport]:
    report = AddReport()
    files = expand([str(folder)], report, exclude)
    return sorted(file.relative_to(folder).as_posix() for file in files), report


def test_hidden_files_and_folders_are_skipped(tmp_path: Path) -> None:
    names = [
        "a.png",
        "._a.png",
        ".b.png",
        ".thumbnails/c.png",
        "x/._d.png",
        "x/d.png",
        "x/.git/e.png",
    ]
    for name in names:
        image(tmp_path / name)
    files, report = found(tmp_path)
    assert files == ["a.png", "x/d.png"]
    assert report.skipped == 3


def test_a_hidden_folder_that_is_named_is_read(tmp_path: Path) -> None:
    image(tmp_path / ".photos" / "a.png")
    assert found(tmp_path / ".photos")[0] == ["a.png"]


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        (["*.gif"], ["a.png", "drafts/b.png", "x/c_small.png", "x/drafts/d.png"]),
        (["drafts/"], ["a.png", "e.gif", "x/c_small.png"]),
        (["/drafts"], ["a.png", "e.gif", "x/c_small.png", "x/drafts/d.png"]),
        (["*_small.*", "x/drafts/**"], ["a.png", "drafts/b.png", "e.gif"]),
        (["*", "!*.gif"], ["e.gif"]),
    ],
)
def test_patterns_leave_out_what_they_do_in_a_gitignore(
    tmp_path: Path, patterns: list[str], left: list[str]
) -> None:
    for name in ("a.png", "drafts/b.png", "x/c_small.png", "x/drafts/d.png", "e.gif"):
        image(tmp_path / name)
    assert found(tmp_path, *patterns)[0] == left
    (tmp_path / ".pipelineignore").write_text("# what stays out\n" + "\n".join(patterns) + "\n")
    assert found(tmp_path)[0] == left


def test_a_link_to_a_folder_is_said_and_not_followed(tmp_path: Path) -> None:
    image(tmp_path / "elsewhere" / "a.png")
    folder = image(tmp_path / "photos" / "b.png").parent
    (folder / "old").symlink_to(tmp_path / "elsewhere")
    (folder / "round").symlink_to(folder)
    files, report = found(folder)
    assert files == ["b.png"]
    assert report.notes == [
        f"links to folders are not followed, add those that you mean: {folder}/old, {folder}/round"
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    closed = image(tmp_path / "closed" / "a.png").parent
    image(tmp_path / "b.png")
    closed.chmod(0)
    try:
        files, report = found(tmp_path)
    finally:
        closed.chmod(0o700)
    assert files == ["b.png"]
    assert report.errors == [f"{closed}: Permission denied"]


def test_a_pattern_that_is_none_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    image(tmp_path / "photos" / "a.png")
    done = run("add", "photos", "--exclude", "!")
    assert done.returncode == 2, done.stderr
    assert "--exclude" in done.stderr


def test_the_command_takes_patterns(run: Run, tmp_path: Path) -> None:
    assert run("migrate", PIPELINE_MODEL="demo").returncode == 0
    for name in ("a.png", "b.png", "tmp/c.png"):
        image(tmp_path / "photos" / name)
    done = run("add", "photos", "--exclude", "tmp/", "--exclude", "b.*", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["added"], report["skipped_files"]) == (1, 2)
