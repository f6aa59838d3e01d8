"""Above the plan: which branch is open, its note, and the way back and forth."""

from __future__ import annotations

import streamlit as st

from app import desk as desks
from app import who
from app.desk import Desk


def toolbar(desk: Desk) -> None:
    branch, branches = desk.branch, desk.branches()
    names = {each.file: each.name for each in branches}
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.session_state["plan.branch"] = branch.file
        st.selectbox("Branch", sorted(names), key="plan.branch", format_func=lambda file: names.get(file, file), width=220,
                     on_change=lambda: desks.attempt(desk, desk.open, st.session_state["plan.branch"]), disabled=who.looks_on(),
                     help="Every branch is a plan of its own with its own history. The open one is what runs take.")  # fmt: skip
        with st.popover("New branch", icon=":material/call_split:", disabled=who.looks_on(), help="Try something else; this branch stays as it is."):
            st.text_input("Name", key="plan.branch.name", max_chars=60, placeholder="e.g. gentle on stage 4")
            st.button("Start it here", key="plan.branch.new", type="primary", on_click=_start, args=(desk,))
        with st.popover("Edit note" if branch.note else "Note", icon=":material/sticky_note_2:", help=branch.note or "What this branch is about."):
            st.session_state["plan.note"] = branch.note
            st.text_area("Note on this branch", key="plan.note", max_chars=4000, height=140, disabled=who.looks_on(), on_change=lambda: desks.attempt(desk, desk.note, st.session_state["plan.note"]))
        last = branch.steps[branch.position].what
        ahead = branch.steps[branch.position + 1].what if branch.can_redo else ""
        # Never disabled: a press that comes before the page has drawn the first edit would be lost.
        st.button("Undo", icon=":material/undo:", shortcut="Ctrl+Z", key="plan.undo", disabled=who.looks_on(), type="secondary" if branch.can_undo else "tertiary",
                  on_click=lambda: desks.attempt(desk, desk.step, False), help=f"Take back: {last}" if branch.can_undo else "Nothing to take back.")  # fmt: skip
        st.button("Redo", icon=":material/redo:", shortcut="Ctrl+Y", key="plan.redo", disabled=who.looks_on(), type="secondary" if ahead else "tertiary",
                  on_click=lambda: desks.attempt(desk, desk.step, True), help=f"Do again: {ahead}" if ahead else "Nothing to do again.")  # fmt: skip
    if branch.note:
        st.caption(f":material/sticky_note_2: {branch.note}")


def _start(desk: Desk) -> None:
    desks.attempt(desk, desk.start_branch, st.session_state["plan.branch.name"])
    st.session_state["plan.branch.name"] = ""
