"""The evaluation gate of ``activate``: a space that searches worse than before stays out."""

from dataclasses import dataclass

from pipeline import spaces
from pipeline.errors import SpaceError
from pipeline.postgres.connections import Connection
from pipeline.quality import recall, retrieval
from pipeline.spaces import Space

SAMPLE = 50  # queries per modality: a recall of 0.95 is known to about 0.01 then


@dataclass(frozen=True, slots=True)
class Gate:
    """What a space must show before it is activated.

    Attributes:
        min_recall: least recall@10 of its indexes, for every modality pair.
        pairs: a metadata key that says which items belong together; None: retrieval is not
            compared with the active space.
        max_loss: how much lower R@10 (mean of both directions) may be than the active space's.
    """

    min_recall: float = 0.9
    pairs: str | None = None
    max_loss: float = 0.01


def pass_gate(connection: Connection, space: Space, gate: Gate) -> list[str]:
    """Measure the space, store what was measured, and refuse it if it falls short.

    Returns:
        What was found, one sentence each.

    Raises:
        SpaceError: what fell short, by how much, and what to do.
        ConfigurationError: there are no such pairs.
    """
    if spaces.is_empty(connection, space):
        return []
    measured = recall.measure(connection, space, sample=SAMPLE)
    recall.record(connection, space, measured)
    low = [r for r in measured if r.recall < gate.min_recall]
    if low:
        shown = ", ".join(f"{r.query_modality} -> {r.item_modality} {r.recall:.3f}" for r in low)
        raise SpaceError(
            f"recall@10 of the space {space.name!r} is below {gate.min_recall:g}: {shown}; raise "
            f"ef_search with `pipeline tune --space {space.name} --target-recall "
            f"{gate.min_recall:g}`, or activate with --no-gate"
        )
    least = min(measured, key=lambda r: r.recall)
    found = [
        f"recall@10 is at least {least.recall:.3f} "
        f"({least.query_modality} -> {least.item_modality})"
    ]
    active = spaces.find_active(connection)
    if gate.pairs is not None and active is not None and active.id != space.id:
        found.append(_compare(connection, active, space, gate))
    return found


def _compare(connection: Connection, active: Space, space: Space, gate: Gate) -> str:
    assert gate.pairs is not None
    before, after = (retrieval.retrieval(connection, s, gate.pairs) for s in (active, space))
    for measured_space, report in ((active, before), (space, after)):
        retrieval.record(connection, measured_space, report)
    old, new = before.mean_recall(10), after.mean_recall(10)
    sentence = f"R@10 by {gate.pairs} is {new:.3f}, {old:.3f} in {active.name!r}"
    if new < old - gate.max_loss:
        raise SpaceError(
            f"the space {space.name!r} finds less than the active one: {sentence}; look at "
            f"`pipeline eval retrieval --pairs {gate.pairs} --space {active.name} --space "
            f"{space.name}`, or activate with --no-gate"
        )
    return sentence
