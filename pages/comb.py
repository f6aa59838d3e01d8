"""Comb: which units must leave together, drawn over the depth of the model, and why."""

from __future__ import annotations

import streamlit as st

from app import guards, state
from app.charts.architecture import architecture
from app.charts.architecture_svg import architecture_svg
from app.charts.frame import tools
from app.numbers import count, plural
from app.tables import groups_table
from app.widgets import chrome
from app.widgets.doctor import doctor_button, doctor_panel, doctors_words
from app.widgets.group_detail import group_detail
from cpd.comb.record import CombRecord

CHART, TABLE, VERSION = "comb.chart", "comb.table", "comb.table.version"


def choose(name: str) -> None:
    """Make `name` the group that is looked at; the table gets a new key, since its own selection would be stale."""
    state.choose_group(name)
    st.session_state[VERSION] = st.session_state.get(VERSION, 0) + 1


def from_chart() -> None:
    picked = st.session_state[CHART].selection.points
    data = picked[0].get("customdata") if picked else None
    # A redrawn figure forgets its selection and reports that too: an empty selection keeps the group.
    if data and data[3]:
        choose(data[3])


def from_table(names: list[str], key: str) -> None:
    rows = st.session_state[key].selection.rows
    if rows:
        state.choose_group(names[rows[0]])


def tiles(record: CombRecord) -> None:
    prunable = [group for group in record.groups if group.prunable]
    proved = sum(group.certified is True for group in record.groups)
    checked = sum(group.certified is not None for group in record.groups)
    with st.grid(4, gap="small", min_column_width=150):
        st.metric("Groups", len(record.groups), border=True, help=chrome.TERMS["group"])
        st.metric("Can be pruned", f"{len(prunable)} of {len(record.groups)}", border=True)
        st.metric("Units in them", f"{sum(group.width for group in prunable):,}", border=True, help=chrome.TERMS["unit"])
        st.metric("Certified", f"{proved} of {checked}" if checked else "not checked", border=True, help=chrome.TERMS["certified"])


chrome.head("Comb", "Every set of channels, heads or hidden units that must be removed together, found by following the "
            "data through the model's graph.", help=chrome.TERMS["group"])  # fmt: skip
project = guards.project()
comb = guards.comb(project)
record, cost = comb.record, comb.cost
found = state.doctor(project, comb)
plan = state.plan(project, comb)

tiles(record)

if not record.groups:
    chrome.note("No group was found", "Nothing in this model can be removed: no axis of its weights is free.", "account_tree")
    st.stop()

if plan is not None:
    stale = [row.group for row in plan.groups if row.granted and not record.by_name[row.group].prunable]
    if stale:
        st.warning(f"The plan still cuts {stale[0]}{f' and {len(stale) - 1} more' if stale[1:] else ''}, which may not be cut. "
                   "Any edit on the Plan screen puts that right.", icon=":material/warning:")  # fmt: skip
    if not any(row.granted for row in plan.groups):
        plan = None

selected = state.chosen_group(comb)
kept = None if plan is None else comb.widths(plan)
file = f"{project.name}-architecture"

with st.container(border=True):
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        after = f", {count(cost.price(plan.keep).macs, 'MACs')} after the plan" if plan else ""
        st.markdown(width="content", body=f"**Width over depth** · {plural(len(comb.layers), 'layer')}, {count(cost.dense.macs, 'MACs')} for one sample{after}. "
                    "Click a bar to select its group.")  # fmt: skip
        svg = architecture_svg(comb.layers, comb.states, selected, kept, title=f"{project.name} ({project.model})")
        st.download_button("SVG for print", svg, f"{file}.svg", "image/svg+xml", icon=":material/download:", key="comb.svg", type="tertiary",
                           on_click="ignore", help="The picture as vectors, with a title and a legend, on white.")  # fmt: skip
    st.plotly_chart(architecture(comb.layers, comb.states, selected, kept, dark=state.is_dark()), key=CHART, on_select=from_chart,
                    selection_mode="points", config=tools(zoom=len(comb.layers) >= 120),
                    alt="Output width of every layer in forward order, prunable, locked and selected layers in different colours")  # fmt: skip

doctor_panel(project, found, choose)

left, right = st.columns([9, 5], gap="medium")
with left:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Groups", help=chrome.TERMS["group"])
        doctor_button(project, found)
    table = groups_table(record, cost.shares, doctors_words(found) if found else None)
    names = list(table["group"])
    key = f"{TABLE}.{st.session_state.get(VERSION, 0)}"
    empty = [column for column in ("blocks", "tied", "doctor", "reason") if not table[column].astype(bool).any()]
    st.dataframe(
        table.drop(columns=["group", *empty]).assign(macs=100 * table["macs"], params=100 * table["params"]),
        key=key,
        on_select=lambda: from_table(names, key),
        selection_mode="single-row",
        selection_default={"selection": {"rows": [names.index(selected)], "columns": []}},
        hide_index=True,
        height=chrome.table_height(len(table), 16),
        column_config={
            "name": st.column_config.TextColumn("Group", pinned=True, width=176,
                                                help="Indented groups are part of the one above: removing a head removes its channels."),
            "units": st.column_config.NumberColumn("Units", help=chrome.TERMS["unit"]),
            "blocks": st.column_config.TextColumn("Blocks", help=chrome.TERMS["blocks"]),
            "tied": st.column_config.TextColumn("Tied to", width=96, help=chrome.TERMS["tied"]),
            "members": st.column_config.NumberColumn("Members", help="Modules whose weights or buffers the group cuts."),
            "macs": st.column_config.NumberColumn("MACs", format="%.1f %%", help=chrome.TERMS["share"]),
            "params": st.column_config.NumberColumn("Parameters", format="%.1f %%", help=chrome.TERMS["share"]),
            "state": "State",
            "certified": st.column_config.TextColumn("Certified", help=chrome.TERMS["certified"]),
            "doctor": st.column_config.TextColumn("Doctor", help=chrome.TERMS["doctor"]),
            "reason": "Why locked",
        },
        alt="Groups of the model with their units, members, shares, certificate and state",
    )  # fmt: skip
with right:
    children = [group.name for group in record.groups if group.parent == selected]
    examined = next((row for row in found.rows if row.group == selected), None) if found else None
    group_detail(record.by_name[selected], cost.shares[selected], children, examined, choose)

if record.unknown:
    with st.expander(f"{plural(len(record.unknown), 'operator')} without a rule", icon=":material/help:"):
        st.caption("The comb does not know how these operators treat what flows through them, so it locks what they touch "
                   "and goes on. The rest of the model is not affected.")  # fmt: skip
        for line in record.unknown:
            st.markdown(f"- {line}")
chrome.onward("importance")
