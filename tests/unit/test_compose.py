"""docker-compose.yml is what the Compose specification allows, and keeps what was learnt."""

import subprocess
import sys
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
    assert services["database"]["healthcheck"]["test"]
    assert services["migrate"]["depends_on"]["database"]["condition"] == "service_healthy"
    for name in ("ingest", "serve"):
        condition = services[name]["depends_on"]["migrate"]["condition"]
        assert condition == "service_completed_successfully"


def test_the_data_lies_where_the_image_of_version_18_keeps_it(compose: dict[str, Any]) -> None:
    targets = [volume.split(":")[1] for volume in compose["services"]["database"]["volumes"]]
    assert targets == ["/var/lib/postgresql"]


def test_no_service_runs_without_an_init_process(compose: dict[str, Any]) -> None:
    assert all(service["init"] is True for service in compose["services"].values())


def test_every_command_of_ours_exists(compose: dict[str, Any]) -> None:
    from typer.main import get_command

    from pipeline.cli import app

    known = get_command(app).commands  # type: ignore[attr-defined]
    used = {s["command"][0] for s in compose["services"].values() if "command" in s}
    assert used <= set(known)
