"""The chart of ratios, brushed to select groups, and what can be done with the selection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from app import desk as desks
from app import state
from app import who as viewer
from app.charts.ratios import Ratio, ratio_by_depth
from app.desk import Desk
from app.numbers import plural
from app.typed import named
from app.widgets import chrome
from app.widgets.head_start import drawn_first

CHART = "plan.chart"
MOST_NAMED = 12


def selecting(desk: Desk, lines: Sequence[Ratio]) -> None:
    """The chart above the bar, which is drawn first: it says what was selected, and is there long before the chart."""
    with st.container(border=True):
        chart = st.container()
        selection_bar(desk)
        drawn_first("plan.shown_selection", desks.selected(desk.comb))
        with chart:
            brushed_chart(desk, lines)


def brushed_chart(desk: Desk, lines: Sequence[Ratio]) -> None:
    """Drag a box or a lasso over groups."""
    fig = ratio_by_depth(lines, desks.selected(desk.comb), desk.draft.held, dark=state.is_dark())
    buttons = [["select2d", "lasso2d", "zoom2d", "resetScale2d"]]
    st.plotly_chart(fig, key=CHART, on_select=lambda: _brushed(desk), selection_mode=("points", "box", "lasso"),
                    config={"displayModeBar": True, "displaylogo": False, "modeBarButtons": buttons, "doubleClick": False},
                    alt="Granted pruning ratio of every group over depth, with the requested ratio where it differs")  # fmt: skip


def _brushed(desk: Desk) -> None:
    """A drawn selection becomes the selection. An empty one says nothing: the chart also sends it when it is redrawn."""
    names = touched(st.session_state[CHART])
    free = [name for name in names if name in desk.comb.record.by_name and desk.comb.record.by_name[name].prunable]
    if free:
        desks.select(free)


def touched(event: Any) -> list[str]:
    """Names of the groups in a chart's selection, each once."""
    found = []
    for point in event.get("selection", {}).get("points", []):
        data = point.get("customdata")
        name = data[0] if isinstance(data, (list, tuple)) and data else data.get("0") if isinstance(data, dict) else None
        if isinstance(name, str):
            found.append(name)
    return list(dict.fromkeys(found))


def selection_bar(desk: Desk) -> None:
    """One ratio, a factor, hold, release, reset: for the selection, or for all that is free where nothing is selected."""
    chosen = desks.selected(desk.comb)
    draft, record = desk.draft, desk.comb.record
    free = chosen or [g.name for g in record.groups if g.prunable and g.name not in draft.held]
    mean = 100 * sum(draft.ratios.get(name, 0.0) for name in free) / len(free) if free else 0.0
    st.session_state["plan.ratio"] = round(mean)
    who = f"{plural(len(chosen), 'selected group')}" if chosen else f"all {plural(len(free), 'group')} that are not held"
    left, middle, right = st.columns([8, 3, 12], gap="medium", vertical_alignment="bottom")
    left.slider(f"Ratio of {who}", 0, 100, key="plan.ratio", format="%d %%", on_change=lambda: _set(desk, chosen), disabled=not free or viewer.looks_on(),
                help="It rests at their mean. A ratio given to a selection is held from then on: presets, the solver and this slider for all leave it alone.")  # fmt: skip
    middle.number_input("Factor, %", 0, 400, 90, 5, key="plan.factor", persist_state="session", help="*Scale* multiplies the ratios of the selection by this.")
    with right.container(horizontal=True, gap="xsmall"):
        none = not chosen
        st.button("Scale", key="plan.scale", disabled=none or viewer.looks_on(), on_click=lambda: _scale(desk, chosen))
        st.button("Hold", key="plan.hold", disabled=none or viewer.looks_on(), on_click=lambda: _hold(desk, chosen, True))
        st.button("Release", key="plan.release", disabled=none or viewer.looks_on(), on_click=lambda: _hold(desk, chosen, False))
        st.button("Reset", key="plan.reset", disabled=none or viewer.looks_on(), on_click=lambda: _reset(desk, chosen),
                  help="Nothing asked for and nothing held.")  # fmt: skip
        st.button("Clear", key="plan.clear", type="tertiary", disabled=none, on_click=lambda: desks.select(()), help="Select nothing.")
    if chosen:
        more = f" and {len(chosen) - MOST_NAMED} more" if len(chosen) > MOST_NAMED else ""
        st.caption(f":material/select_all: {', '.join(chosen[:MOST_NAMED])}{more}")
    else:
        st.caption(f"Drag across the chart to select groups, or tick them in the table. {chrome.TERMS['ratio']}")


def _set(desk: Desk, chosen: list[str]) -> None:
    ratio = st.session_state["plan.ratio"] / 100
    if chosen:
        desks.attempt(desk, lambda: desk.apply(desk.draft.put(desk.comb.record, chosen, ratio), f"{named(chosen)} set to {ratio:.0%}"))
    else:
        desks.attempt(desk, lambda: desk.apply(desk.draft.uniform(desk.comb.record, ratio), f"all that is free set to {ratio:.0%}"))


def _scale(desk: Desk, chosen: list[str]) -> None:
    factor = st.session_state["plan.factor"] / 100
    desks.attempt(desk, lambda: desk.apply(desk.draft.scaled(desk.comb.record, chosen, factor), f"{named(chosen)} scaled by {factor:.0%}"))


def _hold(desk: Desk, chosen: list[str], on: bool) -> None:
    desks.attempt(desk, lambda: desk.apply(desk.draft.hold(desk.comb.record, chosen, on), f"{named(chosen)} {'held' if on else 'released'}"))


def _reset(desk: Desk, chosen: list[str]) -> None:
    desks.attempt(desk, lambda: desk.apply(desk.draft.reset(chosen), f"{named(chosen)} reset"))
