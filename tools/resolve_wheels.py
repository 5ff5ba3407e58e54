"""Whether every dependency has wheels for a Python and a system: `python tools/resolve_wheels.py`.

pip resolves them without installing anything (`--dry-run`) and names what has no wheel.
For the base alone, or with extras: `python tools/resolve_wheels.py --extra embed --python 3.14`.
Conditions of requirements (`; python_version < ...`) are those of the Python that runs this.
"""

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))[
    "project"
]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# Of today's systems, which take wheels for any older glibc, and there are wheels for odd ones.
SYSTEMS = {
    "linux": [f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)]
    + ["manylinux2014_x86_64", "manylinux1_x86_64"],
    "linux-arm": [f"manylinux_2_{minor}_aarch64" for minor in range(28, 16, -1)]
    + ["manylinux2014_aarch64"],
    "macos": [f"macosx_{version}_{kind}" for version in ("14_0", "13_0", "12_0", "11_0", "10_9")
              for kind in ("arm64", "universal2")],
}  # fmt: skip


def resolve(python: str, system: str, requirements: list[str]) -> str | None:
    """What pip says against it; None: there are wheels of everything."""
    platforms = [part for name in SYSTEMS[system] for part in ("--platform", name)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed",
         "--only-binary=:all:", "--target", "unused", "--implementation", "cp",
         "--python-version", python, *platforms, *requirements],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return None if done.returncode == 0 else done.stderr.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--extra", action="append", default=[], help="of pyproject.toml")
    parser.add_argument("--python", choices=PYTHONS, action="append")
    parser.add_argument("--system", choices=list(SYSTEMS), action="append")
    arguments = parser.parse_args()
    requirements = list(PROJECT["dependencies"])
    for extra in arguments.extra:
        requirements += PROJECT["optional-dependencies"][extra]
    failed = 0
    for system in arguments.system or SYSTEMS:
        for python in arguments.python or PYTHONS:
            problem = resolve(python, system, requirements)
            print(f"{system}, Python {python}: {problem or 'wheels of everything'}")
            failed += problem is not None
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
