"""The examples of docs/scheduling.md, as far as a parser can tell: they are what they claim to be,
and the command they run exists with these options."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import jinja2
import pytest
import typer
import yaml
from pydantic import BaseModel, ConfigDict, Field

from pipeline.cli import app
from pipeline.ingest.report import IngestReport
from pipeline.postgres.connections import connect
from pipeline.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "examples"
GRACE = Settings.model_fields["grace_seconds"].default


def assert_runs(arguments: list[str]) -> None:
    """The command line parses; nothing is run."""
    command = typer.main.get_command(app)
    with command.make_context("pipeline", list(arguments)) as context:
        rest = [*context._protected_args, *context.args]
        assert isinstance(command, typer.core.TyperGroup)
        name, subcommand, options = command.resolve_command(context, rest)
        assert subcommand is not None
        with subcommand.make_context(name, options, parent=context):
            pass


# cron

RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def assert_schedule(fields: list[str]) -> None:
    """Five fields of numbers, lists, ranges and steps, each within its range."""
    assert len(fields) == 5
    for text, (low, high) in zip(fields, RANGES, strict=True):
        for part in text.split(","):
            match = re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)(?:/(\d+))?", part)
            assert match, f"{part!r} is no field of a crontab"
            assert all(low <= int(number) <= high for number in match.groups()[:2] if number)
            assert match[3] is None or 1 <= int(match[3]) <= high


def test_the_crontab() -> None:
    lines = (EXAMPLES / "cron" / "pipeline.crontab").read_text().splitlines()
    jobs = [line for line in lines if line and not re.match(r"#|[A-Z_]+=", line)]
    assert len(jobs) == 2
    for job in jobs:
        *fields, command = job.split(None, 5)
        assert_schedule(fields)
        assert "%" not in command  # cron would make a new line of it
        words = shlex.split(command.partition(">>")[0])
        assert words[0] == "pipeline"
        assert_runs(words[1:])
    assert "[ $? -eq 75 ]" in jobs[0]


@pytest.mark.parametrize("bad", ["60 * * * *", "* 24 * * *", "* * * *", "*/x * * * *"])
def test_a_bad_schedule_is_noticed(bad: str) -> None:
    with pytest.raises(AssertionError):
        assert_schedule(bad.split())


# systemd

UNITS = ("pipeline-ingest.service", "pipeline-ingest.timer", "pipeline-watch.service")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_accepts_the_unit(unit: str, tmp_path: Path) -> None:
    for name in UNITS:
        shutil.copy(EXAMPLES / "systemd" / name, tmp_path)
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", tmp_path / unit],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in result.stderr.splitlines() if "pipeline-" in line]
    assert ours == []
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.endswith(".service")])
def test_a_service_waits_longer_than_the_grace_period(unit: str) -> None:
    text = (EXAMPLES / "systemd" / unit).read_text()
    stop = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert stop
    assert int(stop[1]) > GRACE
    command = re.search(r"^ExecStart=/usr/bin/env pipeline (.*)$", text, re.MULTILINE)
    assert command
    assert_runs(shlex.split(command[1]))


# Kubernetes: the fields used here, as the API defines them; any other is an error.


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Named(Strict):
    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")


class EnvFrom(Strict):
    secretRef: Named  # noqa: N815


QUANTITY = r"^[0-9.]+(m|Ki|Mi|Gi)?$"


class Amounts(Strict):
    cpu: str | None = Field(None, pattern=QUANTITY)
    memory: str | None = Field(None, pattern=QUANTITY)


class Resources(Strict):
    requests: Amounts
    limits: Amounts


class Container(Named):
    image: str
    args: list[str]
    envFrom: list[EnvFrom]  # noqa: N815
    resources: Resources


class PodSpec(Strict):
    restartPolicy: str | None = Field(None, pattern="^(Always|OnFailure|Never)$")  # noqa: N815
    terminationGracePeriodSeconds: int = Field(gt=GRACE)  # noqa: N815
    containers: list[Container] = Field(min_length=1)


class Metadata(Strict):
    name: str | None = None
    labels: dict[str, str] = {}


class PodTemplate(Strict):
    metadata: Metadata = Metadata()
    spec: PodSpec


class OnExitCodes(Strict):
    operator: str = Field(pattern="^(In|NotIn)$")
    values: list[int]


class Rule(Strict):
    action: str = Field(pattern="^(FailJob|Ignore|Count|FailIndex)$")
    onExitCodes: OnExitCodes  # noqa: N815


class FailurePolicy(Strict):
    rules: list[Rule]


class JobSpec(Strict):
    backoffLimit: int = Field(ge=0)  # noqa: N815
    podFailurePolicy: FailurePolicy  # noqa: N815
    template: PodTemplate


class JobTemplate(Strict):
    spec: JobSpec


class CronJobSpec(Strict):
    schedule: str
    concurrencyPolicy: str = Field(pattern="^(Allow|Forbid|Replace)$")  # noqa: N815
    startingDeadlineSeconds: int  # noqa: N815
    successfulJobsHistoryLimit: int  # noqa: N815
    failedJobsHistoryLimit: int  # noqa: N815
    jobTemplate: JobTemplate  # noqa: N815


class Selector(Strict):
    matchLabels: dict[str, str]  # noqa: N815


class DeploymentSpec(Strict):
    replicas: int = Field(ge=1)
    selector: Selector
    template: PodTemplate


class CronJob(Strict):
    apiVersion: str = Field(pattern="^batch/v1$")  # noqa: N815
    kind: str = Field(pattern="^CronJob$")
    metadata: Metadata
    spec: CronJobSpec


class Deployment(Strict):
    apiVersion: str = Field(pattern="^apps/v1$")  # noqa: N815
    kind: str = Field(pattern="^Deployment$")
    metadata: Metadata
    spec: DeploymentSpec


def manifest(name: str) -> Any:
    return yaml.safe_load((EXAMPLES / "kubernetes" / name).read_text())


def test_the_cronjob() -> None:
    job = CronJob.model_validate(manifest("cronjob.yaml"))
    assert_schedule(job.spec.schedule.split())
    pod = job.spec.jobTemplate.spec.template.spec
    assert pod.restartPolicy == "Never"  # a podFailurePolicy demands it
    assert_runs(pod.containers[0].args)
    (rule,) = job.spec.jobTemplate.spec.podFailurePolicy.rules
    assert (rule.action, 75 in rule.onExitCodes.values) == ("FailJob", False)


def test_the_deployment() -> None:
    deployment = Deployment.model_validate(manifest("deployment.yaml"))
    labels = deployment.spec.template.metadata.labels
    assert deployment.spec.selector.matchLabels.items() <= labels.items()
    assert_runs(deployment.spec.template.spec.containers[0].args)


# Airflow


class AirflowException(Exception):  # noqa: N818
    pass


class AirflowFailException(AirflowException):
    pass


@pytest.mark.parametrize(
    ("code", "raised"), [(0, None), (75, AirflowException), (1, AirflowFailException)]
)
def test_the_dag_acts_on_the_exit_code(
    code: int, raised: type[Exception] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Airflow's names stood in for; Airflow itself is too large to install for this."""
    sdk, exceptions = ModuleType("airflow.sdk"), ModuleType("airflow.exceptions")

    def decorator(**options: Any) -> Any:
        return lambda function: function

    sdk.dag = sdk.task = decorator  # type: ignore[attr-defined]
    exceptions.AirflowException = AirflowException  # type: ignore[attr-defined]
    exceptions.AirflowFailException = AirflowFailException  # type: ignore[attr-defined]
    for module in (ModuleType("airflow"), sdk, exceptions):
        monkeypatch.setitem(sys.modules, module.__name__, module)

    def run(command: list[str]) -> Any:
        assert command[0] == "pipeline"
        assert_runs(command[1:])
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(subprocess, "run", run)
    source = (EXAMPLES / "airflow" / "ingest_dag.py").read_text()
    program = compile(ast.parse(source), "ingest_dag.py", "exec")
    if raised is None:
        exec(program, {})
        return
    with pytest.raises(AirflowException) as caught:
        exec(program, {})
    assert type(caught.value) is raised


# Dagster


class Failure(Exception):  # noqa: N818 (its name there)
    def __init__(self, description: str, *, allow_retries: bool = True) -> None:
        super().__init__(description)
        self.allow_retries = allow_retries


@pytest.mark.parametrize(("code", "tried_again"), [(0, None), (75, True), (1, False)])
def test_the_asset_acts_on_the_exit_code(
    code: int, tried_again: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Dagster's names stood in for; where Dagster is, the next test asks it."""
    dagster, defined = ModuleType("dagster"), {}

    def named(kind: str) -> Any:
        return lambda *values, **options: SimpleNamespace(kind=kind, values=values, **options)

    def asset(**options: Any) -> Any:
        return lambda function: defined.setdefault(
            (options["key_prefix"], function.__name__), function
        )

    for name in ("Definitions", "MaterializeResult", "RetryPolicy", "ScheduleDefinition"):
        setattr(dagster, name, named(name))
    dagster.define_asset_job = named("job")  # type: ignore[attr-defined]
    dagster.Backoff = SimpleNamespace(EXPONENTIAL="exponential")  # type: ignore[attr-defined]
    dagster.Failure, dagster.asset = Failure, asset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dagster", dagster)

    def run(command: list[str], **options: Any) -> Any:
        assert command[0] == "pipeline"
        assert_runs(command[1:])
        report = json.dumps(IngestReport("photos", done=3, items=4).as_dict())
        return subprocess.CompletedProcess(command, code, stdout=report)

    monkeypatch.setattr(subprocess, "run", run)
    program: dict[str, Any] = {}
    exec((EXAMPLES / "dagster/definitions.py").read_text("utf-8"), program)
    (schedule,) = program["definitions"].schedules
    assert_schedule(schedule.cron_schedule.split())
    embed = defined["pipeline", "multimodal_items"]
    if tried_again is None:
        assert embed().metadata == {"space": "photos", "done": 3, "items": 4}
        return
    with pytest.raises(Failure) as caught:
        embed()
    assert caught.value.allow_retries is tried_again


@pytest.mark.skipif(shutil.which("dagster") is None, reason="no dagster here")
def test_dagster_accepts_the_asset(tmp_path: Path) -> None:
    done = subprocess.run(
        ["dagster", "definitions", "validate", "-f", EXAMPLES / "dagster/definitions.py"],
        env={**os.environ, "DAGSTER_HOME": str(tmp_path), "DAGSTER_DISABLE_TELEMETRY": "yes"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# dbt


def test_the_sources_of_dbt_are_in_the_database_for_an_analyst(url: str) -> None:
    project = yaml.safe_load((EXAMPLES / "dbt/dbt_project.yml").read_text("utf-8"))
    (source,) = yaml.safe_load((EXAMPLES / "dbt/models/pipeline.yml").read_text("utf-8"))["sources"]
    schema = render(source["schema"], var=project["vars"].__getitem__)
    tables = {table["name"]: table for table in source["tables"]}
    assert len(tables) > 4
    given_up = (EXAMPLES / "dbt/tests/nothing_is_given_up.sql").read_text("utf-8")
    fresh = tables["multimodal_items"]["config"]
    assert fresh["freshness"].keys() == {"warn_after", "error_after"}
    with connect(url) as connection:
        connection.execute("SET ROLE pipeline_analyst")
        for name, table in tables.items():
            columns = [column["name"] for column in table.get("columns", [])] or ["1"]
            connection.execute(f"SELECT {', '.join(columns)} FROM {schema}.{name}")  # type: ignore[call-overload]
        this = SimpleNamespace(schema=schema)
        query = render(fresh["loaded_at_query"], this=this)
        (row,) = connection.execute(query).fetchall()  # type: ignore[call-overload]
        assert isinstance(row[0], datetime)
        query = render(
            given_up,
            config=lambda **_: "",
            source=lambda of, name: f"{schema}.{tables[name]['name']}",
        )
        assert connection.execute(query).fetchall() == []  # type: ignore[call-overload]


def render(template: str, **names: Any) -> str:
    """As dbt does it, by Jinja."""
    return jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(template).render(names)


@pytest.mark.skipif(shutil.which("dbt") is None, reason="no dbt here")
def test_dbt_accepts_the_project(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "dbt", tmp_path, dirs_exist_ok=True)
    login = {"type": "postgres", "host": "h", "port": 5432, "user": "u", "password": "p",
             "dbname": "d", "schema": "s"}  # fmt: skip
    profile = {"search": {"target": "test", "outputs": {"test": login}}}
    (tmp_path / "profiles.yml").write_text(yaml.safe_dump(profile))
    done = subprocess.run(
        ["dbt", "parse", "--project-dir", tmp_path, "--profiles-dir", tmp_path],
        env={**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_shows_every_example_as_it_is() -> None:
    page = (DOCS / "scheduling.md").read_text()
    for file in sorted(EXAMPLES.rglob("*")):
        if file.is_file() and not {"__pycache__", "attached_shop", "fastapi"} & set(file.parts):
            assert f"examples/{file.relative_to(EXAMPLES)}" in page
