"""Recall, tuning and retrieval: against numbers known by construction, and clip-benchmark's."""

import json
import re
import sys
import types
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from pipeline import spaces
from pipeline.errors import ConfigurationError, SpaceError
from pipeline.postgres.connections import Connection
from pipeline.quality import comparison, recall, retrieval, tunings
from pipeline.quality.gate import Gate, pass_gate
from pipeline.quality.metrics import first_ranks, group_numbers, median_rank, ndcg_at, recall_at
from pipeline.quality.tune import Trial, tune
from pipeline.spaces import Space
from pipeline.transfer import ForeignItem, import_items
from pipeline.vectors import Vectors, unit_rows
from tests.helpers.fakes import FakeEmbedder

PAIRS = 60


def clip_like(pairs: int, dimensions: int, seed: int = 0, noise: float = 1.0) -> list[Vectors]:
    """Texts and images in two cones (the modality gap), pair by pair a little alike."""
    random = np.random.default_rng(seed)
    shared = random.normal(size=(pairs, dimensions))
    cones = random.normal(size=(2, dimensions)) * 2
    return [
        unit_rows(cone + shared + noise * random.normal(size=(pairs, dimensions))) for cone in cones
    ]


def fill(connection: Connection, space: Space, texts: Vectors, images: Vectors) -> None:
    """Items of these vectors; text i and image i share ``metadata.pair``."""
    rows = [
        ForeignItem(f"row {n}", f"{modality} {n}", modality, f"{modality} {n}", {"pair": n}, vector)
        for modality, vectors in (("text", texts), ("image", images))
        for n, vector in enumerate(vectors)
    ]
    import_items(connection, space, "test", rows)


@pytest.fixture
def paired(connection: Connection, space: Space) -> Space:
    fill(connection, space, *clip_like(PAIRS, space.dimensions))
    return space


# the pure metrics


def test_ranks_by_hand() -> None:
    items = np.eye(4, dtype=np.float32)
    queries = unit_rows([[4, 3, 2, 1], [1, 2, 3, 4], [0, 0, 1, 0]])
    ranks = first_ranks(queries, np.array([0, 0, 2]), items, np.array([0, 1, 2, 3]))
    assert ranks.tolist() == [1, 4, 1]
    assert (recall_at(ranks, 1), recall_at(ranks, 4), median_rank(ranks)) == (2 / 3, 1.0, 1.0)


def test_the_best_of_several_that_belong_counts() -> None:
    items = np.eye(4, dtype=np.float32)
    queries = unit_rows([[4, 3, 2, 1]])
    assert first_ranks(queries, np.array([7]), items, np.array([0, 7, 7, 7])).tolist() == [2]


def test_a_model_that_gives_everything_one_vector_finds_nothing() -> None:
    same = np.ones((5, 1), dtype=np.float32)
    ranks = first_ranks(same, np.arange(5), same, np.arange(5))
    assert ranks.tolist() == [5] * 5


def test_ndcg_by_hand() -> None:
    vectors = unit_rows([[1, 0], [1, 0.1], [1, 0.2], [-1, 0]])
    groups = np.array([0, 1, 0, 1])
    # From 0 the order is 1, 2, 3 with 2 relevant: 1 / log2(3). From 2: 1, 0, 3. Likewise 1 and 3:
    # 1 sees 2, 0, 3 or 0, 2, 3 (relevant last), 3 sees 2, 1, 0 (relevant second).
    expected = np.mean([1 / np.log2(3), 0.5, 1 / np.log2(3), 1 / np.log2(3)])
    assert ndcg_at(vectors, vectors, groups, 10) == pytest.approx(expected)
    assert np.isnan(ndcg_at(vectors, vectors, np.arange(4), 10))


def test_chunks_do_not_change_the_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, images = clip_like(50, 16)
    whole = first_ranks(texts, np.arange(50), images, np.arange(50))
    monkeypatch.setattr("pipeline.quality.metrics.CHUNK", 7)
    assert (first_ranks(texts, np.arange(50), images, np.arange(50)) == whole).all()


# clip-benchmark


def clip_benchmark() -> Any:
    """Its retrieval module alone: the package's others need data sets and captioning."""
    pytest.importorskip(
        "clip_benchmark", reason="the reference; pip install --no-deps clip-benchmark"
    )
    sys.modules.setdefault("tqdm", types.ModuleType("tqdm"))
    from clip_benchmark.metrics import zeroshot_retrieval

    return zeroshot_retrieval


class PrecomputedModel:
    """What clip-benchmark asks of a model; the inputs are the vectors already."""

    def encode_image(self, batch: Any) -> Any:
        return batch

    def encode_text(self, batch: Any) -> Any:
        return batch


def by_clip_benchmark(texts: Vectors, images: Vectors, of_image: Sequence[int]) -> dict[str, float]:
    import torch

    captions = [
        [texts[t] for t in np.flatnonzero(np.asarray(of_image) == i)] for i in range(len(images))
    ]
    # Texts in the order of their images, as its loader gives them.
    batch = [(torch.from_numpy(images), captions)]
    metrics: dict[str, float] = clip_benchmark().evaluate(
        PrecomputedModel(),
        batch,
        lambda rows: torch.from_numpy(np.stack(rows)),
        "cpu",
        amp=False,
        recall_k_list=[1, 5, 10],
    )
    return metrics


@pytest.mark.filterwarnings("ignore")
def test_the_numbers_are_those_of_clip_benchmark_on_the_same_vectors() -> None:
    random = np.random.default_rng(3)
    _, images = clip_like(80, 24, seed=3, noise=2.0)
    of_image = np.sort(np.concatenate([np.arange(80), random.integers(0, 80, 160)]))
    texts = unit_rows(images[of_image] + 0.35 * random.normal(size=(240, 24)))
    expected = by_clip_benchmark(texts, images, of_image)
    to_image = first_ranks(texts, of_image, images, np.arange(80))
    to_text = first_ranks(images, np.arange(80), texts, of_image)
    ours = {
        f"{found}_retrieval_recall@{k}": recall_at(ranks, k)
        for found, ranks in (("image", to_image), ("text", to_text))
        for k in (1, 5, 10)
    }
    assert ours == pytest.approx(expected, abs=1e-6)
    assert 0.2 < ours["image_retrieval_recall@1"] < 0.9


@pytest.mark.filterwarnings("ignore")
def test_the_stored_space_gives_the_numbers_of_clip_benchmark(
    connection: Connection, paired: Space
) -> None:
    texts, images = clip_like(PAIRS, paired.dimensions)
    expected = by_clip_benchmark(texts, images, range(PAIRS))
    report = retrieval.retrieval(connection, paired, "pair")
    ours = {
        f"{d.item_modality}_retrieval_recall@{k}": value
        for d in report.directions
        for k, value in d.recall.items()
    }
    # Stored as halfvec: a rank may change where two scores agree to three digits.
    assert ours == pytest.approx(expected, abs=1.01 / PAIRS)
    assert [d.queries for d in report.directions] == [PAIRS, PAIRS]


# retrieval


def test_calibrated_ranking_beats_raw_over_both_modalities(
    connection: Connection, paired: Space
) -> None:
    report = retrieval.retrieval(connection, paired, "pair")
    assert report.ndcg_calibrated > report.ndcg_raw + 0.1


def test_a_report_is_stored_with_its_time(connection: Connection, paired: Space) -> None:
    report = retrieval.retrieval(connection, paired, "pair")
    retrieval.record(connection, paired, report)
    rows = connection.execute(
        "SELECT metric, query_modality, item_modality, condition, queries, value, "
        "measured_at > now() - interval '1 minute' FROM space_evaluations ORDER BY id"
    ).fetchall()
    assert len(rows) == 10
    assert rows[0] == (
        "R@1",
        "text",
        "image",
        "pairs by pair",
        PAIRS,
        report.directions[0].recall[1],
        True,
    )


def test_pairs_that_do_not_exist_are_named_with_the_keys_there_are(
    connection: Connection, paired: Space
) -> None:
    with pytest.raises(ConfigurationError, match="metadata key 'nothing'; keys there: pair"):
        retrieval.retrieval(connection, paired, "nothing")


def test_items_without_a_counterpart_are_left_out(connection: Connection, paired: Space) -> None:
    before = retrieval.retrieval(connection, paired, "pair").directions
    texts, _ = clip_like(30, paired.dimensions, seed=9)
    lonely = [
        ForeignItem(f"row {n}", f"lonely {n}", "text", "lonely", {"pair": f"lonely {n}"}, vector)
        for n, vector in enumerate(texts)
    ]
    import_items(connection, paired, "lonely", lonely)
    assert retrieval.retrieval(connection, paired, "pair").directions == before


# recall


def test_a_whole_index_finds_nearly_everything_for_every_pair_and_filter(
    connection: Connection, space: Space
) -> None:
    fill(connection, space, *clip_like(1500, space.dimensions))
    results = recall.measure(connection, space, sample=20, conditions=tuple(comparison.CONDITIONS))
    assert len(results) == 12
    assert {(r.query_modality, r.item_modality) for r in results} == {
        (a, b) for a in ("text", "image") for b in ("text", "image")
    }
    assert min(r.recall for r in results) > 0.9
    assert {r.short for r in results} == {0}
    assert {r.queries for r in results} == {20}
    recall.record(connection, space, results)
    rows = connection.execute(
        "SELECT metric, count(*), min(value) > 0.9 FROM space_evaluations GROUP BY metric"
    ).fetchall()
    assert rows == [("recall@10", 12, True)]
    stored = connection.execute(
        "SELECT recall FROM space_modalities WHERE space_id = %s", (space.id,)
    ).fetchall()
    assert all(value > 0.9 for (value,) in stored)
    # The session is as it was before.
    row = connection.execute("SELECT current_setting('enable_seqscan')").fetchone()
    assert row == ("on",)


def test_the_truth_is_that_of_a_scan(connection: Connection, space: Space) -> None:
    texts, images = clip_like(400, space.dimensions)
    fill(connection, space, texts, images)
    connection.execute("SELECT '[1]'::vector; ")
    connection.execute("SET hnsw.ef_search = 1")
    connection.execute("SET hnsw.iterative_scan = off")
    connection.execute("SET enable_seqscan = off")
    queries = comparison.sample_queries(connection, space, "text", 20)
    truth = comparison.exact(connection, space, "image", queries, 10, "none")
    asked = np.array([json.loads(query.vector) for query in queries])
    expected = np.sort(1 - asked @ images.T, axis=1)[:, 9]
    assert [t.rows for t in truth] == [10] * 20
    np.testing.assert_allclose([t.last for t in truth], expected, atol=2e-3)
    few = comparison.exact(connection, space, "image", queries, 10, "1 %")
    assert all(0 < t.rows < 10 for t in few)


def test_recall_counts_what_the_index_misses(
    connection: Connection, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(connection, space, *clip_like(300, space.dimensions))
    queries = comparison.sample_queries(connection, space, "text", 10)
    truth = comparison.exact(connection, space, "image", queries, 10, "none")
    # As if half of what exact search returns were nearer than anything the index finds.
    half = [comparison.Exact(2 * t.rows, t.last) for t in truth]
    found = comparison.search(connection, space, "text", "image", queries, half, 10, 200, "none")
    assert found.recall == pytest.approx(0.5)
    assert found.short == 10


def test_queries_of_the_log_are_used_for_half_of_the_texts(
    connection: Connection, paired: Space
) -> None:
    connection.execute(
        "INSERT INTO query_embeddings (space_id, query_sha256, query, embedding) "
        "SELECT %s, query_key(n::text), n::text, (SELECT embedding FROM multimodal_items "
        "LIMIT 1) FROM generate_series(1, 30) AS n",
        (paired.id,),
    )
    queries = comparison.sample_queries(connection, paired, "text", 20)
    assert sum(query.item == 0 for query in queries) == 10
    assert comparison.sample_queries(connection, paired, "text", 20) == queries
    assert all(q.item for q in comparison.sample_queries(connection, paired, "image", 20))


def test_a_space_that_is_not_active_is_measured_too(connection: Connection, paired: Space) -> None:
    second = spaces.create(connection, "second", FakeEmbedder(12))
    fill(connection, second, *clip_like(PAIRS, 12))
    with pytest.raises(SpaceError, match="no whole HNSW index"):
        recall.measure(connection, second)
    spaces.build_indexes(connection, second)
    assert min(r.recall for r in recall.measure(connection, second, sample=10)) > 0.9


def test_an_empty_space_has_no_recall(connection: Connection, space: Space) -> None:
    for measure in (recall.measure, lambda c, s: tune(c, s, Trial())):
        with pytest.raises(SpaceError, match="no items to search among"):
            measure(connection, space)


# tuning


def test_tuning_takes_the_least_value_that_reaches_the_target_and_stores_it(
    connection: Connection, space: Space
) -> None:
    fill(connection, space, *clip_like(1000, space.dimensions))
    results = tune(connection, space, Trial(target=0.5, sample=10, steps=(5, 10, 20, 40)))
    assert [(t.query_modality, t.item_modality) for t in results] == [
        ("text", "text"),
        ("text", "image"),
        ("image", "text"),
        ("image", "image"),
    ]
    for tuning in results:
        assert tuning.reached
        assert tuning.chosen is tuning.tried[-1]  # nothing was tried beyond it
        assert tuning.tried[0].ef_search == 10  # never fewer candidates than neighbours
        assert all(r.recall - r.error < 0.5 for r in tuning.tried[:-1])
    tunings.store(connection, space, results)
    tunings.store(connection, space, results)
    assert recall.tuned_ef_search(connection, space) == {
        (t.query_modality, t.item_modality): t.chosen.ef_search for t in results
    }
    largest = max(t.chosen.ef_search for t in results)
    assert spaces.active_space(connection).ef_search == largest
    rows = connection.execute("SELECT ef_search FROM space_modalities").fetchall()
    assert max(rows) == (largest,)
    measured = recall.measure(connection, space, sample=10)
    assert {r.ef_search for r in measured} == {t.chosen.ef_search for t in results}


def test_a_target_out_of_reach_keeps_the_best_and_says_so(
    connection: Connection, paired: Space
) -> None:
    results = tune(connection, paired, Trial(target=1.01, sample=5, steps=(10, 20)))
    assert not any(tuning.reached for tuning in results)
    assert all(len(tuning.tried) == 2 for tuning in results)


# the gate


def test_the_gate_lets_a_good_space_pass_and_says_what_it_saw(
    connection: Connection, paired: Space
) -> None:
    second = spaces.create(connection, "second", FakeEmbedder(12))
    fill(connection, second, *clip_like(PAIRS, 12))
    spaces.build_indexes(connection, second)
    found = pass_gate(connection, second, Gate(pairs="pair"))
    assert len(found) == 2
    assert "recall@10 is at least" in found[0]
    assert "R@10 by pair" in found[1]


def test_the_gate_refuses_a_space_that_finds_less(connection: Connection, paired: Space) -> None:
    second = spaces.create(connection, "second", FakeEmbedder(12))
    texts, images = clip_like(PAIRS, 12)
    fill(connection, second, texts, images[::-1].copy())
    spaces.build_indexes(connection, second)
    with pytest.raises(SpaceError, match=r"finds less than the active one.*--no-gate"):
        pass_gate(connection, second, Gate(pairs="pair"))
    # What was measured is kept, and nothing else has changed.
    row = connection.execute("SELECT count(DISTINCT space_id) FROM space_evaluations").fetchone()
    assert row == (2,)
    assert spaces.active_space(connection).name == "fake"


OWN = PAIRS // 3
BOTH_SETS = Gate(pairs="own", general_pairs="general", max_general_loss=0.1)


def tuned(
    connection: Connection, *, own_mixed_up: tuple[bool, bool], general_mixed_up: int = 0
) -> Space:
    """A space beside the active one, as after fine-tuning: the first third of the pairs have a
    key ``own``, and may be mixed up before and after; the others have ``general``, and so many
    of them are mixed up after."""
    active = spaces.active_space(connection)
    texts, images = clip_like(PAIRS, active.dimensions)
    if own_mixed_up[0]:
        images[:OWN] = images[:OWN][::-1].copy()
    fill(connection, active, texts, images)
    second = spaces.create(connection, "tuned", FakeEmbedder(12))
    texts, images = clip_like(PAIRS, 12)
    if own_mixed_up[1]:
        images[:OWN] = images[:OWN][::-1].copy()
    images[PAIRS - general_mixed_up :] = images[PAIRS - general_mixed_up :][::-1].copy()
    fill(connection, second, texts, images)
    for space in (active, second):
        for modality in space.modalities:
            connection.execute(
                f"UPDATE {space.table_name(modality)} SET metadata = jsonb_build_object("  # type: ignore[arg-type]
                f"CASE WHEN (metadata ->> 'pair')::int < {OWN} THEN 'own' ELSE 'general' END, "
                "metadata ->> 'pair')"
            )
    spaces.build_indexes(connection, second)
    return second


def test_a_fine_tuned_model_gains_where_it_was_tuned_and_keeps_the_rest(
    connection: Connection,
) -> None:
    second = tuned(connection, own_mixed_up=(True, False))
    _, own, general = pass_gate(connection, second, BOTH_SETS)
    assert re.fullmatch(r"R@10 by own is 0\.\d+, 0\.\d+ in 'fake' \(\+0\.\d+\)", own)
    assert general.startswith("R@10 by general is ")


def test_one_that_forgets_the_rest_is_refused_with_both_figures(connection: Connection) -> None:
    second = tuned(connection, own_mixed_up=(True, False), general_mixed_up=PAIRS - OWN)
    with pytest.raises(SpaceError) as refused:
        pass_gate(connection, second, BOTH_SETS)
    assert re.search(
        r"\d+% is lost by general, of which 10% may be; R@10 by own is .* \(\+.*\); "
        r"R@10 by general is .* \(-.*\); look at .*--pairs own.*--pairs general",
        str(refused.value),
    )
    # What may be lost is a share of what there was.
    all_of_it = Gate(pairs="own", general_pairs="general", max_general_loss=1.0)
    assert len(pass_gate(connection, second, all_of_it)) == 3


def test_one_that_gains_nothing_where_it_was_tuned_is_refused(connection: Connection) -> None:
    second = tuned(connection, own_mixed_up=(False, True))
    with pytest.raises(SpaceError, match="nothing is gained by own"):
        pass_gate(connection, second, BOTH_SETS)


def test_the_gate_refuses_an_index_that_misses(connection: Connection, paired: Space) -> None:
    with pytest.raises(SpaceError, match=r"recall@10 of the space 'fake' is below 1\.01"):
        pass_gate(connection, paired, Gate(min_recall=1.01))


def test_groups_are_by_value() -> None:
    assert group_numbers(["b", "a", "b"]).tolist() == [1, 0, 1]
