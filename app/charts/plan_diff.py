"""Two plans apart: by how much each group is cut more or less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from app import palette
from app.charts.frame import depth_axis, empty, framed
from app.layers import sections

X, Y = "Depth (groups in forward order)", "Second minus first"


def plan_difference(names: Sequence[str], first: Mapping[str, float], second: Mapping[str, float], *, height: int = 240, dark: bool = False) -> go.Figure:
    """Bars up: the second plan cuts more of the group. Bars down: it keeps more.

    Args:
        names: all groups in forward order.
        first, second: granted ratio by group, 0..1.
    """
    gap = [second[name] - first[name] for name in names]
    if not any(gap):
        return empty("Both plans keep the same widths everywhere.", X, Y, height=height, dark=dark)
    fig = go.Figure()
    for name, colour, sign in (("cut more", palette.CUT, 1), ("kept more", palette.KEPT, -1)):
        at = [i for i, value in enumerate(gap) if value * sign > 0]
        fig.add_bar(
            x=at,
            y=[gap[i] for i in at],
            width=0.8 if len(names) < 120 else 1.0,
            name=f"{name} by the second",
            marker={"color": colour},
            customdata=[(names[i], first[names[i]], second[names[i]]) for i in at],
            meta={"x": "", "customdata": ["group", "ratio in the first", "ratio in the second"]},
            hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]:.1%} in the first, %{customdata[2]:.1%} in the second<extra></extra>",
        )
    framed(fig, X, Y, height=height, dark=dark, barmode="overlay")
    top = max(abs(value) for value in gap) * 1.1
    fig.update_yaxes(range=[-top, top], tickformat="+.0%")
    return depth_axis(fig, sections(names), dark)
