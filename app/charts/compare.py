"""Charts of finished runs beside each other: quality against a cost, curves laid over each other, parallel coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from app import palette
from app.charts.frame import empty, framed
from app.compare import DENSE, Axis, Place

_SYMBOLS = {"run": "circle", "baseline": "diamond", DENSE: "square"}
_ENOUGH = 2  # points or lines that can be compared


def trade(places: Sequence[Place], best: set[int], axis: Axis, quality: str, focus: str = "", *, height: int = 430, dark: bool = False) -> go.Figure:
    """Every model by cost and quality with their ranges, and the front of those that no other beats.

    Args:
        best: numbers of the places on the front.
        focus: id of the run that stands out.
    """
    if not places:
        return empty("None of these runs measured both.", axis.title, quality, height=height, dark=dark)
    fig, ink = go.Figure(), palette.ink(dark)
    rim = sorted((places[i] for i in best), key=lambda place: (place.x, place.y))
    if len(rim) >= _ENOUGH:
        # Between two models there is none: quality stays what the cheaper one has until the next one is paid for.
        fig.add_scatter(x=[place.x for place in rim], y=[place.y for place in rim], mode="lines", name="front: beaten by none", hoverinfo="skip",
                        line={"color": palette.blend(palette.paper(dark), ink, 0.45), "width": 1.5, "dash": "dot", "shape": "hv"})  # fmt: skip
    for number, place in enumerate(places):
        chosen = bool(place.id) and place.id == focus
        colour = ink if place.kind == DENSE else place.colour
        fig.add_scatter(
            x=[place.x], y=[place.y], mode="markers+text", text=[place.letter], name=place.text, showlegend=False, customdata=[[place.id]], meta={"series": "model", "customdata": ["run"]},
            textposition="top center", textfont={"size": 13, "color": ink}, cliponaxis=False,
            marker={"size": 17 if chosen else 13, "color": colour, "symbol": _SYMBOLS[place.kind],
                    "line": {"width": 3 if chosen else 1, "color": palette.SELECTION if chosen else palette.paper(dark)}},
            error_x=_bar(place.x, place.x_range, colour), error_y=_bar(place.y, place.y_range, colour),
            selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}, "textfont": {"color": ink}},
            hovertemplate=f"<b>{place.text}</b><br>{axis.title}: %{{x:{_digits(axis)}}}{' ' + axis.unit if axis.unit else ''}<br>{quality}: %{{y:.2%}}"
            + ("<br>beaten by none" if number in best else "") + "<extra></extra>",
        )  # fmt: skip
    framed(fig, axis.title + (f" ({axis.unit})" if axis.unit == "ms" else ""), quality, height=height, dark=dark)
    fig.update_xaxes(rangemode="tozero", tickformat=".0%" if axis.share else "", showgrid=True)
    return fig.update_yaxes(tickformat=_ticks([edge for place in places for edge in (place.y_range or (place.y, place.y))]))


def _bar(value: float, ends: tuple[float, float] | None, colour: str) -> dict[str, Any]:
    if ends is None:
        return {"visible": False}
    return {"type": "data", "symmetric": False, "array": [max(0.0, ends[1] - value)], "arrayminus": [max(0.0, value - ends[0])],
            "color": palette.faded(colour, 0.5), "thickness": 1.5, "width": 3}  # fmt: skip


def _digits(axis: Axis) -> str:
    return ".1%" if axis.share else ".3s" if not axis.batch else ".3g"


def _ticks(values: Sequence[float]) -> str:
    return ".0%" if max(values) - min(values) > 0.05 else ".1%"


@dataclass(frozen=True)
class Line:
    """One run's curve."""

    id: str
    name: str
    colour: str
    x: Sequence[float]
    y: Sequence[float]


def overlaid(
    lines: Sequence[Line], teacher: Sequence[float], x: str, quality: str, focus: str = "", *, shares: bool = False, height: int = 330, dark: bool = False
) -> go.Figure:
    """The metric of every run in one picture; the run in focus is drawn last and wide, dense models as dashed lines.

    Args:
        shares: x is a share of MACs, from all on the left to less on the right: the way that a run goes.
    """
    drawn = [line for line in lines if len(line.x)]
    if not drawn:
        return empty("None of these runs recorded this.", x, quality, height=height, dark=dark)
    fig = go.Figure()
    for number, line in sorted(enumerate(drawn), key=lambda row: row[1].id == focus):
        front = line.id == focus
        if front:
            _halo(fig, line)
        fig.add_scatter(
            x=list(line.x), y=list(line.y), name=line.name, legendrank=number, mode="lines+markers", customdata=[[line.id]] * len(line.x), meta={"customdata": ["run"]}, marker={"size": 6},
            line={"color": line.colour, "width": 3 if front else 1.8}, selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}},
            hovertemplate=f"{line.name}<br>{x}: %{{x:{'.1%' if shares else ',.0f'}}}<br>{quality}: %{{y:.2%}}<extra></extra>",
        )  # fmt: skip
    ends = [min(min(line.x) for line in drawn), max(max(line.x) for line in drawn)]
    for number, value in enumerate(sorted(set(teacher))):
        fig.add_scatter(x=ends, y=[value, value], mode="lines", name=DENSE, showlegend=number == 0, legendrank=2000, line={"color": palette.ink(dark), "width": 1.5, "dash": "dash"},
                        hovertemplate=f"dense: {value:.2%}<extra></extra>")  # fmt: skip
    framed(fig, x, quality, height=height, dark=dark)
    if shares:
        fig.update_xaxes(tickformat=".0%", autorange="reversed")
    return fig.update_yaxes(tickformat=_ticks([*(value for line in drawn for value in line.y), *teacher]))


def parallel(
    columns: Sequence[str], lines: Sequence[Line], y: str, focus: str = "", *, tilted: bool = False, height: int = 330, dark: bool = False
) -> go.Figure:
    """One line a run across axes side by side, which share one scale: shares of the dense model, whose line is at 100 %.

    Drawn as lines rather than plotly's own parallel coordinates, which need WebGL and cannot be clicked.

    Args:
        columns: names of the axes; a line's x counts them.
    """
    if not columns or not lines:
        return empty("Nothing here differs from the dense model.", "", y, height=height, dark=dark)
    fig = go.Figure()
    fig.add_scatter(
        x=[0, len(columns) - 1],
        y=[1, 1],
        mode="lines",
        name=DENSE,
        line={"color": palette.ink(dark), "width": 1.5, "dash": "dash"},
        hoverinfo="skip",
        legendrank=2000,
    )
    for number, line in sorted(enumerate(lines), key=lambda row: row[1].id == focus):
        if line.id == focus:
            _halo(fig, line)
        fig.add_scatter(
            x=list(line.x), y=list(line.y), name=line.name, mode="lines+markers", legendrank=number, customdata=[[line.id, columns[int(x)]] for x in line.x],
            meta={"x": "", "customdata": ["run", "axis"]},
            line={"color": line.colour, "width": 2.5 if line.id == focus else 1.8}, marker={"size": 7}, selected={"marker": {"opacity": 1}},
            unselected={"marker": {"opacity": 1}}, hovertemplate=f"<b>{line.name}</b><br>%{{customdata[1]}}: %{{y:.1%}}<extra></extra>",
        )  # fmt: skip
    framed(fig, "", y, height=height, dark=dark)
    fig.update_xaxes(
        tickvals=list(range(len(columns))),
        ticktext=[_short(name) for name in columns],
        tickangle=-40 if tilted else 0,
        showgrid=True,
        range=[-0.3, len(columns) - 0.7],
    )
    return fig.update_yaxes(tickformat=".0%", rangemode="tozero")


def _halo(fig: go.Figure, line: Line) -> None:
    """Behind the run in focus: the colour of a selection; the line keeps its own."""
    fig.add_scatter(
        x=list(line.x), y=list(line.y), mode="lines", line={"color": palette.faded(palette.SELECTION, 0.5), "width": 8}, showlegend=False, hoverinfo="skip"
    )


def _short(name: str, most: int = 22) -> str:
    return name if len(name) <= most else f"…{name[1 - most :]}"
