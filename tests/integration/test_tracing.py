"""Traces for OpenTelemetry: the way of a row and of a query, with numbers and codes alone."""

import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode

from pipeline.client.client import Client
from pipeline.errors import ModelUnavailable
from pipeline.ingest import tracing
from pipeline.ingest.events import WorkEvents
from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.spaces import add_images
from tests.helpers.web import pages
from tests.helpers.workers import load_file, work
from tests.integration.test_serve import serving

pytestmark = pytest.mark.usefixtures("dblink")
SECRET = "a text that nobody may read elsewhere"
STAGES = ["pipeline.claim", "pipeline.load", "pipeline.embed", "pipeline.store"]


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """The spans of this process, as long as the test lasts."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def traces(spans: Sequence[ReadableSpan]) -> list[tuple[ReadableSpan, list[ReadableSpan]]]:
    """Each root with its children, in the order of their beginnings."""
    children: dict[int, list[ReadableSpan]] = defaultdict(list)
    for span in spans:
        if span.parent is not None:
            children[span.parent.span_id].append(span)
    return [
        (span, sorted(children[span.context.span_id], key=lambda child: child.start_time or 0))
        for span in spans
        if span.parent is None and span.context is not None
    ]


def test_a_row_is_traced_from_its_claim_to_its_end(
    connection: Connection,
    settings: Settings,
    space: Space,
    exported: InMemorySpanExporter,
    tmp_path: Path,
) -> None:
    add_texts(connection, [SECRET, "one", "two", "\u200b"], SECRET)
    add_images(connection, tmp_path, 1)
    (tmp_path / "none.png").write_bytes(b"no image")
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "VALUES ('files', 'none', 'image', %s)",
        (str(tmp_path / "none.png"),),
    )
    report = work(settings, space, load=load_file)
    found = {root.attributes["pipeline.source_id"]: (root, rest)  # type: ignore[index]
             for root, rest in traces(exported.get_finished_spans())}  # fmt: skip
    assert (report.done, report.failed, sorted(found)) == (4, 2, [1, 2, 3, 4, 5, 6])
    for number in (1, 2, 3, 5):
        root, children = found[number]
        assert [child.name for child in children] == STAGES
        assert (root.name, root.status.status_code) == ("pipeline.row", StatusCode.UNSET)
        assert dict(root.attributes or {}) == {
            "pipeline.space": "fake",
            "pipeline.modality": "image" if number == 5 else "text",
            "pipeline.source_id": number,
            "pipeline.attempt": 1,
            "pipeline.outcome": "done",
        }
        times = [time for child in children for time in (child.start_time, child.end_time)]
        assert times == sorted(times)  # type: ignore[type-var]
        assert (root.start_time, root.end_time) == (times[0], times[-1])
    for number, code in ((4, "empty_text"), (6, "not_an_image")):
        root, children = found[number]
        assert [child.name for child in children] == [STAGES[0], STAGES[1], STAGES[3]]
        assert root.status.status_code == StatusCode.ERROR
        assert (root.attributes or {})["error.type"] == code
        assert (root.attributes or {})["pipeline.outcome"] == "failed"
    everything = "".join(span.to_json() for span in exported.get_finished_spans())
    assert SECRET not in everything
    assert str(tmp_path) not in everything
    assert "none" not in everything


def test_what_a_worker_leaves_behind_is_ended_too(
    connection: Connection, settings: Settings, space: Space, exported: InMemorySpanExporter
) -> None:
    def breaks_down(_: object) -> None:
        raise ModelUnavailable(SECRET)

    add_texts(connection, ["one"])
    with pytest.raises(ModelUnavailable):
        work(settings, space, FakeEmbedder(before=breaks_down))
    ((root, children),) = traces(exported.get_finished_spans())
    assert [child.name for child in children] == STAGES[:2]
    assert (root.attributes or {})["pipeline.outcome"] == "left"
    assert SECRET not in root.to_json()


def test_a_query_is_traced_where_it_is_asked_and_where_it_is_answered(
    connection: Connection,
    settings: Settings,
    space: Space,
    url: str,
    exported: InMemorySpanExporter,
) -> None:
    add_texts(connection, ["one", "two"])
    work(settings, space)
    exported.clear()
    tracer = trace.get_tracer("an application")
    with serving(url), Client(url) as client, pages(settings) as browser:
        with tracer.start_as_current_span("a request"):
            assert client.search(SECRET, k=1)
        assert browser.get("/", params={"q": "two"}).status_code == 200
    spans = exported.get_finished_spans()
    (request,) = [span for span in spans if span.name == "a request"]
    (search,) = [span for span in spans if span.name == "pipeline.search"]
    assert search.parent == request.context
    inside = [s.name for s in spans if s.parent is not None and s.parent == search.context]
    assert inside == ["pipeline.query_vectors", "pipeline.retrieve"]
    served = [(root, rest) for root, rest in traces(spans) if root.name == "pipeline.serve"]
    for root, rest in served:
        assert dict(root.attributes or {}) == {"pipeline.space": "fake", "pipeline.queries": 1}
        assert [child.name for child in rest] == ["pipeline.embed", "pipeline.store"]
    assert len(served) == 2
    names = [root.name for root, _ in traces(spans)]
    assert names.count("pipeline.query_vectors") == names.count("pipeline.retrieve") == 1  # pages
    assert SECRET not in "".join(span.to_json() for span in spans)


def test_a_search_that_fails_says_only_how(
    settings: Settings, space: Space, url: str, exported: InMemorySpanExporter
) -> None:
    from pipeline.errors import NotServed

    with Client(url) as client, pytest.raises(NotServed):
        client.search(SECRET)
    spans = exported.get_finished_spans()
    assert [span.name for span in spans] == ["pipeline.query_vectors", "pipeline.search"]
    for span in spans:
        assert span.status.status_code == StatusCode.ERROR
        assert (span.attributes or {})["error.type"] == "NotServed"
        assert span.events == ()
        assert SECRET not in span.to_json()


def test_nothing_is_kept_of_rows_that_are_not_sampled(
    monkeypatch: pytest.MonkeyPatch, connection: Connection, settings: Settings, space: Space
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ALWAYS_OFF)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    kept: list[int] = []
    stage = tracing._Rows._stage

    def look(rows: tracing._Rows, *arguments: object) -> None:
        kept.append(len(rows._spans))
        stage(rows, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(tracing._Rows, "_stage", look)
    add_texts(connection, ["one"])
    assert work(settings, space).done == 1
    assert exporter.get_finished_spans() == ()
    assert set(kept) == {0}


def test_without_a_provider_nothing_is_imported_and_nothing_told(settings: Settings) -> None:
    events = WorkEvents()
    assert tracing.traced(events, "fake") is events
    program = (
        "import sys\n"
        "from pipeline.tracing import find_tracer, span\n"
        "import pipeline.ingest.worker, pipeline.client.client, pipeline.search.serve\n"
        "with span('search', space='x'):\n"
        "    assert find_tracer() is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
