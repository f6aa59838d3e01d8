"""Two plans apart: branches or steps of the open one, what they cost, and where they differ."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import streamlit as st

from app import state
from app.charts.plan_diff import plan_difference
from app.desk import Desk
from app.draft import Draft
from app.history import Branch
from app.numbers import DASH, count, milliseconds, percent, plural, points
from app.outlook import Knowledge, Outlook
from app.widgets import chrome
from app.widgets.measured import change as relative
from cpd.prune.compare import changes
from cpd.prune.estimate import Estimate

MOST_STEPS = 60


def compare(desk: Desk, known: Knowledge) -> None:
    choices = candidates(desk.branches())
    names = list(choices)
    if st.session_state.get("plan.compare.first") not in choices:
        st.session_state["plan.compare.first"] = names[min(1, len(names) - 1)]
    if st.session_state.get("plan.compare.second") not in choices:
        st.session_state["plan.compare.second"] = names[0]
    left, right = st.columns(2, gap="medium")
    a = left.selectbox("First", names, key="plan.compare.first", persist_state="session")
    b = right.selectbox("Second", names, key="plan.compare.second", persist_state="session")
    drafts = choices[a], choices[b]
    plans = [desk.plan(draft) for draft in drafts]
    looks = [known.of(plan) for plan in plans]
    st.dataframe(figures(looks[0], looks[1]), hide_index=True, alt="Figures of both plans")
    for line in choices_apart(*drafts):
        st.caption(line)
    granted = [{row.group: row.granted for row in plan.groups} for plan in plans]
    st.plotly_chart(plan_difference(desk.comb.names, granted[0], granted[1], dark=state.is_dark()), key="plan.compare.chart", config={"displayModeBar": False},
                    alt="Granted ratio of the second plan minus the first, group by group")  # fmt: skip
    apart = changes(plans[0], plans[1])
    if not apart:
        return
    wider = sum(row.first != row.second for row in apart)
    same = len(apart) - wider
    st.caption(f"{plural(wider, 'group')} of other width" + (f", {plural(same, 'group')} of the same width with other units" if same else ""))
    frame = pd.DataFrame({"Group": [row.group for row in apart], "Units": [row.width for row in apart], "Kept, first": [row.first for row in apart],
                          "Kept, second": [row.second for row in apart], "Difference": [row.second - row.first for row in apart],
                          "In both": [row.common for row in apart]})  # fmt: skip
    st.dataframe(frame, hide_index=True, height=chrome.table_height(len(frame), 12), alt="Groups that the two plans cut differently")


def candidates(branches: list[Branch]) -> dict[str, Draft]:
    """What can be compared, by its words: the open branch as it is, the other branches, the open one's earlier steps."""
    now = branches[0]
    found = {f"{now.name}, as it is now": now.now}
    found |= {f"{branch.name}, as it is now": branch.now for branch in branches[1:]}
    for position in reversed(range(len(now.steps))):
        if position != now.position and len(now.steps) - position <= MOST_STEPS:
            found[f"{now.name}, step {position + 1}: {now.steps[position].what}"] = now.steps[position].draft
    return found | {"the dense model": Draft()}


def figures(first: Outlook, second: Outlook) -> pd.DataFrame:
    """Each quantity of both plans and the difference, saying what is measured and what is estimated."""
    rows = [
        ("Accuracy before training", _estimate(first.quality, True), _estimate(second.quality, True), _gap(first.quality, second.quality)),
        (f"Latency, batch {second.batch}", _estimate(first.latency, False), _estimate(second.latency, False),
         relative(first.latency.value, second.latency.value) if first.latency and second.latency else DASH),
        ("MACs per sample", count(first.cost.macs), count(second.cost.macs), relative(first.cost.macs, second.cost.macs)),
        ("Parameters", count(first.cost.parameters), count(second.cost.parameters), relative(first.cost.parameters, second.cost.parameters)),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["Quantity", "First", "Second", "Difference"])


def _gap(first: Estimate | None, second: Estimate | None) -> str:
    return points(second.value - first.value) if first and second else DASH


def _estimate(found: Estimate | None, share: bool) -> str:
    if found is None:
        return DASH
    values = [percent(v) if share else milliseconds(v) for v in (found.value, found.low, found.high)]
    return f"{values[0]} ({values[1]}{DASH}{values[2]}, {'measured' if found.measured else 'estimate'})"


def choices_apart(first: Draft, second: Draft) -> list[str]:
    """In words, where the two chose otherwise than by ratios."""
    lines = []
    if first.criterion != second.criterion:
        lines.append(f"Units chosen by {first.criterion or 'position'} in the first, by {second.criterion or 'position'} in the second.")
    a, b = (replace(each.constraints, minimums={}) for each in (first, second))
    if a != b:
        lines.append(f"Widths: multiples of {a.multiple}, at least {a.minimum}, cut at most {a.max_ratio:.0%} in the first; "
                     f"multiples of {b.multiple}, at least {b.minimum}, cut at most {b.max_ratio:.0%} in the second.")  # fmt: skip
    own = [each.constraints.minimums for each in (first, second)]
    if own[0] != own[1]:
        lines.append(f"Groups with a minimum width of their own: {len(own[0])} in the first, {len(own[1])} in the second.")
    if first.held != second.held:
        lines.append(f"Held only in the first: {len(first.held - second.held)}; only in the second: {len(second.held - first.held)}.")
    return lines
