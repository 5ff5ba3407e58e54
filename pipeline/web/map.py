"""Items in two dimensions, as whoever asks sees them: as stored, and each modality centred."""

import hashlib
import itertools
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from psycopg import sql

from pipeline import modalities
from pipeline.postgres.connections import Connection
from pipeline.postgres.copied import copied
from pipeline.postgres.reading import Reading
from pipeline.quality.components import Plane, Points, largest_distance
from pipeline.quality.metrics import centred
from pipeline.spaces import active_space
from pipeline.vectors import Vectors
from pipeline.web.faults import PageError

MOST_POINTS = 100_000
FEWEST_POINTS = 3
SECONDS = 60.0  # of one statement, which reads the whole table
_WAIT = 20.0
_KEPT = 4
_ROWS = 8_192
# Blocks that the axes are of, the projection is of all: more than 24,576 rows by chance move no
# axis that one would see.
_BLOCKS_FOR_AXES = 3
_END = 32_767  # coordinates are whole numbers up to here, which are half as long as JSON as floats
_EXACT = 2**53  # numbers up to here are the same in JavaScript

_COUNTS = "SELECT modality, count(*) FROM multimodal_items GROUP BY modality"
# A hash of the number is as good as chance, and the same every time.
_SAMPLE = sql.SQL(
    "SELECT id, extract(epoch FROM embedded_at)::float8 FROM multimodal_items {} "
    "WHERE modality = {} ORDER BY hashint8(id), id LIMIT {}"
)
# Of a large table only so many pages are read, the same every time: about four times what is
# needed, where there is twice that.
_PAGES = sql.SQL("TABLESAMPLE SYSTEM ({}) REPEATABLE (0)")
_SPARE = 4
_VECTORS = sql.SQL(
    "SELECT id, embedding FROM multimodal_items WHERE modality = {} AND id = ANY ({}::bigint[])"
)


@dataclass(frozen=True, slots=True)
class Sample:
    """Which items a map has.

    Attributes:
        ids: of each modality, in the order that modalities have.
        counts: how many items of each there are, for whoever asks.
        dtype: of a vector, as the database sends it.
        key: another one whenever another item is seen, or one is written anew.
    """

    ids: Mapping[str, npt.NDArray[np.int64]]
    counts: Mapping[str, int]
    dtype: np.dtype[np.void]
    key: str


def sampled(connection: Connection, most: int) -> Sample:
    """At most so many items; modalities with few keep all of theirs.

    Raises:
        SpaceError: no space is active.
    """
    space = active_space(connection)
    counts: dict[str, int] = dict(connection.execute(_COUNTS).fetchall())
    counts = {name: counts[name] for name in modalities.ordered(counts)}
    key = hashlib.sha256(repr((space.id, counts)).encode())
    ids = {}
    for name, share in shares(counts, most).items():
        part = _SPARE * share / max(counts[name], 1)
        pages = _PAGES.format(sql.Literal(100 * part)) if part < 0.5 else sql.SQL("")
        query = _SAMPLE.format(pages, sql.Literal(name), sql.Literal(share))
        columns = (("id", ">i8"), ("embedded_at", ">f8"))
        rows = np.concatenate(list(copied(connection, query, columns)))
        key.update(rows.tobytes())
        ids[name] = rows["id"].astype(np.int64)
    element = ">f2" if space.vector_type == "halfvec" else ">f4"
    vector = np.dtype([("head", ">u4"), ("values", element, (space.dimensions,))])
    return Sample(ids, counts, vector, key.hexdigest())


def shares(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """How many of each so that there are ``most`` in all: the same of each, or all it has."""
    found = dict.fromkeys(counts, 0)
    for place, name in enumerate(sorted(counts, key=lambda name: counts[name])):
        found[name] = min(counts[name], most // (len(counts) - place))
        most -= found[name]
    return found


@dataclass(frozen=True, slots=True)
class _Items:
    """Vectors (n, D) in half precision, row i of the item ``ids[i]`` of modality ``of[i]``.

    Attributes:
        means: of each modality, (modalities, D).
    """

    names: list[str]
    ids: npt.NDArray[np.int64]
    of: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.float16]
    means: Vectors

    def blocks(self) -> Iterator[tuple[slice, Vectors]]:
        for start in range(0, len(self.ids), _ROWS):
            rows = slice(start, start + _ROWS)
            yield rows, self.vectors[rows].astype(np.float32)


def _read(connection: Connection, sample: Sample) -> _Items:
    """The vectors of a sample, as far as they are still there, in an order by chance.

    So that no modality is drawn above all others.
    """
    names = [name for name, ids in sample.ids.items() if len(ids)]
    count = sum(map(len, sample.ids.values()))
    places = np.random.default_rng(0).permutation(count)
    ids, of = np.zeros(count, np.int64), np.zeros(count, np.int64)
    vectors = np.zeros((count, *sample.dtype["values"].shape), np.float16)
    sums = np.zeros((len(names), *sample.dtype["values"].shape))
    begin = 0
    for number, name in enumerate(names):
        literal = f"{{{','.join(map(str, sample.ids[name].tolist()))}}}"
        query = _VECTORS.format(sql.Literal(name), sql.Literal(literal))
        for rows in copied(connection, query, (("id", ">i8"), ("vector", sample.dtype))):
            chosen = places[begin : begin + len(rows)]
            ids[chosen], of[chosen] = rows["id"], number
            vectors[chosen] = values = rows["vector"]["values"]
            sums[number] += values.sum(axis=0, dtype=np.float64)
            begin += len(rows)
    if begin < FEWEST_POINTS:
        raise PageError(503, "There are too few items for a map.", "Load the page again.")
    if begin < count:  # some went in between
        there = np.sort(places[:begin])
        ids, of, vectors = ids[there], of[there], vectors[there]
    counts = np.bincount(of, minlength=len(names))
    means: Vectors = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
    return _Items(names, ids, of, vectors, means)


def _drawn(items: _Items, counts: Mapping[str, int]) -> bytes:
    """The map as JSON: columns, and of both pictures x and y in turn."""
    before, share_before = _projected(items, lambda rows, block: block)
    after, share_after = _projected(
        items, lambda rows, block: centred(block, items.means[items.of[rows]])
    )
    places = modalities.known_names()
    return json.dumps(
        {
            "modalities": [
                {
                    "name": name,
                    # By which it has its colour and shape, whatever else there is.
                    "place": places.index(name) if name in places else len(places),
                    "items": counts[name],
                    "shown": int((items.of == number).sum()),
                }
                for number, name in enumerate(items.names)
            ],
            "gap": largest_distance(list(items.means)),
            "explained": [share_before, share_after],
            "ids": items.ids.tolist()
            if items.ids.max() < _EXACT
            else [str(number) for number in items.ids.tolist()],
            "of": items.of.tolist(),
            "before": before,
            "after": after,
        },
        separators=(",", ":"),
    ).encode()


def _projected(
    items: _Items, moved: Callable[[slice, Vectors], Vectors]
) -> tuple[list[int], float]:
    """Whole numbers x and y in turn, the middle at 0, and the share of the variance."""
    some = itertools.islice(items.blocks(), _BLOCKS_FOR_AXES)
    plane = Plane.of(moved(rows, block) for rows, block in some)
    points: Points = np.concatenate(
        [plane.project(moved(rows, block)) for rows, block in items.blocks()]
    )
    points = points - (points.max(axis=0) + points.min(axis=0)) / 2
    points *= _END / max(np.abs(points).max(), 1e-12)
    whole: list[int] = points.round().astype(np.int64).ravel().tolist()
    return whole, plane.explained


class Maps:
    """Makes maps, one at a time, and keeps the last ones.

    A map is kept by the numbers of its items and when each was written, which are asked of the
    database each time: nobody is given one of items that they would not be shown now.

    Args:
        most: points of one.
    """

    def __init__(self, reading: Reading, most: int) -> None:
        self._reading = reading
        self._most = most
        self._making = threading.Lock()
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def map(self, known: str = "") -> tuple[str, bytes | None]:
        """The key and the JSON of the items that the reader sees; None: it is the one known.

        Raises:
            PageError: 503: others wait for their maps, or there are too few items.
            SpaceError: no space is active.
        """
        sample = self._reading.read(lambda c: sampled(c, self._most), seconds=SECONDS)
        if sample.key == known:
            return sample.key, None
        if not self._making.acquire(timeout=_WAIT):
            raise PageError(503, "Other maps are being made.", "Load the page again in a minute.")
        try:
            made = self._kept.get(sample.key)
            if made is None:
                items = self._reading.read(lambda c: _read(c, sample), seconds=SECONDS)
                made = _drawn(items, sample.counts)
                self._kept[sample.key] = made
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(sample.key)
        finally:
            self._making.release()
        return sample.key, made
