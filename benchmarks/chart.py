"""Draw the results: a panel for each scenario, a bar for each contender's median, a line from least to greatest."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

from .contenders import COMMAND, FLOOR, LIBRARY
from .ratios import Spread

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from .report import Entry

_COLUMNS: Final = 2
# What stands on GitHub's two backgrounds: text, quiet lines, ocipush, its command, peers, the floor.
_THEMES: Final = {
    "light": ("#1f2328", "#d1d9e0", "#0969da", "#54aeff", "#8c959f", "#d1d9e0"),
    "dark": ("#f0f6fc", "#3d444d", "#4493f8", "#1f6feb", "#6e7681", "#3d444d"),
}


def draw(entries: Sequence[Entry], directory: Path) -> list[Path]:
    """Draw each registry's entries in both themes, as SVG and PNG; the files."""
    written: list[Path] = []
    mpl.rcParams.update({"svg.fonttype": "path", "svg.hashsalt": "ocipush", "font.family": "DejaVu Sans"})
    for registry in dict.fromkeys(entry["registry"] for entry in entries):
        mine = [entry for entry in entries if entry["registry"] == registry]
        for theme in _THEMES:
            figure = _figure(mine, registry, theme)
            for form in ("svg", "png"):
                path = directory / f"{registry.split()[0]}-{theme}.{form}"
                metadata = {"Date": None} if form == "svg" else None
                figure.savefig(path, format=form, dpi=160, transparent=True, metadata=metadata)
                written.append(path)
    return written


def _figure(entries: Sequence[Entry], registry: str, theme: str) -> Figure:
    text = _THEMES[theme][0]
    rows = math.ceil(len(entries) / _COLUMNS)
    bars = [len([one for one in entry["contenders"] if one["runs"]]) for entry in entries]
    heights = [0.55 + 0.235 * max(bars[row * _COLUMNS : (row + 1) * _COLUMNS]) for row in range(rows)]
    figure = Figure(figsize=(9.6, sum(heights) + 0.75), layout="constrained")
    figure.suptitle(
        f"Seconds to push, to {registry}: less is better", color=text, fontsize=12, x=0.01, ha="left", weight="bold"
    )
    grid = figure.subplots(rows, _COLUMNS, squeeze=False, gridspec_kw={"height_ratios": heights})
    panels = [panel for row in grid for panel in row]
    for panel, entry in zip(panels, entries, strict=False):
        _panel(panel, entry, theme)
    for panel in panels[len(entries) :]:
        panel.set_axis_off()
    note = (
        "Bars: medians. Lines: least to greatest. ocipush (library), the floor, oras-py and python-dxf without imports."
    )
    figure.supxlabel(note, color=text, fontsize=8, x=0.01, ha="left")
    return figure


def _panel(panel: Axes, entry: dict[str, Any], theme: str) -> None:
    text, quiet, library, command, peer, floor = _THEMES[theme]
    colours = {LIBRARY: library, COMMAND: command, FLOOR: floor}
    shown = [one for one in entry["contenders"] if one["runs"]]
    spreads = [Spread.of([run["seconds"] for run in one["runs"]]) for one in shown]
    limit = max((spread.median for spread in spreads), default=1.0) * 1.22
    for row, (one, spread) in enumerate(zip(shown, spreads, strict=True)):
        panel.barh(row, spread.median, height=0.72, color=colours.get(one["name"], peer))
        panel.plot([spread.least, min(spread.greatest, limit)], [row, row], color=text, linewidth=0.9, alpha=0.7)
        panel.annotate(
            f"{spread.median:.2f}",
            (max(spread.median, min(spread.greatest, limit)), row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=text,
            weight="bold" if one["name"] in {LIBRARY, COMMAND} else "normal",
            annotation_clip=False,
        )
    panel.set_title(entry["title"], loc="left", fontsize=9.5, color=text)
    panel.set_yticks(range(len(shown)), [one["name"] for one in shown], fontsize=8, color=text)
    panel.invert_yaxis()
    panel.set_xlim(0, limit)
    panel.tick_params(axis="x", labelsize=7, colors=text, length=0)
    panel.tick_params(axis="y", length=0)
    panel.set_facecolor("none")
    panel.grid(axis="x", color=quiet, linewidth=0.6)
    panel.set_axisbelow(True)
    for side in panel.spines.values():
        side.set_visible(False)
