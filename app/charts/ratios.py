"""Ratio over depth: what was asked for and what is granted, group by group."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from app import palette
from app.charts.frame import depth, empty, frame
from app.layers import sections

X, Y = "Depth (groups in forward order)", "Pruning ratio"


@dataclass(frozen=True)
class Ratio:
    """One group of a plan: ratios 0..1, widths in units."""

    group: str
    width: int
    kept: int
    requested: float
    prunable: bool
    reason: str = ""

    @property
    def granted(self) -> float:
        return 1 - self.kept / self.width


def ratio_by_depth(
    rows: Sequence[Ratio], selected: Collection[str] = (), held: Collection[str] = (), *, height: int = 260, dark: bool = False
) -> go.Figure:
    """Bars: granted ratio. Dashes: requested ratio, drawn where the two differ. Grey: locked groups, full height.

    The dot on every bar is what a box or a lasso takes hold of, also where a bar has no height. It is filled where the
    group is held. The first entry of its custom data is the group's name.
    """
    if not rows:
        return empty("Ratios appear here once the model is combed.", X, Y, height=height, dark=dark)
    bar, dot = (0.8, 8) if len(rows) < 120 else (1.0, 6)
    chosen, pinned = set(selected), set(held)
    free = [i for i, row in enumerate(rows) if row.prunable]
    locked = [i for i, row in enumerate(rows) if not row.prunable]
    differ = [i for i in free if abs(rows[i].granted - rows[i].requested) > 1e-9]
    traces: list[dict[str, Any]] = []

    def bars(name: str, at: list[int], heights: list[float], colour: str, width: float, **more: Any) -> None:
        traces.append({"type": "bar", "name": name, "x": at, "y": heights, "width": width, "marker": {"color": colour, "line": {"width": 0}}, **more})

    def dots(name: str, at: list[int], heights: list[float], marker: dict[str, Any], **more: Any) -> None:
        traces.append({"type": "scatter", "mode": "markers", "name": name, "x": at, "y": heights, "marker": marker, **more})

    band = [i for i in free if rows[i].group in chosen]
    if band:
        bars("selected", band, [1.0] * len(band), palette.faded(palette.SELECTION, 0.3), 1, hoverinfo="skip")
    bars("granted", free, [rows[i].granted for i in free], palette.CUT, bar, hoverinfo="skip")
    bars("locked", locked, [1.0] * len(locked), palette.faded(palette.LOCKED, 0.22), 1, customdata=[(rows[i].group, rows[i].reason) for i in locked],
         meta={"series": "state", "x": "", "y": "", "customdata": ["group", "why"]},
         hovertemplate="<b>%{customdata[0]}</b><br>locked: %{customdata[1]}<extra></extra>")  # fmt: skip
    dots("asked for, where it differs", differ, [rows[i].requested for i in differ],
         {"symbol": "line-ew", "size": 11, "line": {"width": 2, "color": palette.ink(dark)}}, hoverinfo="skip")  # fmt: skip
    ring = {"size": dot, "line": {"width": 1.5, "color": palette.CUT}}
    dots("take hold here", free, [rows[i].granted for i in free], ring | {"color": palette.paper(dark)}, showlegend=False,
         selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}},
         customdata=[(rows[i].group, rows[i].requested, rows[i].kept, rows[i].width, _why(rows[i])) for i in free],
         meta={"series": "", "x": "", "y": "granted", "customdata": ["group", "asked for", "units kept", "units", "why"]},
         hovertemplate="<b>%{customdata[0]}</b><br>granted %{y:.1%}, asked for %{customdata[1]:.1%}<br>"
         "keeps %{customdata[2]} of %{customdata[3]} units%{customdata[4]}<extra></extra>")  # fmt: skip
    fixed = [i for i in free if rows[i].group in pinned]
    if fixed:
        dots("held", fixed, [rows[i].granted for i in fixed], ring | {"color": palette.ink(dark)}, hoverinfo="skip")
    # Drawn anew at every edit, and checking every value of it takes longer than all the rest.
    return go.Figure({"data": traces, "layout": _layout(rows, height, dark)}, _validate=False)


def _layout(rows: Sequence[Ratio], height: int, dark: bool) -> dict[str, Any]:
    layout = frame(X, Y, height=height, dark=dark)
    axis, rules = depth(sections([row.group for row in rows]), dark)
    layout |= {"barmode": "overlay", "dragmode": "select", "hovermode": "closest", "shapes": rules}
    layout["modebar"] = {"bgcolor": "rgba(0,0,0,0)", "color": palette.faded(palette.ink(dark), 0.45), "activecolor": palette.ink(dark)}
    layout["xaxis"] |= axis
    layout["yaxis"] |= {"range": [-0.03, 1.03], "tickvals": [0, 0.25, 0.5, 0.75, 1], "tickformat": ".0%", "fixedrange": True}
    if not any(row.requested or row.kept < row.width for row in rows):
        text = "Nothing is cut yet: drag across groups to select them, then set their ratio."
        layout["annotations"] = [{"text": text, "x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper", "showarrow": False, "opacity": 0.7}]
    return layout


def _why(row: Ratio) -> str:
    return f"<br>{row.reason}" if row.reason else ""
