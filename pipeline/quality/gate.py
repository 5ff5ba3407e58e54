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
        general_pairs: a key of pairs from everywhere, for a model that was fine-tuned on some:
            R@10 by ``pairs`` has to be higher then, whatever ``max_loss``.
        max_general_loss: the share of the active space's R@10 by ``general_pairs`` that may go.
    """

    min_recall: float = 0.9
    pairs: str | None = None
    max_loss: float = 0.01
    general_pairs: str | None = None
    max_general_loss: float = 0.02


@dataclass(frozen=True, slots=True)
class Compared:
    """R@10 by one key, in the active space and in the other one."""

    key: str
    active: str
    old: float
    new: float

    def __str__(self) -> str:
        by = f"R@10 by {self.key} is {self.new:.3f}, {self.old:.3f} in {self.active!r}"
        return f"{by} ({self.new - self.old:+.3f})"


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
        found += _compare_all(connection, active, space, gate)
    return found


def _compare_all(connection: Connection, active: Space, space: Space, gate: Gate) -> list[str]:
    """What each set of pairs shows, all of them before any is judged."""
    assert gate.pairs is not None
    own = _compare(connection, active, space, gate.pairs)
    if gate.general_pairs is None:
        if own.new < own.old - gate.max_loss:
            raise _finds_less(space, active, [own])
        return [str(own)]
    general = _compare(connection, active, space, gate.general_pairs)
    if own.new <= own.old:
        raise _finds_less(space, active, [own, general], f"nothing is gained by {own.key}")
    if general.new < general.old * (1 - gate.max_general_loss):
        lost = 1 - general.new / general.old
        why = f"{lost:.0%} is lost by {general.key}, of which {gate.max_general_loss:.0%} may be"
        raise _finds_less(space, active, [own, general], why)
    return [str(own), str(general)]


def _compare(connection: Connection, active: Space, space: Space, key: str) -> Compared:
    before, after = (retrieval.retrieval(connection, s, key) for s in (active, space))
    for measured_space, report in ((active, before), (space, after)):
        retrieval.record(connection, measured_space, report)
    return Compared(key, active.name, before.mean_recall(10), after.mean_recall(10))


def _finds_less(space: Space, active: Space, sets: list[Compared], *why: str) -> SpaceError:
    looks = " and ".join(
        f"`pipeline eval retrieval --pairs {one.key} --space {active.name} --space {space.name}`"
        for one in sets
    )
    return SpaceError(
        f"the space {space.name!r} finds less than the active one: "
        f"{'; '.join([*why, *map(str, sets)])}; look at {looks}, or activate with --no-gate"
    )
