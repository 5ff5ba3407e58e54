"""`pipeline settings`, and docs/settings.md, which is written from the same fields."""

import importlib.util
import json
from pathlib import Path

import pytest

from pipeline.settings import Settings, names
from tests.helpers.command import pipeline
from tests.unit.test_settings import folder  # noqa: F401 - an empty one

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_fields_say() -> None:
    spec = importlib.util.spec_from_file_location("page", ROOT / "tools" / "settings_page.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.PAGE.read_text(encoding="utf-8") == tool.page(), "run tools/settings_page.py"


def test_each_value_is_printed_with_where_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / "pipeline.toml").write_text("max_attempts = 7\nmodel = 'file'\nschema = 'app'\n")
    environment = {
        "pipeline_model": "demo",
        "PIPELINE_BUCKETS": "s3://a,gs://b",
        "DATABASE_URL": "postgresql+psycopg://u:geheim@h/x?sslpassword=geheim",
    }
    done = pipeline(tmp_path, "settings", "--json", **environment)
    assert done.returncode == 0, done.stderr
    found = {one["name"]: one for one in json.loads(done.stdout)}
    assert list(found) == names()
    assert found["model"] == {
        "name": "model",
        "variable": "pipeline_model",
        "value": "demo",
        "source": "environment",
        "where": "pipeline_model",
    }
    assert found["max_attempts"]["value"] == 7
    assert found["max_attempts"]["source"] == "file"
    assert found["max_attempts"]["where"] == "pipeline.toml: max_attempts"
    assert (found["schema"]["value"], found["schema"]["source"]) == ("app", "file")
    assert found["buckets"]["value"] == ["s3://a", "gs://b"]
    assert found["database_url"]["value"] == "postgresql://u:***@h/x?sslpassword=***"
    assert (found["claim_size"]["source"], found["claim_size"]["where"]) == ("default", None)
    shown = pipeline(tmp_path, "settings", **environment)
    assert "geheim" not in done.stdout + done.stderr + shown.stdout + shown.stderr
    assert "pipeline.toml: max_attempts" in shown.stdout
    assert "the file pipeline.toml is read" in shown.stderr
    # One that nobody can read has its password nobody knows where.
    done = pipeline(tmp_path, "settings", "--json", DATABASE_URL="postgresql://u:ge@heim@h/x")
    assert "heim" not in done.stdout + done.stderr


def test_a_variable_without_our_prefix_is_not_ours(
    folder: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in ("SCHEMA", "DATABASE_SCHEMA", "MODEL"):
        monkeypatch.setenv(variable, "anybodys")
    assert Settings.load().database_schema == "public"
    monkeypatch.setenv("PIPELINE_SCHEMA", "ours")
    assert Settings.load().database_schema == "ours"
    assert Settings.load(database_schema="flag").database_schema == "flag"
    (folder / "pipeline.toml").write_text("schema = 'file'\n")
    monkeypatch.delenv("PIPELINE_SCHEMA")
    assert Settings.load().database_schema == "file"


@pytest.mark.parametrize(
    ("hnsw", "says"),
    [
        ("m=1", "m is from 2 to 100, not 1"),
        ("m=1000", "m is from 2 to 100, not 1000"),
        ("ef_construction=3", "ef_construction is from 4 to 1000, not 3"),
        ("m=\u0663", "is expected"),
        ("m=50,ef_construction=64", "ef_construction is at least twice m, 100 here, not 64"),
        ("m=100", "ef_construction is at least twice m, 200 here, not 128"),
        ("m", "is expected"),
    ],
)
def test_an_index_that_cannot_be_is_wrong_usage(tmp_path: Path, hnsw: str, says: str) -> None:
    done = pipeline(tmp_path, "space", "create", "new", "--hnsw", hnsw)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in " ".join(done.stderr.split())
