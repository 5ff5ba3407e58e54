"""The training curve of the demonstration model, as a small SVG without dependencies."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 640, 320, 48, 16, 150, 40
CURVES = (
    ("samples R@10", "#1b6ca8", ""),
    ("samples R@1", "#1b6ca8", "5 4"),
    ("held-out R@10", "#c2410c", ""),
    ("held-out R@1", "#c2410c", "5 4"),
)


def plot(log: Path, target: Path) -> None:
    """Draw retrieval by name over the minutes of training."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    last = max(line["minutes"] for line in lines)
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(minutes: float) -> float:
        return LEFT + inner_width * minutes / last

    def y(share: float) -> float:
        return TOP + inner_height * (1 - share)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(
            f'<line x1="{LEFT}" x2="{LEFT + inner_width}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" '
            f'stroke="#ddd"/><text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" '
            f'text-anchor="end">{tick:g}</text>'
        )
    for before, line in pairwise(lines):
        if before["pixels"] != line["pixels"]:
            at = x(line["minutes"])
            parts.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{TOP + inner_height}" '
                f'stroke="#bbb" stroke-dasharray="2 3"/><text x="{at + 3:.1f}" '
                f'y="{TOP + inner_height - 6}" fill="#777">{line["pixels"]} px</text>'
            )
    for minutes in range(0, int(last) + 1, 5):
        parts.append(
            f'<text x="{x(minutes):.1f}" y="{HEIGHT - 22}" text-anchor="middle">{minutes}</text>'
        )
    parts.append(
        f'<text x="{LEFT + inner_width / 2}" y="{HEIGHT - 6}" text-anchor="middle">'
        "minutes of training</text>"
    )
    taken: list[float] = []
    for name, colour, dashes in CURVES:
        points = " ".join(f"{x(line['minutes']):.1f},{y(line[name]):.1f}" for line in lines)
        end = y(lines[-1][name])
        while any(abs(end - other) < 14 for other in taken):
            end += 2
        taken.append(end)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" '
            f'stroke-dasharray="{dashes}"/><text x="{LEFT + inner_width + 6}" y="{end + 4:.1f}" '
            f'fill="{colour}">{name} {lines[-1][name]:.2f}</text>'
        )
    target.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")
