"""Run: prune while the dense model teaches, watch it live, steer it, and compare before and after."""

from __future__ import annotations

import streamlit as st

from app import engine, guards, state
from app.numbers import plural
from app.widgets import chrome
from app.widgets.launch import choose, launch_card, origin
from app.widgets.live import run_panel
from app.widgets.run_list import run_list
from app.widgets.run_note import run_note
from cpd.runs.store import Run

KINDS = ("distill",)

chrome.head("Run", "Prune while distilling: the dense model teaches the network that is left after each cut. The run goes on in the "
            "background, whatever happens to this page.", help=chrome.TERMS["distill"])  # fmt: skip
project = guards.project()
comb = guards.comb(project)
plan = state.plan(project, comb)

runs = engine.runs(project, KINDS)
active = [run for run in runs if not run.is_over]
asked = st.query_params.get(state.RUN, "")
newest: list[Run] = [*reversed(active), *runs]
shown = next((run for run in runs if run.id == asked), newest[0] if newest else None)
if asked and (shown is None or shown.id != asked):
    st.warning(f"This project has no run {asked!r}; showing the newest instead.", icon=":material/link_off:")
if shown is not None:
    choose(shown.id)

if shown is None:
    with st.container(border=True):
        launch_card(project, comb, plan, shortcut=True)
    chrome.note("No run yet", "Its curves, its progress and its outcome appear here, and stay when you leave.", "rocket_launch")
    chrome.onward("compare", ready=False)
else:
    # What nobody has opened is not drawn: most people who look at a run watch it, and the form is the costliest part of the page.
    begins = origin(project)
    form = st.expander("Start another run", icon=":material/add:", expanded=begins is not None, key=f"run.form.{begins[0].id if begins else ''}", on_change="rerun")
    if form.open:
        with form:
            launch_card(project, comb, plan, shortcut=begins is not None)
    waiting = sum(run.state in ("queued", "paused") for run in runs)
    title = f"{plural(len(runs), 'run')} of this project" + (f", {waiting} waiting" if waiting else "")
    others = st.expander(title, icon=":material/list:", key="run.list", on_change="rerun")
    if others.open:
        with others:
            run_list(runs, shown.id)
    run_note(shown)
    run_panel(project, comb, shown.id)
    chrome.onward("compare", ready=shown.state == "finished", run=shown.id if shown.state == "finished" else "")
