"""What a sensitivity scan found so far: curves, a map of all groups, a ranking, and one group's latency stairs."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app import sense, state
from app.charts.sensitivity import DROP, GAIN, accuracy_curves, latency_curves, latency_stairs, sensitivity_map
from app.numbers import DASH, count, duration, milliseconds, percent, plural
from app.widgets import chrome
from cpd.importance.registry import CRITERIA
from cpd.measure.metrics import words
from cpd.runs.project import Project
from cpd.sensitivity.table import GroupSensitivity, SensitivityTable

VERSION, WITHIN = "sense.version", "sense.within"
PLAIN = {"displayModeBar": False}


def choose(name: str) -> None:
    """Look at another group, everywhere; the table gets a new key, since its own selection would be stale."""
    state.choose_group(name)
    st.session_state[VERSION] = st.session_state.get(VERSION, 0) + 1


def from_chart(key: str) -> None:
    picked = st.session_state[key].selection.points
    data = picked[0].get("customdata") if picked else None
    if data:  # a redrawn figure reports an empty selection, which keeps the group
        choose(str(data[0]))


def from_table(names: list[str], key: str) -> None:
    rows = st.session_state[key].selection.rows
    if rows:
        state.choose_group(names[rows[0]])


def findings(project: Project, comb: state.Combed, table: SensitivityTable) -> None:
    """Tiles, curves, map, ranking and stairs of what has been measured so far."""
    dark = state.is_dark()
    metric = words(table.metric)
    widths = sense.widths_of(comb.record)
    plan = state.plan(project, comb)
    cuts = {} if plan is None else {name: 1 - len(plan.keep[name]) / width for name, width in widths.items() if name in plan.keep}
    selected = state.chosen_group(comb)

    pick, within = st.columns([4, 2], gap="medium", vertical_alignment="bottom")
    st.session_state["sense.group"] = selected
    pick.selectbox("Group", comb.names, key="sense.group", help=chrome.TERMS["group"], on_change=lambda: choose(st.session_state["sense.group"]))
    allowed = within.number_input(f"Points of {metric.short} to give up", 0.0, 100.0, 1.0, 0.5, key=WITHIN, format="%g", persist_state="session",
                                  help="The ranking below says how far every group can be cut alone for this much.") / 100  # fmt: skip
    rows = sense.ranked(table, comb.record, allowed, comb.cost.dense.macs)
    tiles(table, rows, len(widths), allowed)
    group = table.groups.get(selected)

    left, right = st.columns(2, gap="medium")
    with left.container(border=True, height="stretch"):
        st.markdown(f"**{metric.noun} against ratio** · {selected}")
        st.plotly_chart(accuracy_curves(table, widths, selected, cuts.get(selected), metric.noun, dark=dark), key="sense.accuracy", config=PLAIN,
                        on_select=lambda: from_chart("sense.accuracy"), selection_mode="points",
                        alt=f"{metric.noun} against pruning ratio, {selected} with its 90 % band, all other groups faint")  # fmt: skip
        st.caption(_about(selected, group, comb))
    with right.container(border=True, height="stretch"):
        st.markdown(f"**Latency against ratio** · {selected}")
        st.plotly_chart(latency_curves(table, widths, selected, cuts.get(selected), dark=dark), key="sense.latency", config=PLAIN,
                        on_select=lambda: from_chart("sense.latency"), selection_mode="points",
                        alt=f"Latency against pruning ratio, {selected} prominent, all other groups faint")  # fmt: skip
        st.caption("Of the whole network with this one group cut, measured. Click a point of another group to look at that group.")

    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown("**All groups** · first group on top; click a cell to look at its group", width="content")
            show = st.segmented_control("Show", [DROP, GAIN], default=DROP, key="sense.show", required=True, persist_state="session", label_visibility="collapsed",
                                        format_func=lambda name: f"{metric.noun} lost" if name == DROP else "Latency gained")  # fmt: skip
        st.plotly_chart(sensitivity_map(table, widths, show or DROP, cuts, selected, dark=dark), key="sense.map", config=PLAIN,
                        on_select=lambda: from_chart("sense.map"), selection_mode="points",
                        alt=f"Groups by pruning ratio, coloured by {metric.noun} lost or latency gained, with the plan's cuts")  # fmt: skip
        st.caption("Blank: not measured, because the group had fallen below the floor, or its turn is still to come.")

    ranking(table, rows, selected, metric.short)
    with st.container(border=True):
        st.markdown(f"**Where a step in width buys time** · {selected}")
        left, right = st.columns([3, 2], gap="medium", vertical_alignment="center")
        points = group.points if group else ()
        kept = None if plan is None else len(plan.keep[selected]) if selected in plan.keep else None
        left.plotly_chart(latency_stairs(points, widths.get(selected, 1), table.batch, kept, height=280, dark=dark), key="sense.stairs", config=PLAIN,
                          alt=f"Latency of {selected} by units kept; steps that buy time in green, those that buy nothing in grey")  # fmt: skip
        lines = sense.stairs_in_words(points)
        right.markdown("\n".join(f"- {line}" for line in lines) or "No step has been timed yet.")
    st.caption(conditions(table))


def tiles(table: SensitivityTable, rows: list[sense.Reach], groups: int, allowed: float) -> None:
    metric = words(table.metric)
    far = sum(row.ratio >= 0.5 for row in rows)
    fragile = sum(row.ratio == 0 for row in rows)
    look: dict[str, Any] = {"border": True, "height": "stretch", "delta_color": "off", "delta_arrow": "off"}
    with st.grid(5, gap="small", min_column_width=150):
        st.metric("Groups measured", f"{len(rows)} of {groups}", "done" if table.done else "so far", help=chrome.TERMS["group"], **look)
        st.metric(f"{metric.title}, dense", percent(table.dense, 2), f"{percent(table.dense_low)} to {percent(table.dense_high)}", **look,
                  help=f"{metric.about} With a 90 % interval for images of this kind."
                  + (" Batch-norm statistics were taken anew, as for every cut." if table.calibration else ""))  # fmt: skip
        st.metric("Latency, dense", milliseconds(table.dense_latency_ms), f"batch {table.batch}", help=chrome.TERMS["latency"], **look)
        st.metric("Robust groups", f"{far} of {len(rows)}", f"half gone for ≤ {100 * allowed:g} pts", **look,
                  help="Each cut alone. Cuts of several groups add up, and mostly to more than their sum.")  # fmt: skip
        st.metric("Fragile groups", f"{fragile} of {len(rows)}", "not even the first step fits", **look)


def ranking(table: SensitivityTable, rows: list[sense.Reach], selected: str, short: str) -> None:
    """The most robust first; a row selects its group."""
    st.markdown("**How far each group can go alone** · most robust first; click a row to look at its group")
    names = [row.group for row in rows]
    frame = pd.DataFrame(
        [
            {
                "group": row.group,
                "reach": row.ratio,
                "keeps": f"{row.kept} of {row.width}",
                "drop": -100 * row.drop,
                "sure": "yes" if row.sure else "not yet",
                "ms": None if row.saved_ms is None else 100 * row.saved_ms,
                "macs": None if row.saved_macs is None else 100 * row.saved_macs,
                "curve": [100 * point.value for point in table.groups[row.group].points],
                "ended": table.groups[row.group].stopped,
            }
            for row in rows
        ],
        columns=["group", "reach", "keeps", "drop", "sure", "ms", "macs", "curve", "ended"],
    )
    key = f"sense.table.{st.session_state.get(VERSION, 0)}.{hash(tuple(names))}"
    st.dataframe(
        frame.drop(columns=[name for name in ("ms", "ended") if not frame[name].any()]), key=key, hide_index=True, height=chrome.table_height(len(frame), 11),
        on_select=lambda: from_table(names, key), selection_mode="single-row", placeholder=DASH,
        selection_default={"selection": {"rows": [names.index(selected)] if selected in names else [], "columns": []}},
        column_config={
            "group": st.column_config.TextColumn("Group", pinned=True),
            "reach": st.column_config.ProgressColumn("Can go", min_value=0, max_value=1, format="percent", help="The deepest measured cut within the limit, "
                                                     "with no measured cut above the limit on the way."),
            "keeps": st.column_config.TextColumn("Keeps"),
            "drop": st.column_config.NumberColumn(f"{short}, points", format="%+.2f", help="Change at that cut."),
            "sure": st.column_config.TextColumn("Certain", help="Whether the loss stays within the limit at the far end of its 90 % interval too. "
                                                "More images make it certain."),
            "ms": st.column_config.NumberColumn("Time saved", format="%.1f %%", help="Of the whole network's latency, measured at that cut."),
            "macs": st.column_config.NumberColumn("MACs saved", format="%.1f %%", help=chrome.TERMS["macs"]),
            "curve": st.column_config.LineChartColumn("Curve", y_min=0, y_max=100, help="The metric from dense to the deepest cut measured."),
            "ended": st.column_config.TextColumn("Ended because"),
        },
        alt="Groups from the most robust to the most fragile, with how far each can be cut alone",
    )  # fmt: skip


def _about(selected: str, group: GroupSensitivity | None, comb: state.Combed) -> str:
    """Why there is no curve, or what the band is, or why the curve ends."""
    record = comb.record.by_name[selected]
    if group is None:
        return f"{selected} is locked: {record.reason}" if not record.prunable else "This group has not been measured yet."
    tied = f" {', '.join(group.tied)} must keep as many units and went along." if group.tied else ""
    ended = f" It ends there: {group.stopped}." if group.stopped else ""
    return f"The band is the 90 % interval of the change against dense, on the same images.{tied}{ended}"


def conditions(table: SensitivityTable) -> str:
    """How it was measured, in a line."""
    parts = [
        f"up to {count(table.images)} held-out images",
        f"batch-norm statistics from {count(table.calibration)} training images" if table.calibration else "no batch norm to re-estimate",
        f"units chosen by {CRITERIA[table.criterion].title if table.criterion in CRITERIA else table.criterion}" if table.criterion else "",
        table.device,
        plural(table.threads, "thread") if table.threads else "",
        f"{duration(table.seconds)} so far" if not table.done else f"took {duration(table.seconds)}",
        f"dense as it came: {percent(table.untouched, 2)}" if table.untouched is not None else "",
    ]
    return " · ".join(part for part in parts if part) or DASH
