"""The queues between the stages of a worker."""

import queue

from pipeline.ingest.parts import Outcome, PreparedPart


class Pipes:
    """What is on its way; None ends the stage that reads it."""

    def __init__(self) -> None:
        self.to_embed: queue.Queue[list[PreparedPart] | None] = queue.Queue()
        self.to_write: queue.Queue[Outcome | None] = queue.Queue()

    def end(self) -> None:
        """No more is coming."""
        self.to_embed.put(None)
        self.to_write.put(None)
