"""Advisory locks: whoever has a reason to hold one holds it alone."""

import threading
from concurrent.futures import ThreadPoolExecutor

from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.locks import reserved

KEY = 4_711


def test_a_lock_that_changes_hands_is_never_held_by_two(url: str, connection: Connection) -> None:
    """Who took it between two looks was held for a login without a reason, and not waited for."""
    inside = threading.Lock()
    met: list[str] = []

    def take_turns(_: int) -> int:
        turns = 0
        with connect(url) as own:
            for _ in range(400):
                with reserved(own, KEY, "source_items") as is_free:
                    if is_free:
                        turns += 1
                        if not inside.acquire(blocking=False):
                            met.append("two at once")
                            continue
                        own.execute("SELECT 1")
                        inside.release()
        return turns

    with ThreadPoolExecutor(4) as pool:
        turns = list(pool.map(take_turns, range(4)))
    assert met == []
    assert all(turns)
