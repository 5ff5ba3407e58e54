"""The stage that embeds: parts of one modality gathered into batches, and through the model."""

import queue
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

from pipeline.embedders.isolation import embed_isolating, most_inputs
from pipeline.ingest.events import WorkEvents
from pipeline.ingest.in_flight import WaitingInput
from pipeline.ingest.parts import Outcome, PreparedPart, Result
from pipeline.ingest.pipes import Pipes
from pipeline.modalities import Encoder

# How long a batch that is not full waits for company, while more of it is being loaded.
GATHER_SECONDS = 0.02


class Embedding:
    """One thread, as one batch is on the device at a time.

    Args:
        encoders: by modality.
        more_is_coming: whether parts are being loaded, so that it is worth waiting for them.
        events: told of each batch.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        pipes: Pipes,
        waiting_input: WaitingInput,
        more_is_coming: Callable[[], bool],
        timed: Callable[[str], AbstractContextManager[None]],
        events: WorkEvents,
    ) -> None:
        self._encoders = encoders
        self._pipes = pipes
        self._input = waiting_input
        self._more_is_coming = more_is_coming
        self._timed = timed
        self._events = events

    def run(self) -> None:
        waiting: dict[str, list[PreparedPart]] = defaultdict(list)
        while True:
            try:
                # With nothing in hand there is nothing to hurry for, and with nothing being
                # loaded nothing to wait for.
                parts = self._pipes.to_embed.get(
                    block=not waiting or self._more_is_coming(),
                    timeout=GATHER_SECONDS if waiting else None,
                )
            except queue.Empty:
                ready = list(waiting)
            else:
                if parts is None:
                    return
                self._sort_out(parts, waiting)
                ready = [m for m, w in waiting.items() if len(w) >= self._encoders[m].batch_size]
            for modality in ready:
                self._embed(self._encoders[modality], waiting.pop(modality))

    def _sort_out(
        self, parts: Sequence[PreparedPart], waiting: dict[str, list[PreparedPart]]
    ) -> None:
        """Parts whose vector is known go on to the writer, the others wait for their batch."""
        known: list[tuple[PreparedPart, Result]] = []
        for part in parts:
            if part.vector is not None:
                known.append((part, part.vector))
            else:
                waiting[part.job.modality].append(part)
        if known:
            self._input.drop([part for part, _ in known])
            self._pipes.to_write.put(Outcome(embedded=known, reused=len(known)))

    def _embed(self, encoder: Encoder, parts: list[PreparedPart]) -> None:
        inputs = [part.input for part in parts]
        results: list[Result] = []
        began, began_ns = time.monotonic(), time.time_ns()
        with self._timed("embed"):
            while len(results) < len(inputs):
                most = most_inputs(encoder)  # each time: less fits after a lack of memory
                some = inputs[len(results) : len(results) + most]
                results += embed_isolating(encoder.embed, some)
        self._events.batch(parts[0].job.modality, len(parts), time.monotonic() - began)
        self._events.embedded((p.job for p in parts), len(parts), began_ns, time.time_ns())
        self._input.drop(parts)
        self._pipes.to_write.put(Outcome(embedded=list(zip(parts, results, strict=True))))
