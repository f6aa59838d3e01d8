"""Importance scores: sorted curves per group, a map of all groups by rank, and how far two criteria agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from app import palette
from app.charts.frame import empty, framed

RANK = "Rank within the group (best unit left, worst right)"
RANK_OF_LAYER = "Rank within the layer"
RELATIVE = "Score ÷ mean"
Values = Sequence[float] | npt.NDArray[np.float64]
Curves = Mapping[str, Values]


def sorted_curves(scores: Curves, selected: str = "", kept: Mapping[str, int] | None = None, *, height: int = 340, dark: bool = False) -> go.Figure:
    """Every group's scores from best to worst, divided by the group's mean; the selected group in colour.

    Args:
        kept: units that the current plan keeps; the selected curve turns from kept to cut there.
    """
    if not scores:
        return empty("Score the model to see its curves.", RANK, RELATIVE, height=height, dark=dark)
    fig = go.Figure()
    others = [name for name in scores if name != selected]
    x: list[float | None] = []
    y: list[float | None] = []
    for name in others:  # one trace with gaps: a hundred traces would be slow to draw
        ranks, values = curve(scores[name])
        x += [*ranks, None]
        y += [*values, None]
    if others:
        fig.add_scatter(x=x, y=y, mode="lines", name="other groups", hoverinfo="skip",
                        line={"color": palette.faded(palette.LOCKED, 0.35), "width": 1})  # fmt: skip
    if selected in scores:
        ranks, values = curve(scores[selected])
        stay = (kept or {}).get(selected, len(values))
        whole = stay == len(values)
        _part(fig, ranks[:stay], values[:stay], "this group" if whole else "kept by the plan", palette.KEPT, 0)
        _part(fig, ranks[stay:], values[stay:], "cut by the plan", palette.CUT, stay)
        if not whole:
            fig.add_vline(x=(stay - 0.5) / max(len(values) - 1, 1), line={"dash": "dash", "width": 1, "color": palette.ink(dark)})
    framed(fig, RANK, RELATIVE, height=height, dark=dark)
    fig.update_xaxes(tickformat=".0%", range=[-0.02, 1.02])
    top = _top([curve(values)[1] for values in scores.values()])
    fig.update_yaxes(range=[0, top])
    return fig


def curve(scores: Values) -> tuple[list[float], list[float]]:
    """Ranks 0..1 and scores from best to worst, divided by their mean."""
    values = np.sort(np.asarray(scores, np.float64))[::-1]
    mean = float(values.mean()) or 1.0
    return (np.arange(len(values)) / max(len(values) - 1, 1)).tolist(), (values / mean).tolist()


def _part(fig: go.Figure, x: list[float], y: list[float], name: str, colour: str, first: int) -> None:
    if x:
        fig.add_scatter(
            x=x, y=y, mode="lines+markers" if len(x) <= 96 else "lines", name=name, line={"color": colour, "width": 2.5},
            marker={"size": 5}, customdata=[first + i + 1 for i in range(len(x))],
            hovertemplate="rank %{customdata}: %{y:.3g}× the mean<extra></extra>",
        )  # fmt: skip


def _top(curves: Sequence[Sequence[float]]) -> float:
    """Upper end of the axis: the largest value unless a few outliers would flatten everything else."""
    best = np.array([max(values) for values in curves])
    return float(min(best.max(), max(3.0, float(np.quantile(best, 0.9)) * 1.3)) * 1.05)


def rank_map(scores: Curves, kept: Mapping[str, int] | None = None, *, columns: int = 48, dark: bool = False) -> go.Figure:
    """Heat map, one row a group from first to last: score by rank, divided by the group's mean; a dot where the plan cuts."""
    y_title = "Groups in forward order"
    if not scores:
        return empty("Score the model to see all groups at once.", RANK, y_title, dark=dark)
    names = list(scores)
    table = np.stack([resampled(scores[name], columns) for name in names])
    fig = go.Figure(
        go.Heatmap(
            z=np.clip(table, 0, 3),
            x=(np.arange(columns) + 0.5) / columns,
            y=list(range(len(names))),
            customdata=np.stack([np.array(names, dtype=object)[:, None].repeat(columns, 1), table], -1),
            hovertemplate="<b>%{customdata[0]}</b><br>at %{x:.0%} of its ranks: %{customdata[1]:.2f}× the mean<extra></extra>",
            colorscale=palette.scale(palette.KEPT, dark),
            zmin=0,
            zmax=3,
            colorbar={"title": {"text": "× mean"}, "thickness": 10, "len": 0.8, "tickvals": [0, 1, 2, 3], "ticktext": ["0", "1", "2", "3+"]},
        )
    )
    cut = [(i, kept[name] / len(scores[name])) for i, name in enumerate(names) if kept and kept.get(name, 0) < len(scores[name])]
    if cut:
        fig.add_scatter(x=[share for _, share in cut], y=[row for row, _ in cut], mode="markers", name="the plan cuts right of this",
                        marker={"symbol": "line-ns", "size": 9, "line": {"width": 2.5, "color": palette.CUT}}, hoverinfo="skip")  # fmt: skip
    height = int(min(760, max(240, 120 + 15 * len(names))))
    framed(fig, RANK, y_title, height=height, dark=dark, legend=bool(cut))
    step = max(1, round(len(names) / 40))
    fig.update_yaxes(range=[len(names) - 0.5, -0.5], tickvals=list(range(0, len(names), step)), ticktext=names[::step], showgrid=False, title=None)
    fig.update_xaxes(tickformat=".0%", range=[0, 1])
    return fig


def resampled(scores: Values, columns: int) -> npt.NDArray[np.float64]:
    """(columns,) sorted, mean-divided scores at evenly spaced ranks: the unit that each column falls on."""
    values = np.asarray(curve(scores)[1])
    at = np.minimum((np.arange(columns) * len(values)) // columns, len(values) - 1)
    return values[at]


def agreement(names: Sequence[str], matrix: npt.NDArray[np.float64], *, dark: bool = False) -> go.Figure:
    """Rank correlation between criteria, -1..1, as a small labelled matrix."""
    fig = go.Figure(
        go.Heatmap(z=matrix, x=list(names), y=list(names), text=np.round(matrix, 2), texttemplate="%{text:.2f}", zmin=-1, zmax=1,
                   colorscale=[[0, palette.CUT], [0.5, "#1E2029" if dark else "#F3F4F8"], [1, palette.KEPT]], showscale=False,
                   hovertemplate="%{y} against %{x}: %{z:.3f}<extra></extra>")
    )  # fmt: skip
    framed(fig, "", "", height=90 + 46 * len(names), dark=dark, legend=False)
    fig.update_yaxes(autorange="reversed", showgrid=False)
    return fig


def agreement_by_depth(groups: Sequence[str], values: Mapping[str, Sequence[float]], *, dark: bool = False) -> go.Figure:
    """Rank correlation of pairs of criteria for every group in forward order; a dot a group."""
    x, y = "Groups in forward order", "Rank correlation"
    if not values:
        return empty("Two criteria are needed for a comparison.", x, y, height=240, dark=dark)
    fig = go.Figure()
    for number, (pair, row) in enumerate(values.items()):
        fig.add_scatter(x=list(range(len(groups))), y=list(row), mode="markers", name=pair, customdata=list(groups),
                        marker={"color": palette.SERIES[number % len(palette.SERIES)], "size": 7},
                        hovertemplate="<b>%{customdata}</b><br>" + pair + ": %{y:.2f}<extra></extra>")  # fmt: skip
    framed(fig, x, y, height=240, dark=dark)
    fig.update_xaxes(showticklabels=False)
    fig.update_yaxes(range=[-1.05, 1.05], dtick=0.5)
    return fig


def layer_curves(layers: Curves, *, height: int = 340, dark: bool = False) -> go.Figure:
    """Sorted scores of every layer on its own, divided by its mean: how steep each ranking is."""
    if not layers:
        return empty("This group's layers have no scores of their own.", RANK_OF_LAYER, RELATIVE, height=height, dark=dark)
    fig = go.Figure()
    for number, (name, values) in enumerate(layers.items()):
        ranks, relative = curve(values)
        fig.add_scatter(x=ranks, y=relative, mode="lines", name=name, line={"color": palette.SERIES[number % len(palette.SERIES)], "width": 1.6},
                        hovertemplate="%{y:.3g}× the mean<extra>" + name + "</extra>")  # fmt: skip
    framed(fig, RANK_OF_LAYER, RELATIVE, height=height, dark=dark, legend=len(layers) <= 6)
    fig.update_xaxes(tickformat=".0%", range=[-0.02, 1.02])
    fig.update_yaxes(range=[0, _top([curve(values)[1] for values in layers.values()])])
    return fig
