"""Every setting is read by somebody, and a name that is almost one is named."""

import ast
import json
import os
import re
from pathlib import Path

import pytest

import pipeline
from pipeline import setting_names
from pipeline.errors import ConfigurationError
from pipeline.setting_names import OTHERS
from pipeline.settings import Settings, names, set_in
from tests.helpers.command import pipeline as command

PACKAGE = Path(pipeline.__file__).parent
MIGRATIONS = Path(__file__).parents[2] / "migrations"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one to read ``pipeline.toml`` in; nothing has been warned of yet."""
    monkeypatch.chdir(tmp_path)
    setting_names.warn_once.cache_clear()
    return tmp_path


def trees() -> list[tuple[Path, ast.Module]]:
    files = [path for folder in (PACKAGE, MIGRATIONS) for path in folder.rglob("*.py")]
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in files]


def read_settings() -> set[str]:
    """Attributes of settings, of options made of them, and of ``self`` in settings.py."""
    return {
        node.attr
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and (
            re.search("settings|options", ast.unparse(node.value).lower())
            or (path.name == "settings.py" and ast.unparse(node.value) == "self")
        )
    }


def test_every_setting_is_read() -> None:
    assert set(Settings.model_fields) - read_settings() == set()


def test_every_variable_that_the_package_names_is_known() -> None:
    """In its messages and help, and those that are read outside of the settings."""
    named = {
        name
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for name in re.findall(r"\bPIPELINE_([A-Z][A-Z_]*[A-Z])\b", node.value)
    }
    known = {name.upper() for name in names()} | set(OTHERS)
    assert named <= known
    assert set(OTHERS) <= named | {"IMPORT_URL"}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("PIPELINE_MODLE", "PIPELINE_MODEL"),
        ("PIPELINE_MEDIA_ROOT", "PIPELINE_MEDIA_ROOTS"),
        ("PIPELINE_BATCHSIZE", "PIPELINE_BATCH_SIZE"),
        ("PIPELINE_LOGLEVEL", "PIPELINE_LOG_LEVEL"),
        ("PIPELINE_LOAD_TIMEOUT", "PIPELINE_LOAD_TIMEOUT_SECONDS"),
        ("pipeline_buckts", "PIPELINE_BUCKETS"),
    ],
)
def test_a_misspelt_variable_is_named_with_the_one_that_is_meant(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variable: str, meant: str
) -> None:
    monkeypatch.setenv(variable, "1")
    assert Settings.load() == Settings.load()  # twice, and said once
    assert warnings(caplog) == [f"{variable} is no setting and does nothing; did you mean {meant}?"]
    assert (caplog.records[0].name, caplog.records[0].levelname) == (
        "pipeline.setting_names",
        "WARNING",
    )


@pytest.mark.parametrize(
    "variable",
    [
        "PIPELINE_MODEL",
        "pipeline_model",
        "PIPELINE_DATABASE_URL",
        "PIPELINE_LOG_FORMAT",
        "PIPELINE_IMPORT_URL",
        "PIPELINE_SERVICE_HOST",
        "PIPELINE_SERVICE_PORT",
        "PIPELINE_SERVICE_PORT_HTTP",
        "PIPELINE_PORT",
        "PIPELINE_PORT_5432_TCP",
        "PIPELINE_PORT_5432_TCP_ADDR",
        "PIPELINE_PORT_5432_TCP_PROTO",
        "PIPELINE_DEVICE_PORT",
        "PIPELINE_HOME_SERVICE_HOST",
        "PIPELINE_VERSION",
        "PIPELINE_ID",
        "PIPELINE_WORKSPACE",
        "CI_PIPELINE_MODLE",
    ],
)
def test_what_is_ours_or_anybodys_is_silent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variable: str
) -> None:
    monkeypatch.setenv(variable, "text")
    Settings.load()
    assert warnings(caplog) == []


def test_no_name_of_ours_looks_injected() -> None:
    ours = [*names(), *OTHERS]
    assert [name for name in ours if setting_names._INJECTED.fullmatch(name.upper())] == []


def test_a_key_of_the_file_that_is_no_setting_is_always_named(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "pipeline.toml").write_text(
        "lease_second = 90\nPIPELINE_MODEL = 'x'\nmax_attempts = 7\nHome = 'h'\n[colour]\nred = 1\n"
    )
    settings = Settings.load()
    assert (settings.max_attempts, settings.lease_seconds) == (7, 60.0)
    assert warnings(caplog) == [
        "pipeline.toml: 'lease_second' is no setting and does nothing; did you mean lease_seconds?",
        "pipeline.toml: 'PIPELINE_MODEL' is no setting and does nothing; did you mean model?",
        "pipeline.toml: 'Home' is no setting and does nothing; did you mean home?",
        "pipeline.toml: 'colour' is no setting and does nothing",
    ]  # fmt: skip
    (folder / "other.toml").write_text("zzz = 1\n")
    monkeypatch.setenv("PIPELINE_CONFIG", "other.toml")
    Settings.load()
    assert warnings(caplog)[-1] == "other.toml: 'zzz' is no setting and does nothing"


def test_a_key_of_the_file_may_be_that_of_the_url(folder: Path) -> None:
    for name in ("database_url", "DATABASE_URL", "PIPELINE_DATABASE_URL"):
        (folder / "pipeline.toml").write_text(f"{name} = 'postgresql://db/app'\n")
        url = Settings.load().database_url
        assert url is not None
        assert url.get_secret_value() == "postgresql://db/app"


def test_an_empty_url_in_the_environment_is_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``DATABASE_URL: ${DATABASE_URL:-}`` of a compose file gives it."""
    for empty in ("", "  "):
        monkeypatch.setenv("PIPELINE_DATABASE_URL", empty)
        monkeypatch.delenv("DATABASE_URL", raising=False)
        assert Settings.load().database_url is None
        assert set_in("database_url") == []
        monkeypatch.setenv("DATABASE_URL", "postgresql://db/app")
        url = Settings.load().database_url
        assert url is not None
        assert url.get_secret_value() == "postgresql://db/app"
        assert set_in("database_url") == ["DATABASE_URL"]


def test_a_wrong_value_and_an_unknown_argument_stay_errors(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="PIPELINE_MODLE"):
        Settings.load(modle="demo")
    (folder / "pipeline.toml").write_text("max_attempts = 'many'\n")
    with pytest.raises(ConfigurationError, match=r"pipeline.toml: max_attempts: .* valid integer"):
        Settings.load()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_command_says_it_once_on_stderr(folder: Path, log_format: str) -> None:
    """`db url` reads the settings twice."""
    (folder / "pipeline.toml").write_text("colour = 3\n")
    done = command(folder, "--log-format", log_format, "db", "url", PIPELINE_MODLE="demo")
    assert done.returncode == 0
    assert done.stdout.startswith("postgresql://")
    said = [
        "PIPELINE_MODLE is no setting and does nothing; did you mean PIPELINE_MODEL?",
        "pipeline.toml: 'colour' is no setting and does nothing",
    ]
    lines = done.stderr.splitlines()
    if log_format == "json":
        found = [json.loads(line) for line in lines]
        assert [line["message"] for line in found] == said
        assert [line["nearest"] for line in found] == ["PIPELINE_MODEL", None]
    else:
        assert [line.split(" WARNING ")[1] for line in lines] == said


@pytest.mark.parametrize(
    ("mode", "owner", "why"),
    [
        (0o646, None, "others may write it"),
        (0o664, (0, 12345), "its group may write it"),
        (0o644, (12345, 12345), "it belongs to another user"),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_that_others_can_write_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: int,
    owner: tuple[int, int] | None,
    why: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "pipeline.toml"
    file.write_text("model = 'evil'\n")
    if owner is not None:
        os.chown(file, *owner)
    file.chmod(mode)
    with pytest.raises(ConfigurationError, match=rf"pipeline\.toml .*{why}.*PIPELINE_CONFIG"):
        Settings.load()
    monkeypatch.setenv("PIPELINE_CONFIG", str(file))  # named by hand, so it is meant
    assert Settings.load().model == "evil"


def test_a_file_of_ones_own_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "pipeline.toml"
    file.write_text("model = 'mine'\n")
    file.chmod(0o664)  # as a umask of 002 makes it, with the group of one's own
    assert Settings.load().model == "mine"


def refused(**flags: object) -> str:
    with pytest.raises(ConfigurationError) as failure:
        Settings.load(**flags)
    return str(failure.value)


def test_a_wrong_value_is_said_with_where_it_was_set(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "pipeline.toml").write_text("max_attempts = 'many'\n")
    assert refused().startswith("pipeline.toml: max_attempts: ")
    (folder / "other.toml").write_text("batch_size = -1\nDATABASE_URL = 3\n")
    monkeypatch.setenv("PIPELINE_CONFIG", "other.toml")
    assert refused().startswith("other.toml: DATABASE_URL: ")
    (folder / "other.toml").write_text("batch_size = -1\n")
    assert refused().startswith("other.toml: batch_size: ")
    monkeypatch.setenv("pipeline_batch_size", "-2")  # which wins
    assert refused().startswith("pipeline_batch_size: ")
    assert refused(batch_size=-3).startswith("PIPELINE_BATCH_SIZE: ")


def test_a_file_that_is_no_toml_is_named_as_it_is_called(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_CONFIG", "other.toml")
    for content in (b"model = \n", b"model = '\xff'\n"):
        (folder / "other.toml").write_bytes(content)
        assert refused().startswith("other.toml cannot be read: ")


def test_a_byte_order_mark_is_no_part_of_the_file(folder: Path) -> None:
    (folder / "pipeline.toml").write_bytes(b"\xef\xbb\xbfmax_attempts = 7\n")
    assert Settings.load().max_attempts == 7


def test_an_empty_name_of_the_file_names_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "pipeline.toml").write_text("max_attempts = 7\n")
    monkeypatch.setenv("PIPELINE_CONFIG", "")
    assert Settings.load().max_attempts == 7


def test_a_boolean_is_no_number(folder: Path) -> None:
    for key in ("batch_size", "lease_seconds", "max_attempts", "model"):
        (folder / "pipeline.toml").write_text(f"{key} = true\n")
        assert refused().startswith(f"pipeline.toml: {key}: ")
    (folder / "pipeline.toml").write_text("roles = false\n")
    assert Settings.load().roles is False


DURATIONS = [
    name
    for name, field in Settings.model_fields.items()
    if field.annotation is float and name.endswith(("_seconds", "_days"))
]


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("value", ["inf", "1e300", "nan", "-1"])
def test_every_duration_is_finite(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    assert len(DURATIONS) == 22
    monkeypatch.setenv(f"PIPELINE_{name.upper()}", value)
    assert refused().startswith(f"PIPELINE_{name.upper()}: ")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PIPELINE_BUCKETS", "pictures"),
        ("PIPELINE_BUCKETS", "s3://a,s3://"),
        ("PIPELINE_BUCKETS", "ftp://a"),
        ("PIPELINE_HTTP_ALLOW_PRIVATE", "yes"),
        ("PIPELINE_HTTP_ALLOW_PRIVATE", "10.0.0.0/8,10.0.0.1/80"),
        ("PIPELINE_DEVICE", "GPU 1"),
        ("PIPELINE_DEVICE", "cuda:x"),
        ("PIPELINE_DEVICE", ""),
    ],
)
def test_what_could_never_be_used_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert refused().startswith(f"{variable}: ")


def test_what_can_be_used_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_BUCKETS", "s3://a, gs://b/pre fix/, AZ://c/d")
    monkeypatch.setenv("PIPELINE_HTTP_ALLOW_PRIVATE", "10.0.0.1/8,fd00::/8,127.0.0.1")
    monkeypatch.setenv("PIPELINE_DEVICE", "cuda:1")
    settings = Settings.load()
    assert settings.buckets == ("s3://a", "gs://b/pre fix/", "AZ://c/d")
