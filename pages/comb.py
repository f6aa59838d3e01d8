"""Comb: which units must leave together, drawn over the depth of the model, and why."""

from __future__ import annotations

import streamlit as st

from app import guards, state
from app.charts.architecture import architecture
from app.numbers import count, plural
from app.tables import groups_table
from app.widgets import chrome
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
    with st.container(horizontal=True):
        st.metric("Groups", len(record.groups), border=True, help=chrome.TERMS["group"])
        st.metric("Can be pruned", f"{len(prunable)} of {len(record.groups)}", border=True)
        st.metric("Units in them", f"{sum(group.width for group in prunable):,}", border=True, help=chrome.TERMS["unit"])
        st.metric("Certified", f"{proved} of {checked}" if checked else "not checked", border=True, help=chrome.TERMS["certified"])


project = guards.project()
chrome.head("Comb", "Every set of channels, heads or hidden units that must be removed together, found by following the "
            "data through the model's graph.", help=chrome.TERMS["group"])  # fmt: skip
comb = guards.comb(project)
record, cost = comb.record, comb.cost

tiles(record)

if not record.groups:
    chrome.note("No group was found", "Nothing in this model can be removed: no axis of its weights is free.", "account_tree")
    st.stop()

selected = state.chosen_group(comb)

with st.container(border=True):
    st.markdown(f"**Width over depth** · {plural(len(comb.layers), 'layer')}, {count(cost.dense.macs, 'MACs')} for one sample. "
                "Click a bar to select its group.")  # fmt: skip
    st.plotly_chart(architecture(comb.layers, comb.states, selected, dark=state.is_dark()), key=CHART, on_select=from_chart,
                    selection_mode="points", config={"displayModeBar": False},
                    alt="Output width of every layer in forward order, prunable, locked and selected layers in different colours")  # fmt: skip

left, right = st.columns([8, 5], gap="medium")
with left:
    st.subheader("Groups", help=chrome.TERMS["group"])
    table = groups_table(record, cost.shares)
    key = f"{TABLE}.{st.session_state.get(VERSION, 0)}"
    if not any(group.parent for group in record.groups):
        table = table.drop(columns="parent")
    if not any(group.blocks for group in record.groups):
        table = table.drop(columns="blocks")
    if all(group.prunable for group in record.groups):
        table = table.drop(columns="reason")
    st.dataframe(
        table,
        key=key,
        on_select=lambda: from_table(comb.names, key),
        selection_mode="single-row",
        selection_default={"selection": {"rows": [comb.names.index(selected)], "columns": []}},
        hide_index=True,
        height=chrome.table_height(len(table), 16),
        column_config={
            "group": st.column_config.TextColumn("Group", pinned=True),
            "units": st.column_config.NumberColumn("Units", help=chrome.TERMS["unit"]),
            "members": st.column_config.NumberColumn("Members", help="Modules whose weights or buffers the group cuts."),
            "macs": st.column_config.NumberColumn("MACs", format="percent", help=chrome.TERMS["share"]),
            "params": st.column_config.NumberColumn("Parameters", format="percent", help=chrome.TERMS["share"]),
            "state": "State",
            "certified": st.column_config.TextColumn("Certified", help=chrome.TERMS["certified"]),
            "reason": "Why locked",
            "parent": st.column_config.TextColumn("Part of", help="Removing a unit of that group removes this group's units in it."),
            "blocks": st.column_config.TextColumn("Blocks", help=chrome.TERMS["blocks"]),
        },
        alt="Groups of the model with their units, members, shares, certificate and state",
    )
with right:
    group_detail(record.by_name[selected], cost.shares[selected])

if record.unknown:
    with st.expander(f"{plural(len(record.unknown), 'operator')} without a rule", icon=":material/help:"):
        st.caption("The comb does not know how these operators treat what flows through them, so it locks what they touch "
                   "and goes on. The rest of the model is not affected.")  # fmt: skip
        for line in record.unknown:
            st.markdown(f"- {line}")
chrome.onward("importance")
