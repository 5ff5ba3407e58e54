"""PyTorch from an index that somebody names, and nothing else from there."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
PINS = dict(re.findall(r"^(torch|torchvision)==(\S+)$", CONSTRAINTS, re.M))
METADATA = "Metadata-Version: 2.1\nName: {}\nVersion: {}\nRequires-Dist: nothing-there\n"


@pytest.fixture
def index(tmp_path: Path) -> str:
    """One that has CPU builds of both, as empty wheels that want what it has not."""
    for name, version in PINS.items():
        folder = tmp_path / "simple" / name
        folder.mkdir(parents=True)
        local = f"{version}+cpu"
        wheel = f"{name}-{local}-py3-none-any.whl"
        with zipfile.ZipFile(folder / wheel, "w") as file:
            about = f"{name}-{local}.dist-info"
            file.writestr(f"{about}/METADATA", METADATA.format(name, local))
            file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            file.writestr(f"{about}/RECORD", "")
        (folder / "index.html").write_text(f'<a href="{wheel.replace("+", "%2B")}">{wheel}</a>')
    return (tmp_path / "simple").as_uri()


def made(*arguments: str) -> list[str]:
    """The commands of `make install` that install, in their order."""
    done = subprocess.run(
        ["make", "-n", "-B", "install", *arguments], cwd=ROOT, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return [line for line in done.stdout.splitlines() if "pip install" in line and "-c" in line]


def docker() -> str:
    """The command of the Dockerfile, with its argument as a variable of the shell."""
    (command,) = re.findall(
        r"^RUN (if \[ -n \"\$TORCH_INDEX.*)$", (ROOT / "Dockerfile").read_text(), re.M
    )
    return command.replace("pip install", ".venv/bin/python -m pip install")


@pytest.mark.parametrize("way", ["make", "docker"])
def test_a_named_index_gives_pytorch_alone(index: str, tmp_path: Path, way: str) -> None:
    command = made(f"TORCH_INDEX={index}")[0] if way == "make" else docker()
    subprocess.run([sys.executable, "-m", "venv", tmp_path / ".venv"], check=True)
    (tmp_path / "constraints.txt").write_text(CONSTRAINTS)
    environment = {"PATH": "/usr/bin:/bin", "TORCH_INDEX": index, "PIP_CONFIG_FILE": "/dev/null"}
    subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment, check=True)
    listed = subprocess.run(
        [tmp_path / ".venv/bin/python", "-m", "pip", "freeze"], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert listed.stdout.split() == [f"{name}=={pin}+cpu" for name, pin in sorted(PINS.items())]


def test_without_one_everything_comes_from_the_usual_index() -> None:
    (install,) = made()
    assert "index" not in install
    both = made("TORCH_INDEX=https://example.com/cpu")
    assert both[1:] == [install]
