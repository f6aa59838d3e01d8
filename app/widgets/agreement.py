"""Do the criteria agree, and is each steady over batches: in pictures, and in words where a person should be careful."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from app import agree, state
from app.charts.importance import agreement, agreement_by_depth
from cpd.importance.scores import ScoreTable
from cpd.importance.stability import of_all, stability

PLAIN = {"displayModeBar": False}


def agreement_view(comb: state.Combed, tables: Mapping[str, ScoreTable]) -> None:
    """Agreement between criteria, then stability of each."""
    dark = state.is_dark()
    names = list(tables)
    groups = [group.name for group in comb.record.groups if group.prunable]
    scores = {name: table.groups for name, table in tables.items()}
    steady = {name: stability(table.parts) for name, table in tables.items() if len(table.parts) > 1}
    whole = {name: {group: of_all(value, len(tables[name].parts)) for group, value in found.items()} for name, found in steady.items()}
    with st.container(border=True):
        st.markdown("**Between criteria** · rank correlation (Spearman) of a group's units, groups that can be pruned")
        if len(names) < 2:
            st.caption("Score a second criterion to compare.")
        else:
            found = agree.by_group(scores, groups)
            st.markdown("\n".join(f"- {line}" for line in agree.verdict(found, scores, groups, whole)))
            a, b = st.columns([2, 3], gap="medium")
            a.plotly_chart(agreement(names, agree.matrix(found, names), dark=dark), key="importance.agree", config=PLAIN, alt="Rank correlation between criteria")
            b.plotly_chart(agreement_by_depth(groups, _few(agree.pairs(found, names), found), dark=dark), key="importance.pairs", config=PLAIN,
                           on_select=lambda: _choose("importance.pairs"), selection_mode="points",
                           alt="Rank correlation of criteria for every group over depth")  # fmt: skip
            st.caption("1: the same order. 0: unrelated. −1: opposite. A random control near 0 shows what no agreement looks like. "
                       "Click a dot to look at its group.")  # fmt: skip
    with st.container(border=True):
        st.markdown("**Over batches** · the same criterion on different parts of its data")
        if not steady:
            st.caption("Criteria that look at data are split over their batches; score one of them on two batches or more.")
            return
        st.markdown("\n".join(f"- {agree.steadiness(name, {g: v for g, v in found.items() if g in groups}, len(tables[name].parts))}" for name, found in whole.items()))
        rows = {name: [found.get(group, float("nan")) for group in groups] for name, found in whole.items()}
        st.plotly_chart(agreement_by_depth(groups, rows, dark=dark), key="importance.steady", config=PLAIN, on_select=lambda: _choose("importance.steady"),
                        selection_mode="points", alt="Estimated rank correlation of a repetition for every group over depth")  # fmt: skip
        st.caption("Estimated from how alike the parts rank (Spearman and Brown's formula): how well the order would come out again from as many other batches. "
                   "Low values mean that the order within the group is noise so far.")  # fmt: skip


def _few(rows: dict[str, list[float]], found: agree.Pairs, most: int = 8) -> dict[str, list[float]]:
    """As many pairs as colours can tell apart: those that agree least, without the control where there are too many."""
    if len(rows) <= most:
        return rows
    real = [(agree.mean(values), name) for (pair, values), name in zip(found.items(), rows, strict=True) if agree.CONTROL not in pair]
    return {name: rows[name] for _, name in sorted(real)[:most]}


def _choose(key: str) -> None:
    picked = st.session_state[key].selection.points
    data = picked[0].get("customdata") if picked else None
    if data:
        state.choose_group(str(data if isinstance(data, str) else data[0]))
