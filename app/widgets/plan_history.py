"""Every step of the open branch, a way back to each, and the other branches."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import desk as desks
from app import who
from app.desk import Desk
from app.history import LONGEST
from app.numbers import plural, when
from app.widgets import chrome


def steps(desk: Desk) -> None:
    branch = desk.branch
    order = list(reversed(range(len(branch.steps))))
    frame = pd.DataFrame({
        "Step": [position + 1 for position in order],
        "": ["shown" if position == branch.position else "undone" if position > branch.position else "" for position in order],
        "What": [branch.steps[position].what for position in order],
        "When": [when(branch.steps[position].when) if branch.steps[position].when else "" for position in order],
    })  # fmt: skip
    st.caption(f"{plural(len(order), 'step')} of {branch.name}, the newest first; the last {LONGEST} are kept, also when the app is closed.")
    picked = st.dataframe(frame, hide_index=True, key=f"plan.steps.{branch.file}.{branch.position}.{len(order)}", on_select="rerun", selection_mode="single-row",
                          height=chrome.table_height(len(frame), 12), alt="Steps of this branch")  # fmt: skip
    rows = picked["selection"]["rows"]
    position = order[rows[0]] if rows and rows[0] < len(order) else None
    with st.container(horizontal=True):
        st.button("Go to this step", key="plan.goto", icon=":material/history:", disabled=position is None or position == branch.position or who.looks_on(),
                  on_click=lambda: desks.attempt(desk, desk.go, position or 0), help="Later steps stay, until the next edit.")  # fmt: skip
        others = [each for each in desk.branches() if each.file != branch.file]
        if others:
            with st.popover("Delete a branch", icon=":material/delete:", disabled=who.looks_on()):
                names = {each.file: each.name for each in others}
                file = st.selectbox("Branch", list(names), key="plan.delete.branch", format_func=names.__getitem__, help="The open branch stays.")
                st.button("Delete it for good", key="plan.delete", on_click=lambda: desks.attempt(desk, desk.delete, file))
