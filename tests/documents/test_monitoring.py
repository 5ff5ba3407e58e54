"""The dashboard, the rules and the documentation of metrics ask for what there is, and for nothing
else."""

import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml
from prometheus_client import CollectorRegistry

from pipeline.cli import app
from pipeline.ingest.report import IngestReport
from pipeline.metrics.ingest import IngestMetrics
from pipeline.metrics.run import RunEnd
from pipeline.metrics.serve import ServeMetrics
from pipeline.postgres.connections import Connection
from pipeline.postgres.database import Database
from pipeline.postgres.pool import DatabasePool
from pipeline.postgres.reading import Reading
from pipeline.spaces import IndexProgress, Space
from pipeline.web.metrics import Metrics
from tests.documents.test_compose import check
from tests.helpers.fakes import add_texts

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "monitoring"
DASHBOARD = json.loads((MONITORING / "grafana/dashboards/crossmodal.json").read_text())
RULES = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
# Prometheus' own, and of process_* those that the dashboard has.
OTHERS = {
    "up": {"job", "instance"},
    "process_resident_memory_bytes": {"job", "instance"},
    "process_cpu_seconds_total": {"job", "instance"},
}
KEYWORDS = {"and", "or", "unless", "bool", "offset"}


@pytest.fixture
def metrics(connection: Connection, url: str, space: Space) -> dict[str, set[str]]:
    """Every series that there is with its labels, each of which has been set once."""
    add_texts(connection, ["one"])
    ingest = IngestMetrics()
    ingest.follow(IngestReport("fake", done=1))
    ingest.events.batch("text", 1, 0.1)
    ingest.events.failure("timeout", "retried")
    ingest.indexed(IndexProgress("text", "loading", 1, 2))
    pool = DatabasePool(Database(url), size=1)
    run = CollectorRegistry()
    run.register(RunEnd("fake", 0, 1.0, Path("none.prom")))
    web = Metrics(Reading(pool))
    web._requests.labels("search", 200).inc()
    web._seconds.labels("search").observe(0.1)
    serve = ServeMetrics().registry
    found: dict[str, set[str]] = defaultdict(set)
    for registry in (ingest.registry, run, web.registry, serve):
        for family in registry.collect():
            for sample in family.samples:
                found[sample.name] |= set(sample.labels)
    pool.close()
    assert "pipeline_jobs" in found
    return {name: labels for name, labels in found.items() if not name.endswith("_created")}


def asked(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Each metric that an expression of PromQL names, with the labels that it is chosen by."""
    for name, chosen in re.findall(
        r"\b([a-z_]\w*)\b(?!\s*\()(?:\s*\{([^}]*)\})?", bare(expression)
    ):
        if name not in KEYWORDS:
            yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", chosen))


def bare(expression: str) -> str:
    """Without strings, ranges and lists of labels."""
    plain = re.sub(r'"[^"]*"', '""', expression)
    plain = re.sub(r"\[[^\]]*\]", "", plain)
    return re.sub(r"\b(?:by|on|without|ignoring)\s*\([^)]*\)", "", plain)


def grouped(expression: str) -> set[str]:
    """Labels that an expression groups or joins by."""
    lists = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression)
    return {label.strip() for labels in lists for label in labels.split(",")}


EXPRESSIONS = {f"rule {rule['alert']}": rule["expr"] for rule in RULES} | {
    f"panel {panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}


def faults(expression: str, metrics: dict[str, set[str]]) -> list[str]:
    known = metrics | OTHERS
    found = []
    has: set[str] = set()
    for name, labels in asked(expression):
        if name not in known:
            found.append(f"there is no {name}")
            continue
        has |= known[name]
        found += [f"{name} has no label {label}" for label in sorted(labels - known[name])]
    return found + [f"nothing has {label}" for label in sorted(grouped(expression) - has)]


def test_every_expression_asks_for_what_there_is(metrics: dict[str, set[str]]) -> None:
    assert len(EXPRESSIONS) > 25
    assert [
        (name, found) for name, text in EXPRESSIONS.items() if (found := faults(text, metrics))
    ] == []
    variable = DASHBOARD["templating"]["list"][1]["query"]["query"]
    name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable).groups()  # type: ignore[union-attr]
    assert label in metrics[name]


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ('max(pipeline_jbs{state="x"})', "there is no pipeline_jbs"),
        ('pipeline_jobs{stat="x"}', "pipeline_jobs has no label stat"),
        ("sum by (spce, state) (pipeline_jobs)", "nothing has spce"),
        ("rate(pipeline_ingest_rows[5m])", "there is no pipeline_ingest_rows"),
    ],
)
def test_a_fault_of_an_expression_is_found(
    metrics: dict[str, set[str]], expression: str, fault: str
) -> None:
    assert faults(expression, metrics) == [fault]


def test_the_documentation_names_every_metric_with_its_labels(
    metrics: dict[str, set[str]],
) -> None:
    said = {
        name: set(labels.split(",")) if labels else set()
        for name, labels in re.findall(
            r"`(pipeline_\w+)(?:\{([\w,]*)\})?`",
            (ROOT / "docs/monitoring.md").read_text().partition("## Names")[2],
        )
    }
    there: dict[str, set[str]] = {}
    for name, labels in metrics.items():
        if name.endswith("_bucket"):
            there[name.removesuffix("_bucket")] = labels - {"le"}
        elif f"{name.rpartition('_')[0]}_bucket" not in metrics:
            there[name] = labels
    assert said == there


def test_every_legend_has_labels_that_are_left() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            left = grouped(target["expr"]) or {"instance"}
            assert used <= left, panel["title"]


def test_panels_stand_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool here")
@pytest.mark.parametrize("command", [("rules", "alerts.yml"), ("config", "prometheus.yml")])
def test_promtool_finds_no_fault(command: tuple[str, str]) -> None:
    kind, file = command
    options = ["--syntax-only"] if kind == "config" else []
    done = subprocess.run(
        ["promtool", "check", kind, *options, MONITORING / file],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_runs_what_prometheus_asks() -> None:
    file = ROOT / "docker-compose.monitoring.yml"
    done = check(file)
    assert done.returncode == 0, done.stdout
    compose = yaml.safe_load(file.read_text())
    command = typer.main.get_command(app)
    ports = set()
    for name in ("ingest", "serve"):
        arguments = compose["services"][name]["command"]
        with command.make_context("pipeline", list(arguments)):
            ports.add(f"{name}:{arguments[-1].rpartition(':')[2]}")
    prometheus = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    (job,) = prometheus["scrape_configs"]
    assert set(job["static_configs"][0]["targets"]) == ports
    configs = compose["services"]["prometheus"]["configs"]
    assert job["authorization"]["credentials_file"] == configs[0]["target"]
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (ROOT / source).exists(), source
