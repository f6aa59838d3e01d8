"""Sensitivity: accuracy and latency against ratio for every group, all groups as one map, and one group's latency stairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import plotly.graph_objects as go

from app import palette
from app.charts.frame import empty, framed
from app.sense import SIGMAS, drop, ratio
from cpd.sensitivity.staircase import staircase
from cpd.sensitivity.table import GroupSensitivity, Point, SensitivityTable

X = "Pruning ratio of that group alone"
Widths = Mapping[str, int]
_COLUMNS = {"customdata": ["group", "units kept", "images"]}  # of a saved table


def accuracy_curves(
    table: SensitivityTable | None, widths: Widths, selected: str = "", cut: float | None = None, metric: str = "Accuracy",
    *, height: int = 330, dark: bool = False,
) -> go.Figure:
    """The metric against the ratio: the selected group with its 90 % band, all others faint; dense and floor as lines.

    Args:
        cut: ratio of the selected group in the current plan.
    """  # fmt: skip
    if table is None or not table.groups:
        return empty("The first group appears in a moment.", X, metric, height=height, dark=dark)
    fig = go.Figure()
    _others(fig, table, widths, selected, lambda point: point.value, "%{y:.1%}", dark)
    group = table.groups.get(selected)
    if group is not None:
        x = [ratio(p, widths[selected]) for p in group.points]
        _band(fig, x, *_ends(table, group.points))
        _line(fig, x, [p.value for p in group.points], selected, [(selected, p.kept, p.images) for p in group.points],
              "keeps %{customdata[1]} units: %{y:.2%} on %{customdata[2]} images")  # fmt: skip
    _level(fig, table.dense, "dense", "dash", dark)
    if table.floor > 0:
        _level(fig, table.floor, "floor of the scan", "dot", dark)
    framed(fig, X, metric, height=height, dark=dark)
    _ratios(fig, cut)
    values = [p.value for g in table.groups.values() for p in g.points]
    low, top = max(-0.02, min(values, default=0) - 0.04), max([*values, table.dense]) + 0.04
    # No tick above 100 %: what lies there is drawn over the edge.
    return fig.update_yaxes(tickformat=".0%", range=[low, min(1 + 0.01 * (1 - low), top)]).update_traces(cliponaxis=False, selector={"mode": "lines+markers"})


def latency_curves(
    table: SensitivityTable | None, widths: Widths, selected: str = "", cut: float | None = None, *, height: int = 330, dark: bool = False
) -> go.Figure:
    """Latency of the whole network against the ratio, drawn like the accuracy."""
    y = f"Latency, ms (batch {table.batch})" if table else "Latency, ms"
    timed = None if table is None else {n: g for n, g in table.groups.items() if any(p.latency_ms is not None for p in g.points)}
    if table is None or not timed:
        return empty("Latency is timed group by group.", X, y, height=height, dark=dark)
    fig = go.Figure()
    _others(fig, table, widths, selected, lambda point: point.latency_ms, "%{y:.3g} ms", dark)
    points = [p for p in timed[selected].points if p.latency_ms is not None] if selected in timed else []
    if points:
        x = [ratio(p, widths[selected]) for p in points]
        _band(fig, x, [p.latency_low if p.latency_low is not None else p.latency_ms for p in points],
              [p.latency_high if p.latency_high is not None else p.latency_ms for p in points])  # fmt: skip
        _line(fig, x, [p.latency_ms for p in points], selected, [(selected, p.kept) for p in points], "keeps %{customdata[1]} units: %{y:.3g} ms")
    if table.dense_latency_ms is not None:
        _level(fig, table.dense_latency_ms, "dense", "dash", dark)
    framed(fig, X, y, height=height, dark=dark)
    _ratios(fig, cut)
    return fig.update_yaxes(range=_around([p.latency_ms for g in timed.values() for p in g.points if p.latency_ms is not None]))


def _others(fig: go.Figure, table: SensitivityTable, widths: Widths, selected: str, value: Callable[[Point], float | None], shown: str, dark: bool) -> None:
    """All other groups in one trace, with gaps between them: a hundred traces would take the browser seconds."""
    x: list[float | None] = []
    y: list[float | None] = []
    names: list[tuple[str, int] | None] = []
    for name, group in table.groups.items():
        if name == selected or name not in widths:
            continue
        for point in group.points:
            found = value(point)
            if found is not None:
                x.append(ratio(point, widths[name]))
                y.append(found)
                names.append((name, point.kept))
        x.append(None)
        y.append(None)
        names.append(None)
    if any(v is not None for v in y):
        fig.add_scatter(
            x=x, y=y, customdata=names, meta=_COLUMNS, mode="lines+markers", name="other groups", line={"color": palette.on_paper(palette.LOCKED, 0.4, dark), "width": 1},
            marker={"size": 5}, connectgaps=False, selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}},
            hovertemplate=f"<b>%{{customdata[0]}}</b><br>keeps %{{customdata[1]}} units: {shown}<extra></extra>",
        )  # fmt: skip


def _line(fig: go.Figure, x: Sequence[float], y: Sequence[float | None], name: str, data: Sequence[tuple[object, ...]], hover: str) -> None:
    fig.add_scatter(
        x=list(x), y=list(y), mode="lines+markers", name=name, line={"color": palette.SELECTION, "width": 2.5}, marker={"size": 8},
        customdata=data, meta=_COLUMNS, selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}},
        hovertemplate=f"<b>%{{customdata[0]}}</b><br>{hover}<extra></extra>",
    )  # fmt: skip


def _band(fig: go.Figure, x: Sequence[float], low: Sequence[float | None], high: Sequence[float | None]) -> None:
    fig.add_scatter(
        x=[*x, *reversed(x)], y=[*high, *reversed(low)], fill="toself", mode="lines", name="90 % interval", hoverinfo="skip",
        line={"width": 0}, fillcolor=palette.faded(palette.SELECTION, 0.22),
    )  # fmt: skip


def _level(fig: go.Figure, value: float, name: str, dash: str, dark: bool) -> None:
    fig.add_scatter(x=[0, 1], y=[value, value], mode="lines", name=name, hoverinfo="skip",
                    line={"color": palette.ink(dark), "width": 1.2, "dash": dash})  # fmt: skip


def _ratios(fig: go.Figure, cut: float | None) -> None:
    fig.update_xaxes(range=[-0.03, 1.03], tickformat=".0%", dtick=0.25)
    if cut:
        fig.add_vline(x=cut, line={"color": palette.CUT, "width": 1.5})
        fig.add_annotation(x=cut, y=1, yref="paper", yanchor="top", xanchor="left" if cut < 0.7 else "right", text=" plan ", showarrow=False,
                           font={"color": palette.CUT, "size": 12})  # fmt: skip


def _ends(table: SensitivityTable, points: Sequence[Point]) -> tuple[list[float], list[float]]:
    """Ends of the band: of the difference to the dense network where the scan knows it, since both networks saw the same
    images and what they have in common cancels; else of the metric alone."""
    if any(p.deviation for group in table.groups.values() for p in group.points):
        return [p.value - SIGMAS * p.deviation for p in points], [p.value + SIGMAS * p.deviation for p in points]
    return [p.low for p in points], [p.high for p in points]


def _around(values: Sequence[float]) -> list[float]:
    """An axis around what was measured; a band that one disturbed timing widened may leave it."""
    low, high = min(values), max(values)
    room = max(0.15 * (high - low), 0.04 * high)
    return [max(0.0, low - room), high + room]


# All groups at once --------------------------------------------------------------------------------------------------

DROP, GAIN = "drop", "gain"
WORST = 0.1  # a cut that costs ten points alone is out of the question; how much more it costs must not pale the rest


def sensitivity_map(
    table: SensitivityTable | None, widths: Widths, show: str = DROP, cuts: Mapping[str, float] | None = None, selected: str = "",
    *, dark: bool = False,
) -> go.Figure:
    """One row a group, one cell a measured width: the metric lost, or the share of latency gained.

    Cells reach half-way to the neighbouring widths; what was not measured stays blank. A bar a cell, since bars can be
    clicked and cells of a heat map cannot.
    """  # fmt: skip
    names = list(widths)
    row_height = 17 if len(names) <= 40 else max(6.0, 680 / len(names))
    height = int(max(220, 96 + row_height * len(names)))
    if table is None or not table.groups:
        return empty("Rows fill as groups are measured.", X, "", height=height, dark=dark)
    cells = [cell for row, name in enumerate(names) if name in table.groups
             for cell in _cells(table, table.groups[name], name, row, widths[name], show)]  # fmt: skip
    title = "points<br>lost" if show == DROP else "time<br>gained"
    most = max([cell[3] for cell in cells], default=0.0)
    top = max(0.01, min(most, WORST if show == DROP else 1.0))
    ticks = [0, top / 2, top]
    signs = [f"{100 * at:.3g}{'' if show == DROP else ' %'}{'+' if at == top < most else ''}" for at in ticks]
    fig = go.Figure(
        go.Bar(
            orientation="h", base=[cell[1] for cell in cells], x=[cell[2] for cell in cells], y=[cell[0] for cell in cells], width=0.94 if len(names) <= 40 else 1.0,
            customdata=[cell[4] for cell in cells], name=title, meta={"x": "", "y": "", "customdata": ["group", "in words"], "color": title},
            marker={
                "color": [cell[3] for cell in cells], "cmin": 0, "cmax": top, "line": {"width": 0},
                "colorscale": palette.scale(palette.SERIES[0] if show == DROP else palette.SERIES[4], dark),
                "colorbar": {"title": {"text": title}, "thickness": 10, "lenmode": "pixels", "len": 170, "y": 1, "yanchor": "top", "tickvals": ticks, "ticktext": signs},
            },
            selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}},
            hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}<extra></extra>",
        )
    )  # fmt: skip
    framed(fig, X, "", height=height, dark=dark, legend=bool(cuts), bargap=0)
    marks = [(cuts[name], row) for row, name in enumerate(names) if cuts and cuts.get(name, 0) > 0]
    if marks:
        fig.add_scatter(x=[x for x, _ in marks], y=[row for _, row in marks], mode="markers", name="the plan's cut", hoverinfo="skip",
                        marker={"symbol": "line-ns", "size": 11, "line": {"width": 2.5, "color": palette.CUT}})  # fmt: skip
        fig.data[0].showlegend = False
    step = max(1, math.ceil(12 / row_height))
    rows = list(range(0, len(names), step))
    text = [f"<b>{names[i]}</b>" if names[i] == selected else names[i] for i in rows]
    fig.update_yaxes(range=[len(names) - 0.5, -0.5], tickvals=rows, ticktext=text, showgrid=False, zeroline=False)
    fig.update_xaxes(range=[0, 1], tickformat=".0%", dtick=0.25, zeroline=False)
    if selected in names:
        row = names.index(selected)
        fig.add_shape(type="rect", xref="paper", x0=0, x1=1, y0=row - 0.5, y1=row + 0.5, line={"color": palette.SELECTION, "width": 2})
    return fig


def _cells(table: SensitivityTable, group: GroupSensitivity, name: str, row: int, width: int, show: str) -> list[tuple[int, float, float, float, tuple[str, str]]]:
    """(row, left end, length, colour, (group, words)) of every point but the dense network's own."""
    timed = show != DROP
    points = [p for p in group.points if p.kept < width and (not timed or p.latency_ms is not None)]
    at = [ratio(p, width) for p in points]
    found = []
    for i, (point, here) in enumerate(zip(points, at, strict=True)):
        left = (at[i - 1] + here) / 2 if i else here / 2
        right = (here + at[i + 1]) / 2 if i + 1 < len(at) else min(1.0, here + (here - left))
        if timed:
            assert point.latency_ms is not None
            value = 1 - point.latency_ms / table.dense_latency_ms if table.dense_latency_ms else 0.0
            words = f"keeps {point.kept} of {width}: {point.latency_ms:.3g} ms, {100 * value:+.1f} % gained"
        else:
            value = drop(table, point)
            words = f"keeps {point.kept} of {width}: {100 * point.value:.2f} %, {-100 * value:+.2f} points on {point.images} images"
        found.append((row, left, right - left, value, (name, words)))
    return found


# One group's stairs --------------------------------------------------------------------------------------------------


def latency_stairs(points: Sequence[Point], width: int, batch: int, kept: int | None = None, *, height: int = 330, dark: bool = False) -> go.Figure:
    """Latency against the units kept, widest left: steps that buy time in colour, those that buy nothing in grey.

    Args:
        kept: units that the current plan keeps.
    """
    x_title, y_title = "Units kept", f"Latency, ms (batch {batch})"
    timed = sorted((p for p in points if p.latency_ms is not None), key=lambda p: -p.kept)
    if len(timed) < 2:
        return empty("This group has not been timed.", x_title, y_title, height=height, dark=dark)
    by_width = {p.kept: p for p in timed}
    fig = go.Figure()
    for buys, name, colour, dash in ((True, "buys time", palette.STUDENT, "solid"), (False, "buys nothing", palette.LOCKED, "dot")):
        x: list[int | None] = []
        y: list[float | None] = []
        for step in staircase(points):
            if step.buys == buys:
                x += [step.wide, step.narrow, None]
                y += [by_width[step.wide].latency_ms, by_width[step.narrow].latency_ms, None]
        fig.add_scatter(x=x, y=y, mode="lines", name=name, line={"color": colour, "width": 3, "dash": dash}, hoverinfo="skip")
    fig.add_scatter(
        x=[p.kept for p in timed], y=[p.latency_ms for p in timed], mode="markers", name="measured", marker={"color": palette.ink(dark), "size": 7},
        error_y={"type": "data", "symmetric": False, "thickness": 1.2, "width": 4, "color": palette.ink(dark),
                 "array": [(p.latency_high or p.latency_ms or 0) - (p.latency_ms or 0) for p in timed],
                 "arrayminus": [(p.latency_ms or 0) - (p.latency_low or p.latency_ms or 0) for p in timed]},
        hovertemplate="keeps %{x} units: %{y:.3g} ms<extra></extra>", showlegend=False,
    )  # fmt: skip
    framed(fig, x_title, y_title, height=height, dark=dark)
    if kept is not None and kept < width:
        fig.add_vline(x=kept, line={"color": palette.CUT, "width": 1.5})
        fig.add_annotation(x=kept, y=1, yref="paper", yanchor="top", xanchor="left", text=" plan ", showarrow=False, font={"color": palette.CUT, "size": 12})
    fig.update_xaxes(range=[width * 1.03, -width * 0.03])
    return fig.update_yaxes(range=_around([p.latency_ms or 0.0 for p in timed]))
