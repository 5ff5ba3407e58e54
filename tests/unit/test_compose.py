"""docker-compose.yml is what the Compose specification allows, and keeps what was learnt."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_viz.spec.compose_spec import ComposeSpecification

ROOT = Path(__file__).parents[2]


@pytest.fixture
def compose() -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert isinstance(loaded, dict)
    return loaded


def test_it_is_valid_by_the_compose_specification(compose: dict[str, Any]) -> None:
    compose.pop("x-pipeline")  # an extension field; merged below by YAML itself
    ComposeSpecification.model_validate(compose)


def test_the_specification_check_refuses_a_misspelt_key(compose: dict[str, Any]) -> None:
    compose.pop("x-pipeline")
    compose["services"]["database"]["healthchek"] = {}
    with pytest.raises(ValueError, match="healthchek"):
        ComposeSpecification.model_validate(compose)


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
