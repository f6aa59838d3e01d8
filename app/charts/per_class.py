"""The metric of every class, dense and pruned, on one line each."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from app import palette
from app.charts.frame import empty, framed

MOST = 24  # classes on one chart


def per_class(dense: Mapping[str, float], pruned: Mapping[str, float] | None, what: str, *, dark: bool = False) -> go.Figure:
    """A row a class: a dot for the dense model and, where there is one, a dot for the pruned one with the way between.

    Args:
        dense, pruned: share 0..1 by class. Of more than `MOST` classes those are shown that lost most.
        what: the metric, e.g. "IoU".
    """
    names = shown(dense, pruned)
    if not names:
        return empty("No class has a value of its own.", what, "", height=200, dark=dark)
    ink = palette.ink(dark)
    fig = go.Figure()
    if pruned is not None:
        ways: list[tuple[float | None, str | None]] = []
        for name in names:
            if name in pruned:
                ways += [(dense[name], name), (pruned[name], name), (None, None)]
        fig.add_scatter(x=[x for x, _ in ways], y=[y for _, y in ways], mode="lines", line={"color": palette.grid(dark), "width": 4},
                        showlegend=False, hoverinfo="skip", name="change")  # fmt: skip
    fig.add_scatter(x=[dense[name] for name in names], y=names, mode="markers", name="dense", meta={"y": "class"}, marker={"color": ink, "size": 9, "symbol": "line-ns-open", "line": {"width": 2}},
                    hovertemplate="%{y}: %{x:.1%}<extra>dense</extra>")  # fmt: skip
    if pruned is not None:
        both = [name for name in names if name in pruned]
        fig.add_scatter(x=[pruned[name] for name in both], y=both, mode="markers", name="pruned", meta={"y": "class", "customdata": ["change, points"]}, marker={"color": palette.STUDENT, "size": 10},
                        customdata=[100 * (pruned[name] - dense[name]) for name in both],
                        hovertemplate="%{y}: %{x:.1%}, %{customdata:+.2f} points<extra>pruned</extra>")  # fmt: skip
    framed(fig, what, "", height=64 + 24 * len(names), dark=dark, legend=pruned is not None)
    fig.update_yaxes(type="category", categoryorder="array", categoryarray=names, autorange="reversed", showgrid=True)
    fig.update_xaxes(tickformat=".0%", rangemode="normal")
    return fig


def shown(dense: Mapping[str, float], pruned: Mapping[str, float] | None) -> list[str]:
    """Classes on the chart in their own order; of too many, those that lost most, or are worst where none is pruned."""
    if len(dense) <= MOST:
        return list(dense)
    loss = {name: (pruned or {}).get(name, value) - value if pruned is not None else value for name, value in dense.items()}
    return sorted(dense, key=lambda name: loss[name])[:MOST]
