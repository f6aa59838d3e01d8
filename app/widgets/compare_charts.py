"""The pictures of a comparison: quality against cost, curves over each other, and parallel coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import compare, state
from app.charts.compare import Line, overlaid, parallel, trade
from app.charts.frame import tools
from app.compare import Axis, Entry
from app.widgets import chrome
from app.widgets.compare_choice import COST, CURVE, STEPS, chosen_axis, from_chart
from cpd.measure.metrics import words

RATIOS, FIGURES = "What every group keeps", "What was measured"


def front_view(entries: Sequence[Entry], focus: Entry) -> Axis:
    """The chart with its choice of a cost, which it returns."""
    metric = words(focus.run.pruned.metric)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{metric.noun} against**", help=metric.about, width="content")
        axis = chosen_axis(compare.axes(entries))
    places, best = compare.places(entries, axis)
    # The key names what is drawn: an old selection must not come back on other runs.
    key = f"compare.front.{axis.key}.{'.'.join(each.id for each in entries)}"
    st.plotly_chart(trade(places, best, axis, metric.noun, focus.id, dark=state.is_dark()), key=key, on_select=lambda: from_chart(key),
                    selection_mode=("points", "box"), config=tools(),
                    alt=f"{metric.noun} against {axis.title} of {len(entries)} runs and the dense model, with the front")  # fmt: skip
    said = ["Click a point to look at that run everywhere on this page."]
    if any(place.y_range for place in places):
        said.append("Vertical bars are 95 % intervals" + (", horizontal ones hold eight of ten timed passes" if axis.batch else "")
                    + ("; of the dense model, the range over the runs beside which it was timed." if axis.batch and len(entries) > 1 else "."))  # fmt: skip
    if axis.key == "bytes":
        said.append("The dense model counts with its weights alone, four bytes each.")
    missing = [each.letter for each in entries if each.id not in {place.id for place in places}]
    if missing:
        said.append(f"Not measured for {', '.join(missing)}.")
    st.caption(" ".join(said))
    return axis


def curves_view(entries: Sequence[Entry], focus: Entry) -> None:
    """The metric while the runs went on, over steps or over what was left of the MACs."""
    metric = words(focus.run.pruned.metric)
    asked = st.query_params.get(CURVE) or st.session_state.get("compare.curve")
    st.session_state["compare.curve"] = asked if asked in (STEPS, COST) else STEPS

    def keep() -> None:
        st.query_params[CURVE] = st.session_state["compare.curve"] or STEPS

    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**{metric.noun} on the way**", width="content")
        by = st.segmented_control("Over", [STEPS, COST], key="compare.curve", required=True, label_visibility="collapsed", on_change=keep,
                                  format_func=lambda name: {STEPS: "over steps", COST: "over MACs left"}[name])  # fmt: skip
    take = compare.over_cost if by == COST else compare.over_steps
    lines = [Line(each.id, each.letter, each.colour, *take(each.run)) for each in entries]
    teacher = [each.run.dense.quality for each in entries if each.run.dense.quality is not None]
    key = f"compare.curves.{by}.{'.'.join(each.id for each in entries)}"
    st.plotly_chart(overlaid(lines, teacher, "Share of MACs left" if by == COST else "Optimizer step", metric.noun, focus.id, shares=by == COST, dark=state.is_dark()),
                    key=key, on_select=lambda: from_chart(key), selection_mode="points", config=tools(),
                    alt=f"{metric.noun} of every run over {'the share of MACs left' if by == COST else 'steps'}")  # fmt: skip


def parallel_view(entries: Sequence[Entry], focus: Entry) -> None:
    """All runs as lines across many axes."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown("**Side by side**", width="content", help="One line a run across all axes, each a share of the dense model.")
        show = st.segmented_control(
            "Show", [RATIOS, FIGURES], default=RATIOS, key="compare.parallel", required=True, persist_state="session", label_visibility="collapsed"
        )
    if show == FIGURES:
        columns, rows = compare.quantities(entries)
        y, said = "Share of dense", "Every quantity as a share of the dense model's, which was measured in turn with each run."
    else:
        columns, kept, apart = compare.kept_shares(entries)
        rows = [list(row) for row in kept]
        y, said = (
            "Units kept",
            f"From the input to the output; {apart} groups differ between these runs." if len(entries) > 1 else "From the input to the output.",
        )
        if len(columns) == compare.MOST_GROUPS:
            said += f" Shown are the {len(columns)} that differ most."
    lines = []
    for each, row in zip(entries, rows, strict=True):
        known = [(float(place), value) for place, value in enumerate(row) if value is not None]
        lines.append(Line(each.id, each.letter, each.colour, [place for place, _ in known], [value for _, value in known]))
    key = f"compare.parallel.{show}.{'.'.join(each.id for each in entries)}"
    st.plotly_chart(parallel(columns, lines, y, focus.id, tilted=show == RATIOS or len(columns) > 5, dark=state.is_dark()), key=key, on_select=lambda: from_chart(key),
                    selection_mode="points", config=tools(), alt=f"Parallel coordinates of the runs: {y}")  # fmt: skip
    st.caption(said, help=chrome.TERMS["group"])
