"""What all charts share: margins, fonts, grid, and section labels along the depth of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from app import palette
from app.layers import Section


def framed(fig: go.Figure, x: str, y: str, *, height: int = 320, dark: bool = False, legend: bool = True, **layout: Any) -> go.Figure:
    """`fig` with axis titles, tight margins and quiet grid lines. Zoom survives redraws."""
    line = palette.grid(dark)
    fig.update_layout(
        height=height,
        margin={"l": 62, "r": 8, "t": 34 if legend else 12, "b": 8},
        showlegend=legend,
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "title": None, "font": {"size": 12}},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": palette.ink(dark), "size": 12},
        hoverlabel={"align": "left"},
        uirevision="keep",
    )
    axis = {"gridcolor": line, "zerolinecolor": line, "linecolor": line, "automargin": True, "title": {"standoff": 14}}
    fig.update_xaxes(**axis, showgrid=False)
    fig.update_yaxes(**axis)
    # The first axes carry the titles; charts with more axes title those themselves.
    fig.update_layout(xaxis={"title": {"text": x}}, yaxis={"title": {"text": y}})
    return fig.update_layout(**layout) if layout else fig


def depth_axis(fig: go.Figure, parts: Sequence[Section], dark: bool) -> go.Figure:
    """Label the x axis with the parts of the model, as many as fit, and rule a hair line before each that is named."""
    shown = parts[:: max(1, round(len(parts) / 24))]
    fig.update_xaxes(
        tickvals=[(part.first + part.last) / 2 for part in shown],
        ticktext=[part.name for part in shown],
        tickangle=0 if len(parts) <= 9 else -40,
        ticks="",
        range=[-0.8, (parts[-1].last if parts else 0) + 0.8],
    )
    rules = [
        {"type": "line", "xref": "x", "yref": "paper", "x0": part.first - 0.5, "x1": part.first - 0.5, "y0": 0, "y1": 1,
         "layer": "below", "line": {"color": palette.grid(dark), "width": 1}}
        for part in shown[1:]
    ]  # fmt: skip
    return fig.update_layout(shapes=[*fig.layout.shapes, *rules])


def exporting(file: str, *, zoom: bool = False) -> dict[str, Any]:
    """Plotly's settings for a chart that can be saved as PNG, at three times the size on screen, as `file`.png."""
    buttons = [["toImage"], *([["zoom2d", "pan2d", "resetScale2d"]] if zoom else [])]
    return {
        "displayModeBar": True, "displaylogo": False, "modeBarButtons": buttons,
        "toImageButtonOptions": {"format": "png", "filename": file, "scale": 3},
    }  # fmt: skip


def empty(text: str, x: str, y: str, *, height: int = 320, dark: bool = False) -> go.Figure:
    """The same axes without data, and a sentence that says what will be here."""
    fig = framed(go.Figure(), x, y, height=height, dark=dark, legend=False)
    fig.update_xaxes(range=[0, 1], showticklabels=False)
    fig.update_yaxes(range=[0, 1], showticklabels=False)
    return fig.add_annotation(text=text, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, opacity=0.7)
