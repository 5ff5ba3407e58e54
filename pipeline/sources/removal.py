"""Source items that go: the one engine for whoever finds out that they are to go.

``rescan`` and ``add --sync`` find them gone, ``remove`` is told, ``sync`` finds what their deletion
left behind. What too many of them say at once is more likely a disk that is not mounted, a bucket
of another name or a pattern that was mistyped: a brake refuses that, for a source as a whole.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.piecewise import piecewise

# So many rows of a source may always go: a tenth of a small one is less than one of its rows.
FEW = 10
FLAG = "--allow-mass-delete"


@dataclass(frozen=True, slots=True)
class Leaving:
    """A source item that is to go, as it was when that was found."""

    source_id: int
    source: str
    content_ref: str


@dataclass(frozen=True, slots=True)
class Brake:
    """How much of a source may go at once.

    Attributes:
        share: of its rows, from 0 to 1; :data:`FEW` of them may go whatever that is.
        released: somebody has said that more is meant.
    """

    share: float
    released: bool = False

    def holds(self, going: int, there: int, *, named: bool = False) -> bool:
        """Whether ``going`` of the ``there`` rows of a source are too many.

        Args:
            named: somebody named them. What is merely found gone is never all that there is.
        """
        if self.released or not going:
            return False
        if going >= there and not named:
            return True
        return going > max(FEW, self.share * there)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A source of which the brake let nothing go."""

    source: str
    going: int
    there: int

    def __str__(self) -> str:
        return (
            f"{self.going} of the {self.there} rows of the source {self.source!r} would go at "
            f"once; none of them was removed: if that is meant, {FLAG}"
        )


@dataclass
class Removed:
    """What :func:`remove` did."""

    removed: int = 0
    refused: list[Refusal] = field(default_factory=list)


def refusals(
    connection: Connection, going: Mapping[str, int], brake: Brake, *, named: bool = False
) -> list[Refusal]:
    """The sources of which so many rows may not go at once."""
    rows = connection.execute(
        "SELECT source, count(*) FROM source_items WHERE source = ANY (%s) GROUP BY source "
        "ORDER BY source",
        (list(going),),
    )
    return [
        Refusal(source, going[source], there)
        for source, there in rows
        if brake.holds(going[source], there, named=named)
    ]


def remove(
    connection: Connection, leaving: Sequence[Leaving], brake: Brake, *, named: bool = False
) -> Removed:
    """Delete these source items; the triggers take their jobs and items with them, in every space.

    One that was given another reference meanwhile stays. Nobody's transaction is waited for with
    anything else in hand.

    Args:
        connection: outside a transaction.
    """
    going = Counter(row.source for row in leaving)
    report = Removed(refused=refusals(connection, going, brake, named=named))
    held = {refusal.source for refusal in report.refused}
    references = {row.source_id: row.content_ref for row in leaving if row.source not in held}

    def delete(ids: list[int]) -> list[int]:
        count, others = _delete(connection, ids, [references[source_id] for source_id in ids])
        report.removed += count
        return others

    piecewise(connection, sorted(references), delete)
    return report


def _delete(connection: Connection, ids: list[int], references: list[str]) -> tuple[int, list[int]]:
    """How many of these source items went, and those that somebody else has locked."""
    with connection.transaction():
        free = [
            source_id
            for (source_id,) in connection.execute(
                """
                SELECT s.id FROM source_items AS s
                JOIN unnest(%s::bigint[], %s::text[]) AS g (id, ref)
                    ON s.id = g.id AND s.content_ref = g.ref
                ORDER BY s.id FOR UPDATE OF s SKIP LOCKED
                """,
                (ids, references),
            )
        ]
        (theirs,) = fetch_one(connection.execute("SELECT jobs_of_others(%s::bigint[])", (free,)))
        going = sorted(set(free) - set(theirs))
        count = connection.execute(
            "DELETE FROM source_items WHERE id = ANY (%s)", (going,)
        ).rowcount
        left = connection.execute(
            """
            SELECT s.id FROM source_items AS s
            JOIN unnest(%s::bigint[], %s::text[]) AS g (id, ref)
                ON s.id = g.id AND s.content_ref = g.ref
            ORDER BY s.id
            """,
            (ids, references),
        ).fetchall()
    return count, [source_id for (source_id,) in left]


def counted(leaving: Iterable[Leaving]) -> dict[str, int]:
    """By source, how many."""
    return dict(sorted(Counter(row.source for row in leaving).items()))
