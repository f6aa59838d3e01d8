"""A run's story on screen: five steps with large numbers, and no control that changes anything."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import palette
from app.plain import plain
from cpd.report.story import Number, Step, Story

_TONES = {"gain": "green", "loss": "orange", "plain": ""}


# Nothing but the story: Streamlit's own menu and header would be the only controls left.
_ALONE = """<style>
[data-testid="stHeader"] { display: none; }
[data-testid="stMainBlockContainer"] { max-width: 1080px; padding-top: 2rem; }
@media print { [data-testid="stVerticalBlock"] { break-inside: avoid; } }
</style>"""


def alone() -> None:
    """Leave out whatever surrounds the story, and keep its lines short enough to read."""
    st.html(_ALONE)


def story(told: Story, dark: bool) -> None:
    """All steps, one under another."""
    for number, step in enumerate(told.steps, 1):
        with st.container(border=True, key=f"told.{number}"):
            _step(number, step, dark)


def _step(number: int, step: Step, dark: bool) -> None:
    st.caption(f"{number} · {plain(step.title)}")
    st.header(plain(step.headline), anchor=False)
    if step.numbers:
        with st.grid(min(5, max(2, len(step.numbers))), gap="small", min_column_width=165):
            for each in step.numbers:
                _number(each)
    for line in step.text:
        st.markdown(plain(line))
    if step.chart is not None:
        st.plotly_chart(on_screen(step.chart, dark), key=f"told.chart.{number}", config={"displayModeBar": False}, alt=step.caption or step.title)
        if step.caption:
            st.caption(plain(step.caption))


def _number(number: Number) -> None:
    """A tile; what it means for the reader is in its colour and its words both."""
    colour = _TONES[number.tone]
    with st.container(border=True, height="stretch", gap="xxsmall"):
        st.caption(plain(number.label), help=plain(number.how) or None)
        value = plain(number.value)
        st.title(f":{colour}[{value}]" if colour else value, anchor=False)
        if number.about:
            st.caption(plain(number.about))


def on_screen(chart: dict[str, Any], dark: bool) -> dict[str, Any]:
    """A report's chart, which is drawn for light paper, with the text and the grid of the viewer's theme."""
    if not dark:
        return chart
    ink, grid = palette.ink(True), palette.grid(True)
    layout = {**chart["layout"], "font": {**chart["layout"]["font"], "color": ink}}
    for axis in ("xaxis", "yaxis", "yaxis2"):
        if axis in layout:
            layout[axis] = {**layout[axis], "gridcolor": grid, "zerolinecolor": grid, "linecolor": grid}
    return {"data": [_recoloured(trace, ink) for trace in chart["data"]], "layout": layout}


def _recoloured(trace: dict[str, Any], ink: str) -> dict[str, Any]:
    """The teacher's line takes the text colour."""
    if trace.get("line", {}).get("color") == palette.ink(False):
        return {**trace, "line": {**trace["line"], "color": ink}}
    return trace
