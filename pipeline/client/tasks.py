"""Texts that several tasks ask for, in one task that asks for all, as long as anybody waits."""

import asyncio
import contextlib
from collections.abc import Sequence

import numpy as np

from pipeline.postgres.async_pool import AsyncPool, take
from pipeline.postgres.pool import closed
from pipeline.search.asking import WAIT_SECONDS, not_in_time
from pipeline.search.desk import Desk
from pipeline.vectors import Vectors


class TasksDesk:
    """Vectors of texts by whoever serves, for any number of tasks of one event loop."""

    def __init__(self, pool: AsyncPool) -> None:
        self._pool = pool
        self._desk = Desk()
        self._task: asyncio.Task[None] | None = None

    async def ask(self, texts: Sequence[str], seconds: float | None) -> Vectors:
        """The vectors (n, D) of texts. Raises as ``ThreadsDesk.ask``."""
        answers = self._desk.put(texts)
        seconds = WAIT_SECONDS if seconds is None else seconds
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(take(self._pool, self._desk.answering(lambda: False)))
        try:
            async with asyncio.timeout(seconds):
                found = [await asyncio.wrap_future(answer) for answer in answers]
        except TimeoutError as exc:
            raise not_in_time(seconds) from exc
        finally:
            for answer in answers:
                answer.cancel()
        return np.stack(found)

    async def close(self) -> None:
        """Who waits hears that it is over."""
        self._desk.fail(closed())
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
