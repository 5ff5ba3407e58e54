"""The closed list of row error codes: documented, raised, and tested."""

import pickle
import re
from pathlib import Path

import pytest

from pipeline.errors import ROW_ERROR_CODES, PermanentRowError, TransientRowError
from pipeline.queue.cures import CURES

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `(\w+)` \| (permanent|transient) \| \S.* \| (\S.*) \|$", re.MULTILINE)


def test_the_table_lists_exactly_the_codes_with_their_kind_and_cure() -> None:
    rows = ROW.findall((ROOT / "docs" / "errors.md").read_text(encoding="utf-8"))
    assert {code: kind == "permanent" for code, kind, _ in rows} == ROW_ERROR_CODES
    assert len(rows) == len(ROW_ERROR_CODES)
    assert {code: cure for code, _, cure in rows} == CURES


@pytest.mark.parametrize("code", ROW_ERROR_CODES)
def test_a_code_belongs_to_one_kind(code: str) -> None:
    right, wrong = (PermanentRowError, TransientRowError)[:: 1 if ROW_ERROR_CODES[code] else -1]
    error = right(code, "what was found")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.code, again.message) == (right, code, "what was found")
    with pytest.raises(ValueError, match="is not a code of"):
        wrong(code, "what was found")


def test_a_transient_error_keeps_when_to_come_back() -> None:
    error = pickle.loads(pickle.dumps(TransientRowError("busy", "429", retry_after=7.5)))
    assert error.retry_after == 7.5
    assert TransientRowError("busy", "429").retry_after is None
