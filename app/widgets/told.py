"""A run's story on screen: five steps with large numbers, and no control that changes anything."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import palette
from cpd.report.story import Number, Step, Story

_TONES = {"gain": "green", "loss": "orange", "plain": ""}


def story(told: Story, dark: bool) -> None:
    """All steps, one under another."""
    for number, step in enumerate(told.steps, 1):
        with st.container(border=True, key=f"told.{number}"):
            _step(number, step, dark)


def _step(number: int, step: Step, dark: bool) -> None:
    st.caption(f"{number} · {step.title}")
    st.subheader(step.headline, anchor=False)
    if step.numbers:
        with st.grid(min(4, max(2, len(step.numbers))), gap="small", min_column_width=180):
            for each in step.numbers:
                _number(each)
    for line in step.text:
        st.markdown(line)
    if step.chart is not None:
        st.plotly_chart(on_screen(step.chart, dark), key=f"told.chart.{number}", config={"displayModeBar": False}, alt=step.caption or step.title)
        if step.caption:
            st.caption(step.caption)


def _number(number: Number) -> None:
    """A tile; what it means for the reader is in its colour and its words both."""
    colour = _TONES[number.tone]
    with st.container(border=True, height="stretch", gap="xxsmall"):
        st.caption(number.label, help=number.how or None)
        value = number.value.replace("$", "\\$")
        st.markdown(f"### :{colour}[{value}]" if colour else f"### {value}")
        if number.about:
            st.caption(number.about)


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
