"""The matrix of continuous integration: its host accepts it, and every promised Python is in it."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / ".github/workflows/matrix.yml"
JOBS = yaml.safe_load(FILE.read_text("utf-8"))["jobs"]


def test_it_is_valid_by_the_schema_of_workflows(tmp_path: Path) -> None:
    """The schema that check-jsonschema carries; it refuses what is misspelt."""
    misspelt = tmp_path / "matrix.yml"
    misspelt.write_text(FILE.read_text("utf-8").replace("runs-on", "run-on"))
    for file, accepted in ((FILE, True), (misspelt, False)):
        command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", file]
        done = subprocess.run([sys.executable, *command], capture_output=True, check=False)
        assert (done.returncode == 0) is accepted, done.stdout


def test_it_has_every_python_that_is_promised() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    promised = [
        match[1] for line in project["classifiers"] if (match := re.search(r":: (3\.\d+)$", line))
    ]
    assert project["requires-python"] == f">={promised[0]}"
    assert JOBS["suite"]["strategy"]["matrix"]["python"] == promised
    spec = importlib.util.spec_from_file_location("wheels", ROOT / "tools/resolve_wheels.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert list(tool.PYTHONS) == promised


def test_what_it_runs_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    commands = [step["run"] for job in JOBS.values() for step in job["steps"] if "run" in step]
    assert len(commands) == len(JOBS)
    for line in commands:
        words = [word for word in line.split()[1:] if "=" not in word and "$" not in word]
        for word in words:
            assert (ROOT / word).is_file() or re.search(rf"^{word}:", makefile, re.M) or word in (
                "matrix.extras", "}}",
            ), word  # fmt: skip
    wanted = re.findall(r"--extra (\w+)", " ".join(JOBS["wheels"]["strategy"]["matrix"]["extras"]))
    assert set(wanted) <= set(extras["optional-dependencies"])
