"""Questions of many threads go out together, and each gets its own answer."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pipeline.ingest.known_vectors import Found, KnownVectors


def digest(number: int) -> bytes:
    return number.to_bytes(32)


def of_even_numbers(hashes: Sequence[bytes]) -> Found:
    numbers = [int.from_bytes(h) for h in hashes]
    return {digest(n): np.full(2, n, np.float32) for n in numbers if n % 2 == 0}


def test_what_gathers_while_one_is_asked_is_asked_in_one_statement() -> None:
    asked: list[tuple[str, int]] = []
    first_is_asked, the_others_wait = threading.Event(), threading.Event()

    def look_up(modality: str, hashes: Sequence[bytes]) -> Found:
        asked.append((modality, len(hashes)))
        first_is_asked.set()
        assert the_others_wait.wait(30)
        return of_even_numbers(hashes)

    known = KnownVectors(look_up)
    with ThreadPoolExecutor(40) as pool:
        answers = [pool.submit(known, "image", [digest(0)])]
        assert first_is_asked.wait(30)
        answers += [pool.submit(known, "image", [digest(n % 20), digest(1)]) for n in range(1, 30)]
        answers += [pool.submit(known, "text", [digest(n)]) for n in range(3)]
        while len(known._waiting) < 32:
            pass
        the_others_wait.set()
        found = [sorted(int.from_bytes(h) for h in answer.result()) for answer in answers]
    assert asked[0] == ("image", 1)
    assert sorted(asked[1:]) == [("image", 20), ("text", 3)]  # 20 distinct ones of 58
    assert found[:4] == [[0], [], [2], []]
    assert found[-3:] == [[0], [], [2]]


def test_no_question_is_lost_among_many_threads() -> None:
    known = KnownVectors(lambda _, hashes: of_even_numbers(hashes))
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda n: known("image", [digest(n)]), range(5000)))
    for number, answer in enumerate(answers):
        assert list(answer) == ([digest(number)] if number % 2 == 0 else [])


def test_a_failed_statement_fails_every_question_in_it_and_no_later_one() -> None:
    fails = True

    def look_up(_: str, hashes: Sequence[bytes]) -> Found:
        if fails:
            raise RuntimeError("away")
        return of_even_numbers(hashes)

    known = KnownVectors(look_up)
    with pytest.raises(RuntimeError, match="away"):
        known("image", [digest(2)])
    fails = False
    assert list(known("image", [digest(2)])) == [digest(2)]
