"""What all charts share: margins, fonts, grid, and section labels along the depth of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from app import palette
from app.layers import Section


def framed(fig: go.Figure, x: str, y: str, *, height: int = 320, dark: bool = False, legend: bool = True, **layout: Any) -> go.Figure:
    """`fig`, which has no axes yet, with axis titles, tight margins and quiet grid lines. Zoom survives redraws."""
    # Each part whole: an update would walk through all that the figure has, which takes longer than all the rest of it.
    for name, value in (frame(x, y, height=height, dark=dark, legend=legend) | layout).items():
        fig.layout[name] = value
    return fig


def frame(x: str, y: str, *, height: int = 320, dark: bool = False, legend: bool = True) -> dict[str, Any]:
    """The same as a plain layout with one pair of axes, for charts that are drawn so often that updating a figure
    piece by piece would be felt."""
    line = palette.grid(dark)
    axis = {"gridcolor": line, "zerolinecolor": line, "linecolor": line, "automargin": True}
    return {
        "height": height,
        "margin": {"l": 62, "r": 8, "t": 34 if legend else 28, "b": 8},
        "showlegend": legend,
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "title": None, "font": {"size": 12}},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": palette.ink(dark), "size": 12},
        "hoverlabel": {"align": "left"},
        "uirevision": "keep",
        "xaxis": axis | {"showgrid": False, "title": {"text": x, "standoff": 14}},
        "yaxis": axis | {"title": {"text": y, "standoff": 14}},
    }


def depth_axis(fig: go.Figure, parts: Sequence[Section], dark: bool) -> go.Figure:
    """Label the x axis with the parts of the model, as many as fit, and rule a hair line before each that is named."""
    axis, rules = depth(parts, dark)
    fig.update_xaxes(**axis)
    return fig.update_layout(shapes=[*fig.layout.shapes, *rules])


def depth(parts: Sequence[Section], dark: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What `depth_axis` adds, as a plain x axis and plain shapes."""
    shown = parts[:: max(1, round(len(parts) / 24))]
    axis = {
        "tickvals": [(part.first + part.last) / 2 for part in shown],
        "ticktext": [part.name for part in shown],
        **({} if len(parts) <= 9 else {"tickangle": -40}),  # few stay upright, unless the window is narrow
        "ticks": "",
        "range": [-0.8, (parts[-1].last if parts else 0) + 0.8],
    }
    rules = [
        {"type": "line", "xref": "x", "yref": "paper", "x0": part.first - 0.5, "x1": part.first - 0.5, "y0": 0, "y1": 1,
         "layer": "below", "line": {"color": palette.grid(dark), "width": 1}}
        for part in shown[1:]
    ]  # fmt: skip
    return axis, rules


def tools(*, zoom: bool = False) -> dict[str, Any]:
    """Plotly's settings for a chart: its own buttons where it has to be zoomed, otherwise none. Saving is every chart's."""
    return {"displayModeBar": zoom, "displaylogo": False, "modeBarButtons": [["zoom2d", "pan2d", "resetScale2d"]]}


def empty(text: str, x: str, y: str, *, height: int = 320, dark: bool = False) -> go.Figure:
    """The same axes without data, and a sentence that says what will be here."""
    fig = framed(go.Figure(), x, y, height=height, dark=dark, legend=False)
    fig.update_xaxes(range=[0, 1], showticklabels=False)
    fig.update_yaxes(range=[0, 1], showticklabels=False)
    return fig.add_annotation(text=text, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, opacity=0.7)
