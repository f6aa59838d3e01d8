"""The model as width over depth, one bar a layer: what may be cut, what is locked, and what the plan cuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from app import palette
from app.charts.frame import depth_axis, empty, framed
from app.layers import LOCKED, PRUNABLE, Layer, Section, sections
from app.numbers import count

X, Y = "Depth (layers in forward order)", "Width (output channels)"
SELECTED, GONE = "selected group", "cut by the plan"
CUT_STRENGTH = 0.5  # of the colour of what the plan cuts: still there, and on its way out
COLOURS = {PRUNABLE: palette.KEPT, LOCKED: palette.LOCKED, SELECTED: palette.SELECTION}
NAMES = {PRUNABLE: "can be pruned", LOCKED: "locked", SELECTED: SELECTED}
_MANY = 120  # layers from which bars touch, and zooming helps


@dataclass(frozen=True)
class Bar:
    """One layer as it is drawn: `kept` of `layer.width` channels stay."""

    at: int
    layer: Layer
    kind: str  # PRUNABLE, LOCKED or SELECTED
    kept: int


def bars(layers: Sequence[Layer], states: Mapping[str, str], selected: str = "", kept: Sequence[int] | None = None) -> list[Bar]:
    """What is drawn of every layer, in forward order; see `architecture`."""
    after = [layer.width for layer in layers] if kept is None else kept
    return [Bar(i, layer, _kind(layer, states, selected), width) for i, (layer, width) in enumerate(zip(layers, after, strict=True))]


def architecture(
    layers: Sequence[Layer],
    states: Mapping[str, str],
    selected: str = "",
    kept: Sequence[int] | None = None,
    *,
    height: int = 320,
    dark: bool = False,
) -> go.Figure:
    """Bars of output width in forward order, coloured by what may happen to them.

    Args:
        states: PRUNABLE or LOCKED per group; a layer with any prunable group counts as prunable.
        selected: group whose layers stand out.
        kept: channels of every layer that the plan leaves; the rest is drawn on top in the colour of what is cut.
    Each bar's customdata is (module, operator, MACs, group to select, all groups, width in words).
    """
    if not layers:
        return empty("The picture of the model appears here.", X, Y, height=height, dark=dark)
    drawn = bars(layers, states, selected, kept)
    fig = go.Figure()
    wide = 0.82 if len(layers) < _MANY else 1.0
    for kind in (PRUNABLE, LOCKED, SELECTED):
        _bars(fig, [bar for bar in drawn if bar.kind == kind], states, NAMES[kind], COLOURS[kind], wide)
    cut = [bar for bar in drawn if bar.kept < bar.layer.width]
    _bars(fig, cut, states, GONE, palette.on_paper(palette.CUT, CUT_STRENGTH, dark), wide, gone=True)
    marked = [bar for bar in drawn if bar.kind == SELECTED]
    top = max(bar.layer.width for bar in drawn)
    if marked:  # a bar of three pixels is found by what points at it
        fig.add_scatter(
            x=[bar.at for bar in marked], y=[bar.layer.width + 0.035 * top for bar in marked], mode="markers", hoverinfo="skip", showlegend=False,
            marker={"symbol": "triangle-down", "size": 9, "color": palette.SELECTION},
        )  # fmt: skip
    framed(fig, X, Y, height=height, dark=dark, barmode="overlay")
    fig.update_layout(clickmode="event+select", dragmode="zoom" if len(layers) >= _MANY else False)
    fig.update_layout(paper_bgcolor=palette.paper(dark))  # an exported picture must not depend on what is behind it
    fig.update_yaxes(fixedrange=True, range=[0, 1.1 * top])
    return depth_axis(fig, parts(layers), dark)


def parts(layers: Sequence[Layer]) -> list[Section]:
    """Sections of the depth axis: of a very deep model more than fit, the axis names every other one then."""
    return sections([layer.module for layer in layers], most=max(18, len(layers) // 4))


def _bars(fig: go.Figure, drawn: Sequence[Bar], states: Mapping[str, str], name: str, colour: str, wide: float, gone: bool = False) -> None:
    if not drawn:
        return
    fig.add_bar(
        x=[bar.at for bar in drawn],
        y=[bar.layer.width - bar.kept if gone else bar.kept for bar in drawn],
        base=[bar.kept if gone else 0 for bar in drawn],
        width=wide,  # by itself Plotly widens the bars of a trace that has few
        name=name,
        marker={"color": colour, "line": {"width": 0}},
        customdata=[_data(bar, states) for bar in drawn],
        meta={"series": "state", "x": "", "y": "channels", "customdata": ["layer", "operator", "MACs", "", "groups", "width"]},
        hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}, width %{customdata[5]}<br>%{customdata[2]}<br>"
        "group: %{customdata[4]}<extra></extra>",
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )


def _kind(layer: Layer, states: Mapping[str, str], selected: str) -> str:
    if selected and selected in layer.groups:
        return SELECTED
    return PRUNABLE if any(states[name] == PRUNABLE for name in layer.groups) else LOCKED


def _data(bar: Bar, states: Mapping[str, str]) -> tuple[str, str, str, str, str, str]:
    layer = bar.layer
    free = [name for name in layer.groups if states[name] == PRUNABLE]
    chosen = (free or [*layer.groups, ""])[0]
    width = f"{layer.width:,}" if bar.kept == layer.width else f"{layer.width:,} → {bar.kept:,}"
    return layer.module, layer.operator, count(layer.macs, "MACs"), chosen, "<br>".join(layer.groups) or "none, nothing may go", width
