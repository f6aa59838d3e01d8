"""Ratio over depth: what was asked for and what is granted, group by group."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from app import palette
from app.charts.frame import depth_axis, empty, framed
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

    The dot on every bar is what a box or a lasso takes hold of, also where a bar has no height. It is filled
    where the group is held. The first entry of its custom data is the group's name.
    """
    if not rows:
        return empty("Ratios appear here once the model is combed.", X, Y, height=height, dark=dark)
    fig = go.Figure()
    bar, dot = (0.8, 8) if len(rows) < 120 else (1.0, 6)
    locked = [i for i, row in enumerate(rows) if not row.prunable]
    free = [i for i, row in enumerate(rows) if row.prunable]
    pinned = [i for i in free if rows[i].group in set(held)]
    differ = [i for i in free if abs(rows[i].granted - rows[i].requested) > 1e-9]
    chosen = [i for i in free if rows[i].group in set(selected)]
    if chosen:
        fig.add_bar(
            x=chosen,
            y=[1] * len(chosen),
            width=1,
            name="selected",
            marker={"color": palette.faded(palette.SELECTION, 0.3), "line": {"width": 0}},
            hoverinfo="skip",
        )
    fig.add_bar(
        x=free,
        y=[rows[i].granted for i in free],
        width=bar,
        name="granted",
        marker={"color": palette.CUT},
        hoverinfo="skip",
    )
    fig.add_bar(
        x=locked,
        y=[1] * len(locked),
        width=1,
        name="locked",
        marker={"color": palette.faded(palette.LOCKED, 0.22), "line": {"width": 0}},
        customdata=[(rows[i].group, rows[i].reason) for i in locked],
        hovertemplate="<b>%{customdata[0]}</b><br>locked: %{customdata[1]}<extra></extra>",
    )
    fig.add_scatter(
        x=differ,
        y=[rows[i].requested for i in differ],
        mode="markers",
        name="asked for, where it differs",
        marker={"symbol": "line-ew", "size": 11, "line": {"width": 2, "color": palette.ink(dark)}},
        hoverinfo="skip",
    )
    fig.add_scatter(
        x=free,
        y=[rows[i].granted for i in free],
        mode="markers",
        name="take hold here",
        showlegend=False,
        marker={"size": dot, "color": palette.paper(dark), "line": {"width": 1.5, "color": palette.CUT}},
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
        customdata=[(rows[i].group, rows[i].requested, rows[i].kept, rows[i].width, _why(rows[i])) for i in free],
        hovertemplate="<b>%{customdata[0]}</b><br>granted %{y:.1%}, asked for %{customdata[1]:.1%}<br>"
        "keeps %{customdata[2]} of %{customdata[3]} units%{customdata[4]}<extra></extra>",
    )
    if pinned:
        fig.add_scatter(
            x=pinned,
            y=[rows[i].granted for i in pinned],
            mode="markers",
            name="held",
            hoverinfo="skip",
            marker={"size": dot, "color": palette.ink(dark), "line": {"width": 1.5, "color": palette.CUT}},
        )
    framed(fig, X, Y, height=height, dark=dark, barmode="overlay", dragmode="select", hovermode="closest",
           modebar={"bgcolor": "rgba(0,0,0,0)", "color": palette.faded(palette.ink(dark), 0.45), "activecolor": palette.ink(dark)})
    fig.update_yaxes(range=[-0.03, 1.03], tickvals=[0, 0.25, 0.5, 0.75, 1], tickformat=".0%", fixedrange=True)
    if not any(row.requested or row.kept < row.width for row in rows):
        fig.add_annotation(text="Nothing is cut yet: drag across groups to select them, then set their ratio.", x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, opacity=0.7)
    return depth_axis(fig, sections([row.group for row in rows]), dark)


def _why(row: Ratio) -> str:
    return f"<br>{row.reason}" if row.reason else ""
