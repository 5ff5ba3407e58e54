"""A small plot as SVG: lines over time, of values from 0 to 1."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

_WIDTH, _HEIGHT = 640, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 12, 28
_DASHES = ("", "6 3", "2 3")

Points = Sequence[tuple[datetime, float]]


@dataclass(frozen=True, slots=True)
class Paper:
    """What a plot is drawn on, and in which colours.

    Attributes:
        lines: told apart by people who see colours differently (Okabe and Ito).
    """

    ground: str
    grid: str
    words: str
    lines: tuple[str, ...]


LIGHT = Paper(
    "#ffffff", "#d1d9e0", "#59636e",
    ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"),
)  # fmt: skip
DARK = Paper(
    "#161b22", "#3d444d", "#9aa4af",
    ("#56b4e9", "#f58a42", "#2fc29a", "#e59ac6", "#e6c24a", "#b6a3f5", "#ffffff"),
)  # fmt: skip


def over_time(lines: Mapping[str, Points], title: str, paper: Paper = LIGHT) -> str:
    """The lines by their names, each of points in the order of their times.

    The picture has no style and no script, so that every browser shows it as it is.
    """
    whole = [point for points in lines.values() for point in points]
    frame = _Frame(
        min((when for when, _ in whole), default=None),
        max((when for when, _ in whole), default=None),
        min([0.9, *(value for _, value in whole)]),
    )
    drawn = [*frame.axes(paper)]
    for n, (name, points) in enumerate(lines.items()):
        drawn += _line(frame, paper, n, name, points)
    height = _HEIGHT + 8 + 18 * len(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'font-family="system-ui, sans-serif" font-size="12"><title>{escape(title)}</title>'
        f'<rect width="{_WIDTH}" height="{height}" fill="{paper.ground}"/>{"".join(drawn)}</svg>'
    )


@dataclass(frozen=True, slots=True)
class _Frame:
    """Which times and values the plot has; the highest value is 1."""

    first: datetime | None
    last: datetime | None
    least: float

    def place(self, when: datetime, value: float) -> tuple[float, float]:
        """Where a point is."""
        assert self.first is not None
        assert self.last is not None
        whole = (self.last - self.first).total_seconds()
        share = (when - self.first).total_seconds() / whole if whole else 0.5
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT), self.height(value)

    def height(self, value: float) -> float:
        share = (1 - value) / (1 - self.least) if self.least < 1 else 0.0
        return _TOP + share * (_HEIGHT - _TOP - _BOTTOM)

    def axes(self, paper: Paper) -> Iterator[str]:
        for value in (self.least, (1 + self.least) / 2, 1.0):
            y = self.height(value)
            yield f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="{paper.grid}"/>'
            yield _text(paper, _LEFT - 6, y + 4, f"{value:.2f}", "end")
        if self.first is not None and self.last is not None:
            yield _text(paper, _LEFT, _HEIGHT - 8, self.first.date().isoformat())
            yield _text(paper, _WIDTH - _RIGHT, _HEIGHT - 8, self.last.date().isoformat(), "end")


def _line(frame: _Frame, paper: Paper, n: int, name: str, points: Points) -> Iterator[str]:
    """A line, its points, and its place in the legend."""
    colour = paper.lines[n % len(paper.lines)]
    dash = _DASHES[n // len(paper.lines) % len(_DASHES)]
    places = [frame.place(when, value) for when, value in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    yield (
        f'<polyline fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}" '
        f'points="{path}"/>'
    )
    for x, y in places:
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
    top = _HEIGHT + 2 + 18 * n
    yield f'<rect x="{_LEFT}" y="{top}" width="10" height="10" fill="{colour}"/>'
    yield _text(paper, _LEFT + 16, top + 10, name)


def _text(paper: Paper, x: float, y: float, text: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" fill="{paper.words}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )
