"""Modalities and families of models of other installed packages, by entry point."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.command import Done

ROOT = Path(__file__).parents[2]


class Environment:
    """Where packages are installed beside this one, for commands in processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, name: str, entry_points: str) -> None:
        """A package whose metadata says so."""
        metadata = self.folder / f"{name}-1.2.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (metadata / "entry_points.txt").write_text(entry_points)

    def python(self, program: str) -> Done:
        return subprocess.run(
            [sys.executable, "-c", program],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(self.folder), str(ROOT)])},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path)


def test_what_a_package_brings_is_known_without_being_asked_for(environment: Environment) -> None:
    environment.install(
        "with-digits",
        "[pipeline.modalities]\ndigits = tests.helpers.digits:DIGITS\n"
        "[pipeline.embedders]\nfake = tests.helpers.fakes:FAKE_FAMILY\n",
    )
    done = environment.python(
        "from pipeline import embedders, modalities\n"
        "print(modalities.of_suffix('.digits').name, modalities.known_names()[8])\n"
        "print(embedders.family_that_claims('fake').kind)\n"
        "print(embedders.family_that_claims('ViT-B-32/openai').kind)"
    )
    assert done.stdout.split() == ["digits", "digits", "fake", "openclip"], done.stderr
    assert done.stderr == ""


def test_one_that_fails_is_told_of_and_the_others_work(environment: Environment) -> None:
    environment.install(
        "broken",
        "[pipeline.modalities]\na = no_such_module:X\nb = tests.helpers.digits:NOTHING\n"
        "c = pipeline.modalities:check_name\n"
        "[pipeline.embedders]\nd = tests.helpers.digits:DIGITS\n",
    )
    environment.install("with-digits", "[pipeline.modalities]\nz = tests.helpers.digits:DIGITS\n")
    done = environment.python(
        "from pipeline import embedders, modalities\n"
        "print(modalities.get('digits').name, embedders.family_that_claims('demo').kind)"
    )
    assert done.stdout.split() == ["digits", "openclip"], done.stderr
    told = done.stderr.splitlines()
    assert len(told) == 4, told
    for line, value in zip(
        told,
        ("no_such_module:X", "digits:NOTHING", "modalities:check_name", "digits:DIGITS"),
        strict=True,
    ):
        assert line.startswith("A plug-in cannot be used: ")
        assert f"{value}, of broken 1.2: " in line


def test_a_name_that_is_taken_stays_whose_it_is(environment: Environment) -> None:
    environment.install(
        "another-text", "[pipeline.modalities]\ntext = tests.integration.test_plugins:OTHER_TEXT\n"
    )
    done = environment.python(
        "from pipeline import modalities\nprint(modalities.get('text') is modalities.TEXT)"
    )
    assert done.stdout.split() == ["True"]
    assert "there is a modality 'text' already" in done.stderr


def test_importing_the_package_loads_none(environment: Environment) -> None:
    (environment.folder / "loud.py").write_text("print('loaded')\nX = 1\n")
    environment.install(
        "loud", "[pipeline.modalities]\nx = loud:X\n[pipeline.embedders]\nx = loud:X\n"
    )
    done = environment.python("import pipeline, pipeline.modalities, pipeline.embedders")
    assert (done.stdout, done.stderr) == ("", "")


class OtherText:
    """A modality by a name of the package's."""

    name = "text"


OTHER_TEXT = OtherText()
