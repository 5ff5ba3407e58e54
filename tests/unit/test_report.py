"""The report of a run: which stage held the others up."""

import json

import pytest

from pipeline.cli.ingest import _print
from pipeline.ingest.report import IngestReport


@pytest.mark.parametrize(
    ("waiting", "stage"),
    [
        ({"load": 5, "embed": 0, "write": 0}, "load"),
        ({"load": 5, "embed": 2, "write": 0}, "embed"),
        ({"load": 5, "embed": 2, "write": 1}, "write"),
    ],
)
def test_the_last_stage_that_has_work_waiting_is_the_bottleneck(
    waiting: dict[str, int], stage: str
) -> None:
    report = IngestReport("s")
    report.sample(waiting)
    assert {of.stage: of.bottleneck for of in report.stages() if of.bottleneck} == {stage: 1.0}


def test_where_nothing_waits_the_bottleneck_is_the_first_stage_at_work() -> None:
    report = IngestReport("s")
    report.sample({})
    assert sum(report.bottleneck.values()) == 0
    with report.timed("write"), report.timed("embed"):
        report.sample({})
    assert report.bottleneck["embed"] == 1


def test_of_load_and_prepare_which_share_threads_the_one_with_more_of_them_is_it() -> None:
    report = IngestReport("s")
    with report.timed("load"), report.timed("prepare"), report.timed("prepare"):
        report.sample({"load": 5})
    with report.timed("load"), report.timed("load"), report.timed("prepare"):
        report.sample({"load": 5})
    with report.timed("prepare"):
        report.sample({"embed": 1})
    assert [report.bottleneck[s] for s in ("prepare", "load", "embed")] == [1, 1, 1]


def test_time_at_work_counts_once_however_many_threads_work() -> None:
    report = IngestReport("s", done=10)
    with report.timed("load"), report.timed("load"):
        pass
    report.seconds = report.at_work["load"]
    assert 0 < report.at_work["load"] <= report.busy["load"]
    (load,) = [of for of in report.stages() if of.stage == "load"]
    assert load.at_work == 1.0
    assert load.rows_per_second == pytest.approx(10 / report.at_work["load"])


def test_the_shares_of_a_run_are_json() -> None:
    report = IngestReport("s")
    for _ in range(3):
        report.sample({"embed": 1})
    report.sample({"write": 1})
    stages = json.loads(json.dumps(report.as_dict()))["stages"]
    assert {name: of["bottleneck"] for name, of in stages.items()} == {
        "claim": 0.0,
        "load": 0.0,
        "prepare": 0.0,
        "embed": 0.75,
        "write": 0.25,
    }


@pytest.mark.parametrize("stopped", [True, False])
def test_a_run_that_was_stopped_does_not_say_that_nothing_was_due(
    capsys: pytest.CaptureFixture[str], *, stopped: bool
) -> None:
    _print(IngestReport("fake"), stopped=stopped)
    assert ("nothing due" in capsys.readouterr().out) is not stopped
