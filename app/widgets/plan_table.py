"""The plan as a table to type into: search, filter, ratio and hold of every group."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import pandas as pd
import streamlit as st

from app import desk as desks
from app import palette, state, typed, who
from app.charts.ratios import Ratio
from app.desk import Desk
from app.draft import Draft
from app.outlook import Knowledge
from app.widgets import chrome

FIND, SHOW = "find", "show"  # query string
ALL = "All"
SHOWS = (ALL, "Cut", "Held", "Differs", "Locked", "Selected")
COLUMNS_LOCKED = ["group", "units", "granted", "kept", "macs", "params", "latency", "curve", "alone", "reason"]


def table(desk: Desk, known: Knowledge, lines: Sequence[Ratio]) -> None:
    find, show, button = st.columns([3, 5, 2], gap="small", vertical_alignment="bottom")
    words = find.text_input("Find groups", key=FIND, type="search", bind="query-params", placeholder="part of a name, or layer3.*conv?",
                            icon=":material/search:", live=True)  # fmt: skip
    which = show.segmented_control("Show", SHOWS, default=ALL, key=SHOW, required=True, bind="query-params") or ALL
    shown = visible(lines, words or "", which, desk.draft.held, frozenset(desks.selected(desk.comb)))
    names = [line.group for line in shown]
    button.button(f"Select the {len(names)} shown", key="plan.select.shown", icon=":material/select_all:", disabled=not names, width="stretch",
                  on_click=lambda: desks.select(line.group for line in shown if line.prunable))  # fmt: skip
    if not shown:
        chrome.note("No group is like that", "Clear the search or show all groups.", "search_off")
        return
    frame = framed(shown, desk.draft, desk.comb, known)
    st.data_editor(frame, key=typed.key_for(desk.version, names), hide_index=True, disabled=who.looks_on() or [name for name in COLUMNS_LOCKED if name in frame],
                   on_change=desks.attempt, args=(desk,), placeholder="",
                   height=chrome.table_height(len(frame), 18), column_config=columns(known), alt="Plan: requested and granted ratio of every group")  # fmt: skip
    st.caption("Type, or paste a column of percentages; Ctrl+D fills a marked range down. What is typed is held until you release it.")


def visible(lines: Sequence[Ratio], words: str, which: str, held: frozenset[str], chosen: frozenset[str]) -> list[Ratio]:
    """The rows to show: every word (or pattern) must fit the name, and the row must be of the kind asked for."""
    kinds = {
        "Cut": lambda line: line.kept < line.width,
        "Held": lambda line: line.group in held,
        "Differs": lambda line: abs(line.granted - line.requested) > 1e-9,
        "Locked": lambda line: not line.prunable,
        "Selected": lambda line: line.group in chosen,
    }
    kind = kinds.get(which, lambda line: True)
    return [line for line in lines if kind(line) and all(_fits(word, line.group) for word in words.lower().split())]


def _fits(word: str, name: str) -> bool:
    return fnmatchcase(name.lower(), f"*{word}*")


def framed(lines: Sequence[Ratio], draft: Draft, comb: state.Combed, known: Knowledge) -> pd.DataFrame:
    """One row a group; columns that need a profile or a scan are there once those are."""
    shares, least = comb.cost.shares, draft.constraints.minimums
    chosen = frozenset(desks.selected(comb))
    data: dict[str, Any] = {
        "pick": [line.group in chosen for line in lines],
        "group": [line.group for line in lines],
        "units": [line.width for line in lines],
        "requested": [100 * line.requested for line in lines],
        "granted": [line.granted for line in lines],
        "kept": [line.kept for line in lines],
        "held": [line.group in draft.held for line in lines],
        "least": pd.array([least.get(line.group) for line in lines], dtype="Int64"),
        "reason": [f"locked: {line.reason}" if not line.prunable and not line.reason.startswith("locked") else line.reason for line in lines],
    }
    if known.accuracy is not None:
        data["curve"] = [known.curves.get(line.group) for line in lines]
        data["alone"] = [known.drop_alone(line.group, line.kept) for line in lines]
    data["macs"] = [100 * shares[line.group]["macs"] for line in lines]
    if known.latency is not None:
        data["latency"] = [100 * known.latency_shares[line.group] for line in lines]
    data["params"] = [100 * shares[line.group]["params"] for line in lines]
    return pd.DataFrame(data)


def columns(known: Knowledge) -> dict[str, Any]:
    made = st.column_config
    metric = known.sensitivity.metric if known.sensitivity else ""
    return {
        "pick": made.CheckboxColumn("", pinned=True, width=36, help="Select the group, as a brush over the chart does."),
        "group": made.TextColumn("Group", pinned=True),
        "units": made.NumberColumn("Units", width=60, help=chrome.TERMS["unit"]),
        "requested": made.NumberColumn("Asked for", format="%.1f %%", min_value=0.0, max_value=100.0, required=True, width=90,
                                       help="Percent of the units to cut. " + chrome.TERMS["ratio"]),
        "granted": made.ProgressColumn("Granted", format="percent", min_value=0, max_value=1, color=palette.CUT, width=110, help=chrome.TERMS["granted"]),
        "kept": made.NumberColumn("Kept", width=60, help="Units that stay."),
        "held": made.CheckboxColumn("Hold", width=60, help="Presets, the solver and the slider for all leave this row alone."),
        "least": made.NumberColumn("At least", width=88, min_value=1, step=1, format="%d",
                                   help="Fewest units that this group keeps, whoever asks for more to go. Empty: as in the rules for widths."),
        "curve": made.LineChartColumn("Sensitivity", y_min=0.0, y_max=1.0, width=110, color=palette.KEPT,
                                      help=f"Measured {metric or 'accuracy'} with this group alone cut, from its full width (left) to its narrowest (right)."),
        "alone": made.NumberColumn("Alone", format="%.1f pts", width=80, help="Estimated change of accuracy if this group alone were cut as granted."),
        "macs": made.NumberColumn("MACs", format="%.1f %%", width=80, help=chrome.TERMS["share"]),
        "latency": made.NumberColumn("Latency", format="%.1f %%", width=80, help="Estimated share of the time that hangs on the group. " + chrome.TERMS["share"]),
        "params": made.NumberColumn("Parameters", format="%.1f %%", width=90, help=chrome.TERMS["share"]),
        "reason": made.TextColumn("Why granted differs", width=180),
    }  # fmt: skip
