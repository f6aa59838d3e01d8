"""Present: a finished run in five plain steps, on screen or as one offline file."""

from __future__ import annotations

import streamlit as st

from app import engine, finished, guards, state
from app.numbers import count, when
from app.plain import plain
from app.widgets import chrome
from app.widgets.told import alone, story
from cpd.errors import CpdError
from cpd.report.appendix import appendix
from cpd.report.page import page
from cpd.report.story import Story, tell
from cpd.runs.project import Project

if not state.is_presenting():
    chrome.head("Present", "What was done and what it brought, for people who decide: every sentence follows from a measurement of this run.")
project = guards.project()
runs = finished.finished_runs(project)
asked = st.query_params.get(state.RUN, "")
shown = next((run for run in runs if run.id == asked), runs[0] if runs else None)


def choose() -> None:
    st.query_params[state.RUN] = st.session_state["present.run"]


def take_along(project: Project, told: Story) -> None:
    """The same as a file, and a link that shows it without any control."""
    found = finished.handover(project, told.run.name)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button("Download as one HTML file", lambda: page([told], [appendix(told, found[1] if found else None)]), f"{project.id}-report.html",
                           "text/html", icon=":material/download:", type="primary", key="present.download", on_click="ignore",
                           help="Opens without a network, with an appendix on how everything was measured. Print it from the browser for a PDF.")  # fmt: skip
        st.page_link(chrome.page_path("present"), label="Show the story alone", icon=":material/fullscreen:",
                     query_params=chrome.address() | {state.RUN: told.run.name, state.VIEW: "present"},
                     help="No menu and no control; the address can be sent to somebody who should only read.")  # fmt: skip


if shown is None:
    if engine.active(project, ("distill",)):
        chrome.note("The first run is under way", "Its story is told here once it has finished and was measured.", "hourglass_top")
    else:
        chrome.note("Nothing to tell yet", "The story is written from a finished run.", "co_present")
    chrome.go("run")
    st.stop()
if asked and shown.id != asked:
    st.warning(f"This project has no finished run {asked!r}; showing the newest instead.", icon=":material/link_off:")
try:
    told = tell(finished.opened(shown.id), project.name)
except CpdError as error:
    st.error(str(error), icon=":material/error:", title=f"The story of {shown.id} cannot be told")
    if not state.is_presenting():
        chrome.go("run")
    st.stop()
if state.is_presenting():
    alone()
    st.title(plain(told.title), anchor=False)
    st.caption(plain(told.subtitle))
else:
    by_id = {run.id: run for run in runs}
    st.session_state["present.run"] = shown.id
    left, right = st.columns([3, 5], gap="medium", vertical_alignment="bottom")
    left.selectbox("Run", list(by_id), key="present.run", on_change=choose,
                   format_func=lambda id_: f"{id_} · {when(by_id[id_].finished)}")  # fmt: skip
    with right:
        take_along(project, told)
story(told, state.is_dark())
if not state.is_presenting():
    size = sum(path.stat().st_size for path in (engine.files(shown.id) / "bundle").glob("*"))
    st.caption(f"From run {shown.id}; its model takes {count(size, 'B')} as a file.")
