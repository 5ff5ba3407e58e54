"""Plots of a space, by matplotlib (the extra ``plots``): the map, and recall against latency.

Matplotlib and not SVG written by hand: axes, ticks, legends and PNG are its trade. It is loaded
here and nowhere else, and by commands that draw only.
"""

import html
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline import modalities
from pipeline.errors import ConfigurationError, MissingExtra
from pipeline.quality.projection import Projection
from pipeline.quality.tunings import Tuning

try:
    from matplotlib.figure import Figure
except ImportError as exc:
    raise MissingExtra("drawing", "plots") from exc

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVE_SUFFIXES = (".png", ".svg")
MAP_SUFFIXES = (".png", ".svg", ".html")
# Told apart by people who see colours differently (Okabe and Ito), and by shape; in the order of
# the modalities, so that each has the same in every plot.
_COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999",
)  # fmt: skip
_MARKERS = "o^sDvPX*"
_LINK = re.compile(r'<a xlink:href="#item-(\d+)"[^>]*>')


def colour_of(modality: str) -> str:
    """As ``#rrggbb``."""
    return _COLOURS[_place(modality) % len(_COLOURS)]


def marker_of(modality: str) -> str:
    """As matplotlib names its markers."""
    return _MARKERS[_place(modality) % len(_MARKERS)]


def _place(modality: str) -> int:
    names = modalities.known_names()
    return names.index(modality) if modality in names else len(names)


def check_target(path: Path, suffixes: Sequence[str]) -> None:
    """Before the work is done that is to be drawn.

    Raises:
        ConfigurationError: no such kind of file, or no such folder.
    """
    if path.suffix.lower() not in suffixes:
        raise ConfigurationError(f"{path}: end the name with {', '.join(suffixes)}")
    if not path.absolute().parent.is_dir():
        raise ConfigurationError(f"{path.parent} is no folder; create it first")


def draw_map(projection: Projection, path: Path) -> None:
    """Two panels: as stored, and centred. HTML shows an item's content under the pointer."""
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    gap = "" if projection.gap is None else f", distance of the means {projection.gap:.2f}"
    panels = (
        (f"as stored{gap}", projection.before, projection.explained[0]),
        ("each modality centred", projection.after, projection.explained[1]),
    )
    figure.suptitle(f"Items of the space {projection.space}")
    kinds = np.asarray(projection.modalities)
    for axes, (title, points, explained) in zip(figure.subplots(1, 2), panels, strict=True):
        for modality in dict.fromkeys(projection.modalities):
            own = np.flatnonzero(kinds == modality)
            dots = axes.scatter(
                points[own, 0],
                points[own, 1],
                s=14,
                alpha=0.6,
                linewidths=0,
                c=colour_of(modality),
                marker=marker_of(modality),
                label=f"{modality} ({len(own)})",
            )
            if path.suffix.lower() == ".html":
                dots.set_urls([f"#item-{row}" for row in own])
        axes.set_title(title, fontsize=11)
        axes.set_xlabel(f"first component (both: {explained:.0%} of the variance)")
        axes.set_ylabel("second component")
        axes.set_aspect("equal", adjustable="datalim")
        axes.grid(alpha=0.2)
        axes.legend(loc="best", framealpha=0.9)
    _save(figure, path, projection.labels)


def draw_tuning(tunings: Sequence[Tuning], path: Path) -> None:
    """Recall against median latency per modality pair; the chosen ``ef_search`` is ringed."""
    figure = Figure(figsize=(8, 5.2), layout="constrained")
    axes = figure.subplots()
    for tuning in tunings:
        tried = sorted(tuning.tried, key=lambda r: r.ef_search)
        label = f"{tuning.query_modality} \N{RIGHTWARDS ARROW} {tuning.item_modality}"
        # The colour says what is found, the line what it is found with.
        axes.plot(
            [r.milliseconds for r in tried],
            [r.recall for r in tried],
            linestyle="-" if tuning.query_modality == tuning.item_modality else "--",
            marker=marker_of(tuning.query_modality),
            markersize=4,
            color=colour_of(tuning.item_modality),
            label=f"{label} (ef_search {tuning.chosen.ef_search})",
        )
        _ring(axes, tuning)
    target = tunings[0].target
    axes.axhline(target, color="0.5", linewidth=1, linestyle=":", label=f"target {target:g}")
    axes.set_xscale("log")
    # 0.3 and not 3 x 10^-1.
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("milliseconds per query (median, log scale)")
    axes.set_ylabel(f"recall@{tunings[0].chosen.k}")
    axes.grid(alpha=0.2, which="both")
    axes.legend(loc="lower right", framealpha=0.9)
    axes.set_title("Recall against latency; rings: the least ef_search that reaches the target")
    _save(figure, path, [])


def _ring(axes: "Axes", tuning: Tuning) -> None:
    axes.scatter(
        [tuning.chosen.milliseconds],
        [tuning.chosen.recall],
        s=130,
        facecolors="none",
        edgecolors=colour_of(tuning.item_modality),
        linewidths=1.6,
        zorder=3,
    )


def _save(figure: Figure, path: Path, labels: Sequence[str]) -> None:
    try:
        if path.suffix.lower() == ".html":
            path.write_text(_page(figure, labels), encoding="utf-8")
        else:
            figure.savefig(path, dpi=144)
    except OSError as exc:
        raise ConfigurationError(f"{path} cannot be written: {exc.strerror}") from exc


def _page(figure: Figure, labels: Sequence[str]) -> str:
    """The plot as SVG in a page; a point's link becomes a hint with the item's content."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    plot = buffer.getvalue()
    plot = plot[plot.index("<svg") :]
    plot = _LINK.sub(lambda m: f"<a><title>{html.escape(labels[int(m[1])])}</title>", plot)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Items of a space</title>'
        "<style>body{margin:2em;font-family:sans-serif}svg{max-width:100%;height:auto}</style>"
        f"{plot}</html>\n"
    )
