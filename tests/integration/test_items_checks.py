"""What `multimodal_items` refuses, whoever writes."""

from typing import Any

import psycopg
import pytest

from pipeline.postgres.connections import Connection
from pipeline.spaces import Space

UNIT = [1.0] + [0.0] * 7
INSERT = """
    INSERT INTO multimodal_items (source_id, modality, content_ref, space_id, content_sha256,
        embedding)
    VALUES (1, %s, 'x', %s, '', %s::real[]::halfvec)
"""


def test_a_unit_vector_of_the_space_is_taken(connection: Connection, space: Space) -> None:
    connection.execute(INSERT, ("text", space.id, UNIT))
    assert connection.execute("SELECT count(*) FROM multimodal_items").fetchone() == (1,)


@pytest.mark.parametrize(
    ("modality", "of_space", "vector", "refused"),
    [
        ("text", 0, [0.0] * 8, "unit_vector"),
        ("image", 0, [2.0] + [0.0] * 7, "unit_vector"),
        ("text", 0, [0.98] + [0.0] * 7, "unit_vector"),
        ("text", 1, UNIT, "_space"),
        ("audio", 0, UNIT, "no partition of relation"),
        ("text", 0, [1.0], "expected 8 dimensions, not 1"),
        ("text", 0, [float("nan")] * 8, "NaN not allowed"),
    ],
)
def test_anything_else_is_refused(
    connection: Connection,
    space: Space,
    modality: str,
    of_space: int,
    vector: list[Any],
    refused: str,
) -> None:
    with pytest.raises(psycopg.Error, match=refused):
        connection.execute(INSERT, (modality, space.id + of_space, vector))
    assert connection.execute("SELECT count(*) FROM multimodal_items").fetchone() == (0,)


def test_a_table_of_a_space_takes_its_own_modality_alone(
    connection: Connection, space: Space
) -> None:
    """Directly, as workers write; and as one that is not attached."""
    into_texts = INSERT.replace("multimodal_items", space.table_name("text"))
    with pytest.raises(psycopg.errors.CheckViolation, match=f"{space.table_name('text')}_modality"):
        connection.execute(into_texts, ("image", space.id, UNIT))
