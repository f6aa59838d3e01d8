"""What a page needs before it can show anything: each guard explains what is missing and ends the page."""

from __future__ import annotations

import streamlit as st

from app import engine, state, who
from app.widgets import chrome
from app.widgets.jobs import job_panel, last_failure
from cpd.errors import CpdError
from cpd.runs.project import Project


def project() -> Project:
    """The open project, or a way to open one."""
    found = state.current_project()
    if found is None:
        chrome.note("No project is open", "Open the built-in demo, a project of yours, or a new model on the Start screen.", "folder_open")
        chrome.go("start")
        st.stop()
    return found


def comb(project: Project) -> state.Combed:
    """The project's comb, or its progress, or why it failed and a way to try again."""
    try:
        found = state.combed(project)
    except CpdError as error:
        found = None
        if not engine.active(project, ("comb",)):  # else it is being written just now
            st.error(str(error), icon=":material/error:")
    if found is not None:
        return found
    if engine.active(project, ("comb",)):
        chrome.note("Combing the model", "The groups appear here as soon as they are found and checked; this takes seconds "
                    "to a minute.", "account_tree")  # fmt: skip
        job_panel(project, ("comb",), "guard")
        st.stop()
    last_failure(project, ("comb",))
    chrome.note("This model has not been combed", "Combing traces the model once and finds which units must leave together.", "account_tree")
    with st.container(horizontal=True, horizontal_alignment="center"):
        st.button("Comb the model", type="primary", icon=":material/account_tree:", key="guard.comb", disabled=who.looks_on(),
                  on_click=engine.submit_again, args=(project, "comb", engine.COMB))  # fmt: skip
    st.stop()
