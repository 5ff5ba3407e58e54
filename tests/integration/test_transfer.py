"""Import and export of vectors: from every kind of source, all or nothing, and round trip."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest

from pipeline import spaces, transfer
from pipeline.errors import ConfigurationError
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.vector_arrays import unpack_vector
from pipeline.queue import status
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.transfer import ForeignItem
from pipeline.vectors import unit_rows
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.spaces import fill

VECTORS = unit_rows(np.random.default_rng(1).normal(size=(40, 8)))


def rows(vectors: Any = VECTORS, **changes: Any) -> list[ForeignItem]:
    """Texts and images in turn, longer or shorter than 1."""
    return [
        ForeignItem(
            **{
                "where": f"row {n}",
                "source_key": f"key {n}",
                "modality": ("text", "image")[n % 2],
                "content_ref": f"content {n}",
                "metadata": {"n": n},
                "embedding": (n + 1) * vector,
                **changes,
            }
        )
        for n, vector in enumerate(vectors)
    ]


def stored(connection: Connection, table: str = "multimodal_items") -> dict[str, Any]:
    found = connection.execute(
        f"SELECT s.source_key, i.modality, i.content_ref, i.metadata, i.embedding FROM {table} i "
        "JOIN source_items s ON s.id = i.source_id ORDER BY s.id",
        binary=True,
    ).fetchall()
    return {
        key: (modality, ref, metadata, unpack_vector(bytes(vector), "halfvec"))
        for key, modality, ref, metadata, vector in found
    }


def state(connection: Connection) -> list[Any]:
    """Everything that an import may touch."""
    return [
        connection.execute(f"SELECT xmin::text, * FROM {table} ORDER BY 2, 3").fetchall()
        for table in ("source_items", "ingest_jobs", "multimodal_items")
    ]


def test_rows_become_items_of_unit_vectors_and_nothing_is_left_to_embed(
    connection: Connection, space: Space
) -> None:
    report = transfer.import_items(connection, space, "shop", rows())
    assert (report.items, report.new_sources) == (40, 40)
    found = stored(connection)
    assert len(found) == 40
    for n, vector in enumerate(VECTORS):
        modality, ref, metadata, embedding = found[f"key {n}"]
        assert (modality, ref, metadata) == (("text", "image")[n % 2], f"content {n}", {"n": n})
        np.testing.assert_allclose(embedding, vector, atol=1e-3)
    assert status.counts(connection, space.id) == status.QueueCounts(0, 0, 0, 0)
    assert spaces.coverage(connection, space).share == 1.0


def test_importing_the_same_again_writes_the_vectors_anew_and_no_source_row(
    connection: Connection, space: Space
) -> None:
    transfer.import_items(connection, space, "shop", rows())
    query = "SELECT xmin::text FROM source_items ORDER BY id"
    before = connection.execute(query).fetchall()
    report = transfer.import_items(connection, space, "shop", rows(VECTORS[::-1]))
    assert (report.items, report.new_sources) == (40, 0)
    assert connection.execute(query).fetchall() == before
    np.testing.assert_allclose(stored(connection)["key 0"][3], VECTORS[-1], atol=1e-3)


def test_other_spaces_get_jobs_for_imported_rows(connection: Connection, space: Space) -> None:
    second = spaces.create(connection, "second", FakeEmbedder(12))
    transfer.import_items(connection, space, "shop", rows())
    assert status.counts(connection, second.id).pending == 40
    assert status.counts(connection, space.id).pending == 0


def test_an_import_into_a_space_that_is_built_finishes_its_jobs(
    settings: Settings, connection: Connection, space: Space
) -> None:
    add_texts(connection, ["one", "two"], source="shop")
    fill(settings, space, FakeEmbedder())
    second = spaces.create(connection, "second", FakeEmbedder(12))
    vectors = unit_rows(np.random.default_rng(2).normal(size=(2, 12)))
    foreign = [
        ForeignItem("row", str(n), "text", ("one", "two")[n - 1], {}, vectors[n - 1])
        for n in (1, 2)
    ]
    assert transfer.import_items(connection, second, "shop", foreign).new_sources == 0
    assert status.counts(connection, second.id).pending == 0
    spaces.build_indexes(connection, second)
    assert spaces.activate(connection, second).state == "active"
    np.testing.assert_allclose(stored(connection)["2"][3], vectors[1], atol=1e-3)


def test_a_row_that_changes_its_modality_leaves_no_item_behind(
    connection: Connection, space: Space
) -> None:
    transfer.import_items(connection, space, "shop", rows(VECTORS[:1]))
    transfer.import_items(connection, space, "shop", rows(VECTORS[:1], modality="image"))
    assert [item[0] for item in stored(connection).values()] == ["image"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding": np.ones(7)}, r"row 3: the vector has 7 dimensions.*'fake' 8"),
        ({"embedding": np.ones((2, 4))}, r"shape \(2, 4\) dimensions"),
        ({"embedding": np.array([np.nan] * 8)}, "row 3: the vector has a NaN"),
        ({"embedding": np.array([np.inf] + [0] * 7)}, "row 3: the vector has a NaN or an inf"),
        ({"embedding": np.zeros(8)}, "row 3: the vector has no direction"),
        ({"modality": "audio"}, "row 3: the space 'fake' has no modality 'audio'; it has: text, i"),
        ({"source_key": ""}, "row 3: the key is empty"),
        ({"source_key": "key 1"}, "row 3: the key 'key 1' occurs twice"),
        ({"content_ref": "a\x00b"}, "row 3: the content has a NUL"),
        ({"metadata": {"a": "\x00"}}, "row 3: the metadata has a NUL"),
        ({"modality": "text", "content_ref": "  "}, "row 3: the text is empty"),
    ],
)
def test_one_bad_row_leaves_everything_as_it_was(
    connection: Connection, space: Space, changes: dict[str, Any], message: str
) -> None:
    before = state(connection)
    foreign = rows()
    foreign[3] = rows(VECTORS[:4], **changes)[3]
    with pytest.raises(ConfigurationError, match=message):
        transfer.import_items(connection, space, "shop", foreign)
    assert state(connection) == before


def test_nothing_to_import_is_an_error(connection: Connection, space: Space) -> None:
    with pytest.raises(ConfigurationError, match="no row to import"):
        transfer.import_items(connection, space, "shop", [])


# Parquet


def test_an_export_comes_back_the_same_in_another_database(
    connection: Connection, space: Space, tmp_path: Path, new_database: Callable[..., str]
) -> None:
    transfer.import_items(connection, space, "shop", rows())
    path = tmp_path / "items.parquet"
    assert transfer.export_parquet(connection, space, path) == 40
    assert [p.name for p in tmp_path.iterdir()] == ["items.parquet"]
    assert transfer.parquet_claim(path)["fingerprint"] == space.fingerprint
    with connect(new_database("template_migrated")) as other:
        there = spaces.active_space(other)
        transfer.check_claim(there, transfer.parquet_claim(path))
        transfer.import_items(other, there, "shop", transfer.from_parquet(path, {}))
        before, after = stored(connection), stored(other)
    assert before.keys() == after.keys()
    for key, (*pointer, vector) in before.items():
        assert list(after[key][:3]) == pointer
        np.testing.assert_allclose(after[key][3], vector, atol=1e-3)


def test_an_export_without_vectors_has_everything_else(
    connection: Connection, space: Space, tmp_path: Path
) -> None:
    transfer.import_items(connection, space, "shop", rows(VECTORS[:1]))
    path = tmp_path / "items.parquet"
    transfer.export_parquet(connection, space, path, vectors=False)
    (record,) = parquet.read_table(path).to_pylist()
    assert {k: record[k] for k in ("source", "source_key", "part", "modality", "metadata")} == {
        "source": "shop",
        "source_key": "key 0",
        "part": 0,
        "modality": "text",
        "metadata": '{"n": 0}',
    }
    assert "embedding" not in record


def test_vectors_of_another_space_are_refused(
    connection: Connection, space: Space, tmp_path: Path
) -> None:
    transfer.import_items(connection, space, "shop", rows())
    path = tmp_path / "items.parquet"
    transfer.export_parquet(connection, space, path)
    second = spaces.create(connection, "second", FakeEmbedder(12))
    with pytest.raises(ConfigurationError, match=r"of the space 'fake'.*not of 'second'"):
        transfer.check_claim(second, transfer.parquet_claim(path))
    transfer.check_claim(second, {})  # a file that claims nothing is the caller's word


def test_a_parquet_of_other_names_is_mapped_and_missing_columns_named(
    connection: Connection, space: Space, tmp_path: Path
) -> None:
    path = tmp_path / "foreign.parquet"
    table = {
        "sku": ["a", "b"],
        "kind": ["text", "image"],
        "ref": ["words", "/x.png"],
        "vector": VECTORS[:2].tolist(),
    }
    parquet.write_table(pyarrow.table(table), path)
    with pytest.raises(ConfigurationError, match=r"no column source_key, modality.*kind, ref, sku"):
        list(transfer.from_parquet(path, {}))
    with pytest.raises(ConfigurationError, match="no field 'colour'"):
        list(transfer.from_parquet(path, {"colour": "ref"}))
    names = {
        "source_key": "sku",
        "modality": "kind",
        "content_ref": "ref",
        "embedding": "vector",
    }
    transfer.import_items(connection, space, "shop", transfer.from_parquet(path, names))
    assert stored(connection)["b"][:3] == ("image", "/x.png", {})
    (tmp_path / "no.parquet").write_text("no")
    for name in ("no.parquet", "missing.parquet"):
        with pytest.raises(ConfigurationError, match="cannot be read as Parquet"):
            transfer.parquet_claim(tmp_path / name)


# .npy and tables


def test_a_matrix_with_keys_beside_it(url: str, connection: Connection, tmp_path: Path) -> None:
    space = spaces.active_space(connection)
    add_texts(connection, ["one", "two"], source="shop")
    np.save(tmp_path / "v.npy", VECTORS[:2].astype(np.float16))
    ids = tmp_path / "ids.txt"

    def load(text: str, name: str = "v.npy") -> None:
        ids.write_text(text)
        with connect(url) as other:
            found = transfer.from_npy(tmp_path / name, ids, other, "shop")
            transfer.import_items(connection, space, "shop", found)

    before = state(connection)
    with pytest.raises(ConfigurationError, match=r"ids\.txt:2: the source 'shop' has no row.*'9'"):
        load("2\n9\n")
    with pytest.raises(ConfigurationError, match=r"has 2 rows and .* 1 lines"):
        load("1\n")
    np.save(tmp_path / "flat.npy", VECTORS[0])
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "no.npy").write_text("no")
    for name, message in (
        ("flat.npy", r"shape \(8,\)"),
        ("objects.npy", "no .npy file"),
        ("no.npy", "no .npy file"),
        ("missing.npy", "no .npy file"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            load("1\n2\n", name)
    assert state(connection) == before
    load("2\n1\n")
    np.testing.assert_allclose(stored(connection)["2"][3], VECTORS[0], atol=1e-3)
    assert status.counts(connection, space.id).pending == 0


def test_a_table_of_the_same_or_another_database(
    url: str, connection: Connection, space: Space
) -> None:
    connection.execute("CREATE SCHEMA old; ")
    connection.execute(
        "CREATE TABLE old.products (sku integer, modality text, content_ref text, "
        "metadata jsonb, embedding vector(8), extra text)"
    )
    for n, vector in enumerate(VECTORS):
        connection.execute(
            "INSERT INTO old.products VALUES (%s, 'text', %s, %s, %s::vector)",
            (n, f"text {n}", f'{{"n": {n}}}', str(vector.tolist())),
        )
    with connect(url) as other:
        found = transfer.from_table(other, "old.products", {"source_key": "sku"})
        assert transfer.import_items(connection, space, "shop", found).items == 40
        assert stored(connection)["7"][:3] == ("text", "text 7", {"n": 7})
        np.testing.assert_allclose(stored(connection)["7"][3], VECTORS[7], atol=1e-3)
        before = state(connection)
        for table, message in (
            ("old.products", "no column source_key; there are: sku"),
            ("old.nothing", 'cannot be read: relation "old.nothing" does not exist'),
            ('x"; DROP TABLE source_items; --', "cannot be read"),
        ):
            with pytest.raises(ConfigurationError, match=message):
                list(transfer.from_table(other, table, {}))
        connection.execute("UPDATE old.products SET embedding = NULL WHERE sku = 3")
        with pytest.raises(ConfigurationError, match="embedding is null"):
            transfer.import_items(
                connection,
                space,
                "shop",
                transfer.from_table(other, "old.products", {"source_key": "sku"}),
            )
    assert state(connection) == before
