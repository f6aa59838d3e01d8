"""Under the menu: which project is open, and whether anything runs."""

from __future__ import annotations

import streamlit as st

from app import engine, state
from app.widgets import chrome
from cpd.errors import CpdError


def sidebar() -> None:
    """Name, model and data of the open project, and a link to a run that is under way."""
    with st.sidebar:
        project = state.current_project()
        if project is None:
            st.caption("No project is open.")
            return
        with st.container(border=True):
            st.markdown(f"**{project.name}**")
            st.caption(f"{project.model}  \n{project.data or 'no data'} · {project.device}")
            try:
                busy = engine.active(project, ("distill", "train"))
            except CpdError:
                busy = []
            for run in busy[:1]:
                st.page_link(chrome.page_path("run"), label="A run is under way", icon=":material/progress_activity:",
                             query_params=chrome.address() | {state.RUN: run.id})  # fmt: skip
