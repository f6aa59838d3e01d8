"""The model as width over depth, one bar a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from app import palette
from app.charts.frame import depth_axis, empty, framed
from app.layers import LOCKED, PRUNABLE, Layer, sections
from app.numbers import count

X, Y = "Depth (layers in forward order)", "Width (output channels)"
SELECTED = "selected group"
_COLOURS = {PRUNABLE: palette.KEPT, LOCKED: palette.LOCKED, SELECTED: palette.SELECTION}
_NAMES = {PRUNABLE: "can be pruned", LOCKED: "locked", SELECTED: SELECTED}


def architecture(
    layers: Sequence[Layer], states: Mapping[str, str], selected: str = "", *, height: int = 300, dark: bool = False
) -> go.Figure:
    """Bars of output width in forward order, coloured by what may happen to them.

    Args:
        states: PRUNABLE or LOCKED per group; a layer with any prunable group counts as prunable.
        selected: group whose layers stand out.
    Each bar's customdata is (module, operator, MACs, group to select, all groups).
    """
    if not layers:
        return empty("The picture of the model appears here.", X, Y, height=height, dark=dark)
    kinds = [_kind(layer, states, selected) for layer in layers]
    fig = go.Figure()
    bar = 0.82 if len(layers) < 120 else 1.0
    for kind in (PRUNABLE, LOCKED, SELECTED):
        at = [i for i, k in enumerate(kinds) if k == kind]
        if not at:
            continue
        fig.add_bar(
            x=at,
            y=[layers[i].width for i in at],
            width=bar,  # by itself Plotly widens the bars of a trace that has few
            name=_NAMES[kind],
            marker={"color": _COLOURS[kind], "line": {"width": 0}},
            customdata=[_data(layers[i], states) for i in at],
            hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}, width %{y}<br>%{customdata[2]}<br>"
            "group: %{customdata[4]}<extra></extra>",
            selected={"marker": {"opacity": 1}},
            unselected={"marker": {"opacity": 1}},
        )
    framed(fig, X, Y, height=height, dark=dark, barmode="overlay")
    fig.update_layout(clickmode="event+select", dragmode=False)
    return depth_axis(fig, sections([layer.module for layer in layers]), dark)


def _kind(layer: Layer, states: Mapping[str, str], selected: str) -> str:
    if selected and selected in layer.groups:
        return SELECTED
    return PRUNABLE if any(states[name] == PRUNABLE for name in layer.groups) else LOCKED


def _data(layer: Layer, states: Mapping[str, str]) -> tuple[str, str, str, str, str]:
    free = [name for name in layer.groups if states[name] == PRUNABLE]
    chosen = (free or [*layer.groups, ""])[0]
    return layer.module, layer.operator, count(layer.macs, "MACs"), chosen, ", ".join(layer.groups) or "none, nothing may go"
