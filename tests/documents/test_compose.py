"""docker-compose.yml is what the Compose specification allows, and keeps what was learnt."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture
def compose() -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert isinstance(loaded, dict)
    return loaded


def check(file: Path) -> subprocess.CompletedProcess[str]:
    """The Compose specification's own JSON schema, as check-jsonschema carries it."""
    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)


def test_it_is_valid_by_the_compose_specification() -> None:
    done = check(ROOT / "docker-compose.yml")
    assert done.returncode == 0, done.stdout


def test_the_specification_check_refuses_a_misspelt_key(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    compose["services"]["database"]["healthchek"] = {}
    (tmp_path / "compose.yml").write_text(yaml.safe_dump(compose))
    done = check(tmp_path / "compose.yml")
    assert done.returncode == 1
    assert "healthchek" in done.stdout


def test_the_database_is_healthy_before_anything_uses_it(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services["database"]["image"] == "pgvector/pgvector:pg18"
    assert services["database"]["shm_size"]
    # On the socket the image's server of the set-up would answer, which is stopped again.
    assert "--host 127.0.0.1" in " ".join(services["database"]["healthcheck"]["test"])
    assert services["migrate"]["depends_on"]["database"]["condition"] == "service_healthy"
    for name in ("ingest", "serve"):
        condition = services[name]["depends_on"]["migrate"]["condition"]
        assert condition == "service_completed_successfully"


def test_the_data_lies_where_the_image_of_version_18_keeps_it(compose: dict[str, Any]) -> None:
    targets = [volume.split(":")[1] for volume in compose["services"]["database"]["volumes"]]
    assert targets == ["/var/lib/postgresql"]


def test_what_is_written_to_a_volume_belongs_to_the_images_user(compose: dict[str, Any]) -> None:
    """Docker owns a volume as the image's folder at that place; without one it is root's."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    made = re.search(r"install --directory --owner pipeline --group pipeline (\S+)", dockerfile)
    assert made
    assert made.start() < dockerfile.index("USER pipeline")
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source, target, *mode = volume.split(":")
            if "build" in service and source in compose["volumes"]:
                assert target == made[1]
            elif "build" in service:
                assert mode == ["ro"]


def test_the_image_takes_its_dependencies_from_the_project() -> None:
    """The line in Dockerfile that writes them down, run as it stands."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    program = re.search(r"python -c '(.*?)' > dependencies.txt", dockerfile)
    assert program
    done = subprocess.run(
        [sys.executable, "-c", program[1]], cwd=ROOT, capture_output=True, text=True, check=True
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + extras["embed"] + extras["metrics"]
    assert done.stdout.splitlines() == wanted
    assert "pip install --no-cache-dir -c constraints.txt '.[embed,metrics]'\n" in dockerfile


def test_everything_the_image_copies_exists() -> None:
    copied = re.findall(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    assert {"pyproject.toml", "migrations", "sql", "pipeline"} <= set(names)
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_no_service_runs_without_an_init_process(compose: dict[str, Any]) -> None:
    assert all(service["init"] is True for service in compose["services"].values())


def test_every_command_of_ours_exists(compose: dict[str, Any]) -> None:
    from typer.main import get_command

    from pipeline.cli import app

    known = get_command(app).commands  # type: ignore[attr-defined]
    used = {s["command"][0] for s in compose["services"].values() if "command" in s}
    assert used <= set(known)
