"""Plots of a run: anything over steps, with marks for what happened, and the widths of all groups over time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from app import palette
from app.charts.frame import empty, frame

STEP = "Optimizer step"


@dataclass(frozen=True)
class Series:
    """One line: values at ascending steps."""

    name: str
    steps: Sequence[int]
    values: Sequence[float]
    colour: str
    dash: str = "solid"
    markers: bool = False
    opacity: float = 1.0


CUT, UNDONE, EVALUATED, RESTARTED = "cut", "undone", "evaluated", "restarted"
MOST_COLUMNS = 300  # of the map of widths
MOST_MARKS = 200  # of a kind: what is closer together than that becomes one


@dataclass(frozen=True)
class Mark:
    """Something that happened: when, and what to say about it."""

    step: int
    text: str
    kind: str = CUT


@dataclass(frozen=True)
class Level:
    """A horizontal line, e.g. the teacher's accuracy."""

    name: str
    value: float
    dash: str = "dash"


def over_steps(
    series: Sequence[Series],
    y: str,
    *,
    marks: Sequence[Mark] = (),
    levels: Sequence[Level] = (),
    share: bool = False,
    zero: bool = False,
    height: int = 270,
    explain: bool = False,
    dark: bool = False,
) -> go.Figure:
    """Lines over optimizer steps; marks below them for what happened; `levels` dashed in the text colour.

    Args:
        share: values are fractions, shown as percent.
        zero: the axis starts at zero.
        explain: the legend says what the marks are; hovering over one does so anyway.
    """
    series = [line for line in series if len(line.steps)]
    if not series:
        return empty("Waiting for the first measurement.", STEP, y, height=height, dark=dark)
    spec = ".1%" if share else ".3g"
    last = max(*(max(line.steps) for line in series), *(mark.step for mark in marks), 0)  # all plots of a run over the same steps
    traces = [
        {"type": "scatter", "x": list(line.steps), "y": list(line.values), "name": line.name, "mode": "lines+markers" if line.markers or len(line.steps) == 1 else "lines",
         "line": {"color": line.colour, "width": 2, "dash": line.dash}, "marker": {"size": 5}, "opacity": line.opacity,
         "hovertemplate": f"step %{{x}}: %{{y:{spec}}}<extra>{line.name}</extra>"}
        for line in series
    ]  # fmt: skip
    traces += [
        {"type": "scatter", "x": [0, last], "y": [level.value] * 2, "name": level.name, "mode": "lines", "hovertemplate": f"%{{y:{spec}}}<extra>{level.name}</extra>",
         "line": {"color": palette.ink(dark), "width": 1.5, "dash": level.dash}}
        for level in levels
    ]  # fmt: skip
    traces += _strip(marks, last, explain, dark)
    layout = frame(STEP, y, height=height, dark=dark)
    layout["xaxis"] |= {"range": [-0.01 * last, last * 1.01 or 1]}
    # Marks have a strip of their own, so that a hundred of them never hide a curve.
    layout["yaxis"] |= {"domain": [0.13 if marks else 0, 1]}
    if marks:
        layout["yaxis2"] = {"domain": [0, 0.11], "range": [-1.6, 1.6], "visible": False, "fixedrange": True}
        layout["xaxis"] |= {"anchor": "y2"}
    if share:
        layout["yaxis"] |= {"tickformat": _digits(1.0 if zero else _span(series, levels))}
    if zero:
        layout["yaxis"] |= {"rangemode": "tozero"}
    return go.Figure({"data": traces, "layout": layout})


def _strip(marks: Sequence[Mark], last: int, explain: bool, dark: bool) -> list[dict[str, Any]]:
    """The traces of the marks, a kind each."""
    traces = []
    for kind, (symbol, size, row) in _LOOKS.items():
        found = gathered([mark for mark in marks if mark.kind == kind], last)
        colour = {CUT: palette.CUT, UNDONE: palette.SELECTION, EVALUATED: palette.STUDENT}.get(kind, palette.ink(dark))
        if found:
            traces.append({
                "type": "scatter", "x": [mark.step for mark in found], "y": [row] * len(found), "yaxis": "y2", "name": kind, "mode": "markers", "showlegend": explain,
                "customdata": [mark.text for mark in found], "meta": {"y": "", "customdata": ["what happened"]},
                "marker": {"symbol": symbol, "size": size, "color": colour, "line": {"width": 1.5, "color": colour}},
                "hovertemplate": "step %{x}<br>%{customdata}<extra></extra>",
            })  # fmt: skip
    return traces


# What each kind of mark looks like, and where it stands in the strip: symbol, size, row.
_LOOKS = {CUT: ("line-ns", 9, 0.7), UNDONE: ("x-thin", 7, 0.7), EVALUATED: ("circle", 3, -0.8), RESTARTED: ("triangle-right", 8, -0.8)}


def gathered(marks: Sequence[Mark], last: int) -> list[Mark]:
    """One mark for all that lie closer together than the eye can tell, in the order of their steps."""
    stride = max(1, -(-(last + 1) // MOST_MARKS))
    places: dict[int, list[Mark]] = {}
    for mark in marks:
        places.setdefault(mark.step // stride, []).append(mark)
    return [Mark(row[0].step, _lines([mark.text for mark in row]), row[0].kind) for _, row in sorted(places.items())]


def _lines(texts: Sequence[str], most: int = 6) -> str:
    return "<br>".join(texts[:most]) + (f"<br>and {len(texts) - most} more" if len(texts) > most else "")


def _digits(span: float) -> str:
    """Enough digits that no two ticks read alike."""
    return ".0%" if span > 0.05 else ".1%" if span > 0.006 else ".2%"


def _span(series: Sequence[Series], levels: Sequence[Level]) -> float:
    values = [v for line in series for v in line.values] + [level.value for level in levels]
    return max(values) - min(values)


def _columns(steps: set[int], last: int) -> list[int]:
    """Where columns of the map begin, and where the last one ends: at every cut, or at as many as can be told apart."""
    found = sorted(step for step in steps if step < last)
    stride = max(1, -(-last // MOST_COLUMNS))
    if len(found) > MOST_COLUMNS:
        found = sorted({step // stride: step for step in reversed(found)}.values())
    return [*found, last]


def width_map(widths: Mapping[str, Sequence[tuple[int, int]]], dense: Mapping[str, int], last: int, *, dark: bool = False) -> go.Figure:
    """Heat map of the share that every group still keeps, over steps.

    Args:
        widths: per group its (step, width) pairs, ascending; a group is whole before its first, or where it has none.
        dense: width of every group before the run; its order is the order of the rows.
        last: step at which the picture ends.
    """
    title = "Groups in forward order"
    if not widths:
        return empty("Widths appear with the first cut.", STEP, title, height=240, dark=dark)
    names = list(dense)
    edges = _columns({0, *(step for row in widths.values() for step, _ in row)}, max(last, 1))
    # As small as they fit: the largest picture of a page that is sent to everybody who watches.
    table = np.ones((len(names), len(edges) - 1), np.float32)
    units = np.ones(table.shape, np.min_scalar_type(max(dense.values(), default=1)))
    for r, name in enumerate(names):
        row = widths.get(name, ())
        steps, kept = [step for step, _ in row], [dense[name], *(width for _, width in row)]
        units[r] = [kept[bisect_right(steps, edge)] for edge in edges[:-1]]
        table[r] = units[r] / dense[name]
    trace = {
        "type": "heatmap", "z": table, "x": edges, "y": names, "zmin": 0, "zmax": 1, "colorscale": palette.scale(palette.KEPT, dark),
        "customdata": units, "hovertemplate": "<b>%{y}</b><br>step %{x}: keeps %{customdata} units (%{z:.0%})<extra></extra>",
        "meta": {"y": "group", "z": "share kept", "customdata": ["units"]},
        "colorbar": {"title": {"text": "kept"}, "thickness": 10, "len": 0.9, "tickformat": ".0%"},
    }  # fmt: skip
    layout = frame(STEP, "", height=int(min(620, max(220, 80 + 13 * len(names)))), dark=dark, legend=False)
    step = max(1, round(len(names) / 40))
    layout["yaxis"] |= {"type": "category", "range": [len(names) - 0.5, -0.5], "tickvals": names[::step], "showgrid": False, "title": None}
    return go.Figure({"data": [trace], "layout": layout})
