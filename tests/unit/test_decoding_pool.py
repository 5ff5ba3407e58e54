"""Decoder processes do whatever task a modality names, and hold it to its limits."""

import os
import re
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import pytest

from pipeline.errors import PermanentRowError, RowError
from pipeline.modalities.decoding.pool import DecoderPool
from pipeline.modalities.decoding.task import Answer, Decode, Task

MEGA = 10**6


def doing(options: dict[str, Any], prepare: Any) -> Decode:
    """The task of these tests: the content says what is to be done."""

    def decode(data: bytes) -> Answer:
        word, _, rest = data.decode().partition(" ")
        if word == "arrays":
            kinds = ("|u1", "<f4", "<f8", "<i8")
            arrays = [np.arange(6, dtype=kind).reshape(2, 3) for kind in kinds]
            return Answer(
                [*arrays, np.empty((0, 4), "|u1")], {"options": options, "pid": os.getpid()}
            )
        if word == "modules":
            return Answer([], {"modules": sorted({name.split(".")[0] for name in sys.modules})})
        if word == "refuse":
            raise PermanentRowError("encrypted", rest)
        if word == "greedy":
            bytearray(int(rest))
        if word == "spin":
            while True:
                pass
        if word == "sleep":
            time.sleep(float(rest))
        if word == "die":
            os._exit(3)
        if word == "large":
            return Answer([np.zeros(int(rest), np.uint8)], {})
        if word == "objects":
            return Answer([np.array([{}])], {})
        if word == "prepared":
            return Answer([], {"prepared": prepare(rest)})
        return Answer([], {})

    return decode


def task(**given: Any) -> Task:
    limits = {
        "max_bytes": 1000,
        "memory_bytes": 50 * MEGA,
        "answer_bytes": MEGA,
        "cpu_seconds": 1.0,
        "timeout_seconds": 60.0,
    } | given
    return Task(doing.__module__, doing.__name__, "test", **limits)


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    with DecoderPool(task(options={"depth": 3}, prepare=str.upper), 1) as opened:
        yield opened


def failure(pool: DecoderPool, data: bytes) -> RowError:
    with pytest.raises(RowError) as found:
        pool.decode(data)
    assert pool.decode(b"arrays").notes["options"] == {"depth": 3}  # the next one is decoded
    return found.value


def test_arrays_and_notes_come_back_as_they_were(pool: DecoderPool) -> None:
    arrays, notes = pool.decode(b"arrays")
    assert [array.dtype.str for array in arrays] == ["|u1", "<f4", "<f8", "<i8", "|u1"]
    for array in arrays[:4]:
        assert array.tolist() == [[0, 1, 2], [3, 4, 5]]
        array[0, 0] = 7  # it is the caller's
    assert arrays[4].shape == (0, 4)
    assert notes["options"] == {"depth": 3}
    assert notes["pid"] != os.getpid()


def test_what_prepares_runs_in_the_process(pool: DecoderPool) -> None:
    assert pool.decode(b"prepared text").notes == {"prepared": "TEXT"}


def test_neither_torch_nor_a_database_driver_is_there(pool: DecoderPool) -> None:
    modules = set(pool.decode(b"modules").notes["modules"])
    assert {"torch", "psycopg", "sqlalchemy", "pydantic", "httpx", "PIL"} & modules == set()
    assert {"numpy", "pipeline"} <= modules


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"refuse a password", "encrypted", "a password"),
        (b"x" * 1001, "too_large", "1,001 bytes; expected at most 1,000"),
        (b"greedy 900000000", "too_large", "50 MB .* the modality test .*DECODE_MEMORY_BYTES"),
        (b"spin", "too_complex", "more than 1 s of the processor"),
        (b"die", "decoder_crashed", "died of this test: exit status 3"),
        (b"large 1000001", "decoder_crashed", "impossible answer"),
        (b"objects", "internal", "cannot be given back"),
    ],
)
def test_limits_hold_and_cost_one_content(
    pool: DecoderPool, data: bytes, code: str, says: str
) -> None:
    error = failure(pool, data)
    assert error.code == code
    assert re.search(says, error.message), error.message


def test_as_much_as_it_may_give_back_comes_back(pool: DecoderPool) -> None:
    (array,) = pool.decode(b"large 1000000").arrays
    assert array.shape == (1_000_000,)


def test_the_clock_ends_what_sleeps() -> None:
    with DecoderPool(task(timeout_seconds=0.5), 1) as pool:
        with pytest.raises(RowError, match=r"more than 0\.5 s") as found:
            pool.decode(b"sleep 60")
        assert found.value.code == "timeout"
        assert pool.decode(b"arrays").notes["options"] == {}


def test_a_task_that_cannot_be_imported_says_how_to_see_why() -> None:
    broken = Task("tests.no_such_module", "doing", "test", 9, 9, 9, 1.0, 9.0)
    with (
        DecoderPool(broken, 1) as pool,
        pytest.raises(RowError, match=r"import tests\.no_such") as e,
    ):
        pool.decode(b"x")
    assert e.value.code == "internal"


def test_the_name_of_its_task_is_in_the_list_of_processes(pool: DecoderPool) -> None:
    pid = pool.decode(b"arrays").notes["pid"]
    assert doing.__module__ in " ".join(psutil.Process(pid).cmdline())
