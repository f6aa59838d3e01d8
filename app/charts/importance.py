"""Importance scores: sorted curves per group, a map of all groups by rank, and how far two criteria agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from app import palette
from app.charts.frame import depth_axis, empty, framed
from app.layers import sections
from cpd.importance.stability import ranks

RANK = "Rank within the group (best unit left, worst right)"
RANK_OF_LAYER = "Rank within the layer"
RELATIVE = "Score ÷ mean"
Values = Sequence[float] | npt.NDArray[np.float64]
Curves = Mapping[str, Values]


def sorted_curves(
    scores: Curves, selected: str = "", kept: Mapping[str, int] | None = None, *, unit: str = RELATIVE, rank: str = RANK, height: int = 340, dark: bool = False
) -> go.Figure:
    """Every group's scores from best to worst; the selected group in colour.

    Args:
        kept: units that the current plan keeps; the selected curve turns from kept to cut there.
        unit: what the scores are in; RELATIVE divides each group by its mean, anything else draws them as they are, on a
            logarithmic axis where groups are worlds apart.
        rank: title of the other axis.
    """  # fmt: skip
    if not scores:
        return empty("Score the model to see its curves.", rank, unit, height=height, dark=dark)
    fig = go.Figure()
    relative = unit == RELATIVE
    drawn = {name: curve(values, relative) for name, values in scores.items()}
    x: list[float | None] = []
    y: list[float | None] = []
    names: list[str | None] = []
    for name, (places, values) in drawn.items():  # one trace with gaps: a hundred traces would be slow to draw
        if name != selected:
            x += [*places, None]
            y += [*values, None]
            names += [name] * (len(values) + 1)
    if x:
        fig.add_scatter(x=x, y=y, mode="lines", name="all others", customdata=names, meta={"customdata": ["group"]}, line={"color": palette.faded(palette.LOCKED, 0.35), "width": 1},
                        hovertemplate="%{customdata}<extra></extra>")  # fmt: skip
    if selected in scores:
        places, values = drawn[selected]
        stay = (kept or {}).get(selected, len(values))
        whole = stay == len(values)
        shown = "%{y:.3g}× the mean" if relative else "%{y:.3g}"
        _part(fig, places[:stay], values[:stay], "this one" if whole else "kept by the plan", palette.KEPT, 0, shown)
        _part(fig, places[stay:], values[stay:], "cut by the plan", palette.CUT, stay, shown)
        if not whole:
            fig.add_vline(x=(stay - 0.5) / max(len(values) - 1, 1), line={"dash": "dash", "width": 1, "color": palette.ink(dark)})
    framed(fig, rank, unit, height=height, dark=dark)
    fig.update_xaxes(tickformat=".0%", range=[-0.02, 1.02])
    curves = [values for _, values in drawn.values()]
    if not relative and _worlds_apart(curves):
        return fig.update_yaxes(type="log", exponentformat="power", dtick=1)
    return fig.update_yaxes(range=[0, _top(curves) if relative else 1.05 * max((max(values) for values in curves), default=1.0) or 1.0])


def curve(scores: Values, relative: bool = True) -> tuple[list[float], list[float]]:
    """Ranks 0..1 and scores from best to worst, divided by their mean where they are to be relative."""
    values = np.sort(np.asarray(scores, np.float64))[::-1]
    mean = float(values.mean()) or 1.0 if relative else 1.0
    return (np.arange(len(values)) / max(len(values) - 1, 1)).tolist(), (values / mean).tolist()


def _part(fig: go.Figure, x: list[float], y: list[float], name: str, colour: str, first: int, shown: str) -> None:
    if x:
        fig.add_scatter(
            x=x, y=y, mode="lines+markers" if len(x) <= 96 else "lines", name=name, line={"color": colour, "width": 2.5},
            marker={"size": 5}, customdata=[first + i + 1 for i in range(len(x))], meta={"customdata": ["rank"]},
            hovertemplate=f"rank %{{customdata}}: {shown}<extra></extra>",
        )  # fmt: skip


def _worlds_apart(curves: Sequence[Sequence[float]]) -> bool:
    """Whether the groups' middles differ so much that a linear axis would flatten most of them."""
    middles = [m for m in (float(np.median(values)) for values in curves) if m > 0]
    return len(middles) > 1 and max(middles) > 30 * min(middles)


def _top(curves: Sequence[Sequence[float]]) -> float:
    """Upper end of the axis: the largest value unless a few outliers would flatten everything else."""
    best = np.array([max(values) for values in curves])
    return float(min(best.max(), max(3.0, float(np.quantile(best, 0.9)) * 1.3)) * 1.05)


def rank_map(
    scores: Curves, kept: Mapping[str, int] | None = None, *, unit: str = RELATIVE, rank: str = RANK, selected: str = "", columns: int = 48, dark: bool = False
) -> go.Figure:
    """Heat map, one row a group from first to last: score by rank; a dot where the plan cuts. See `sorted_curves`.

    Over every row lies a bar that is not seen: a heat map tells nobody where it was clicked. The first entry of its
    custom data is the group's name.
    """
    y_title = "Groups in forward order"
    if not scores:
        return empty("Score the model to see all groups at once.", rank, y_title, dark=dark)
    names = list(scores)
    relative = unit == RELATIVE
    table = np.stack([resampled(scores[name], columns, relative) for name in names])
    # Colours must tell most cells apart, whatever a few outliers do.
    shown = np.clip(table, 0, 3) if relative else _squeezed(table)
    bar = {"title": {"text": "× mean"}, "tickvals": [0, 1, 2, 3], "ticktext": ["0", "1", "2", "3+"]} if relative else {
        "title": {"text": "share of<br>cells below"}, "tickformat": ".0%"}  # fmt: skip
    number = (lambda value: f"{value:.2f}×") if relative else (lambda value: f"{value:.3g}")
    fig = go.Figure(
        go.Heatmap(
            z=shown,
            x=(np.arange(columns) + 0.5) / columns,
            y=list(range(len(names))),
            customdata=np.stack([np.array(names, dtype=object)[:, None].repeat(columns, 1), table], -1),
            meta={"y": "", "z": "colour", "customdata": ["name", "score"]},
            hoverinfo="none",
            colorscale=palette.scale(palette.KEPT, dark),
            zmin=0,
            zmax=3 if relative else 1,
            colorbar={"thickness": 10, "len": 0.8, **bar},
        )
    )
    cut = [(i, kept[name] / len(scores[name])) for i, name in enumerate(names) if kept and kept.get(name, 0) < len(scores[name])]
    if cut:
        fig.add_scatter(x=[share for _, share in cut], y=[row for row, _ in cut], mode="markers", name="the plan cuts right of this",
                        marker={"symbol": "line-ns", "size": 9, "line": {"width": 2.5, "color": palette.CUT}}, hoverinfo="skip")  # fmt: skip
    rows = [(name, *(number(float(value)) for value in (table[i, 0], np.median(table[i]), table[i, -1]))) for i, name in enumerate(names)]
    fig.add_bar(orientation="h", x=[1.0] * len(names), y=list(range(len(names))), width=1, name="click here", meta="handle", showlegend=False,
                marker={"color": "rgba(0,0,0,0)", "line": {"width": 0}}, selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}}, customdata=rows,
                hovertemplate="<b>%{customdata[0]}</b><br>best %{customdata[1]}, middle %{customdata[2]}, worst %{customdata[3]}"
                + (" the mean" if relative else "") + "<extra></extra>")  # fmt: skip
    height = int(min(760, max(240, 120 + 15 * len(names))))
    framed(fig, rank, y_title, height=height, dark=dark, legend=bool(cut))
    step = max(1, round(len(names) / 40))
    fig.update_yaxes(range=[len(names) - 0.5, -0.5], tickvals=list(range(0, len(names), step)), ticktext=names[::step], showgrid=False, title=None)
    fig.update_xaxes(tickformat=".0%", range=[0, 1])
    if selected in names:
        row = names.index(selected)
        fig.add_shape(type="rect", xref="paper", x0=0, x1=1, y0=row - 0.5, y1=row + 0.5, line={"color": palette.SELECTION, "width": 2})
    return fig


def resampled(scores: Values, columns: int, relative: bool = True) -> npt.NDArray[np.float64]:
    """(columns,) sorted scores at evenly spaced ranks: the unit that each column falls on; see `curve`."""
    values = np.asarray(curve(scores, relative)[1])
    at = np.minimum((np.arange(columns) * len(values)) // columns, len(values) - 1)
    return values[at]


def _squeezed(table: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Share of all cells that are smaller, 0..1: scores of different groups can be orders of magnitude apart."""
    return np.asarray(ranks(table.reshape(-1)) / max(table.size - 1, 1)).reshape(table.shape)


def global_cut(scores: Curves, share: float, selected: str = "", *, dark: bool = False) -> go.Figure:
    """Share of every group's units among the lowest `share` of all units: where a global ranking would cut."""
    x_title, y_title = "Depth (groups in forward order)", "Would go"
    if not scores:
        return empty("Score the model to see where a global ranking cuts.", x_title, y_title, height=220, dark=dark)
    names = list(scores)
    gone = lowest(scores, share)
    fig = go.Figure(
        go.Bar(
            x=list(range(len(names))), y=[gone[name] for name in names], width=0.8 if len(names) < 120 else 1.0, name="would go",
            marker={"color": [palette.SELECTION if name == selected else palette.on_paper(palette.CUT, 0.6, dark) for name in names], "line": {"width": 0}},
            customdata=[(name, round(gone[name] * len(scores[name])), len(scores[name])) for name in names],
            meta={"x": "", "customdata": ["group", "units that would go", "units"]},
            selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}},
            hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]} of %{customdata[2]} units would go (%{y:.0%})<extra></extra>",
        )
    )  # fmt: skip
    fig.add_hline(y=share, line={"dash": "dash", "width": 1, "color": palette.ink(dark)})
    framed(fig, x_title, y_title, height=230, dark=dark, legend=False)
    fig.update_yaxes(range=[0, 1.02], tickformat=".0%", dtick=0.25)
    return depth_axis(fig, sections(names), dark)


def lowest(scores: Curves, share: float) -> dict[str, float]:
    """Per group the share of its units among the lowest `share` of all units; ties go in the order of the groups."""
    sizes = [len(values) for values in scores.values()]
    every = np.concatenate([np.asarray(values, np.float64) for values in scores.values()])
    gone = np.zeros(len(every), bool)
    gone[np.argsort(every, kind="stable")[: round(share * len(every))]] = True
    parts = np.split(gone, np.cumsum(sizes)[:-1])
    return {name: float(part.mean()) for name, part in zip(scores, parts, strict=True)}


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


def agreement_by_depth(
    groups: Sequence[str], values: Mapping[str, Sequence[float]], *, missing: str = "Two criteria are needed for a comparison.", dark: bool = False
) -> go.Figure:
    """Rank correlations for every group in forward order, a dot a group; of pairs of criteria, or of parts of the batches."""
    x, y = "Groups in forward order", "Rank correlation"
    if not values:
        return empty(missing, x, y, height=240, dark=dark)
    fig = go.Figure()
    for number, (pair, row) in enumerate(values.items()):
        fig.add_scatter(x=list(range(len(groups))), y=list(row), mode="markers", name=pair, customdata=list(groups), meta={"x": "", "customdata": ["group"]},
                        marker={"color": palette.SERIES[number % len(palette.SERIES)], "size": 7},
                        selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}},
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
