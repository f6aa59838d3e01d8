"""The form for a new run: what to prune down to, the budget, and one button. It may begin like another run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import streamlit as st

from app import engine, state, who
from app.widgets.budget import Chosen, budget
from app.widgets.goal import goal
from app.widgets.steering import ORIGIN, told
from cpd.errors import CpdError
from cpd.prune.plan import Plan
from cpd.runs.command_line import command_line
from cpd.runs.project import Project
from cpd.runs.rows import Run
from cpd.runs.spec import RunSpec


def origin(project: Project) -> tuple[Run, int | None] | None:
    """The run that the next one begins like, and the step it goes on from (None: from the start)."""
    chosen = st.session_state.get(ORIGIN)
    if chosen is None:
        return None
    try:
        run = engine.store().run(chosen[0])
    except CpdError:
        return None
    return (run, chosen[1]) if run.project == project.id else None


def launch_card(project: Project, comb: state.Combed, plan: Plan | None, *, shortcut: bool = False) -> None:
    """Draw the form; its button queues the run and shows it. `shortcut` gives the button its key, where it is in view."""
    begin = origin(project)
    like = begin[0] if begin else None
    step = begin[1] if begin else None
    key = f"run.{like.id}.{step}" if like else "run"
    if like is not None:
        _banner(like, step)
    left, right = st.columns([3, 2], gap="medium", vertical_alignment="bottom")
    with left:
        towards = goal(project, comb, plan, like, step, key)
    with right:
        place = st.empty()  # the button needs what is chosen below it
    if towards.words:
        st.caption(towards.words)
    said = st.container()  # beside the button, not below all that can be opened
    how = budget(project, like)
    spec, problem = None, how.problem
    if not problem and towards.ready:
        spec, problem = engine.planned(project, how.options | towards.options, how.seed, how.device, like)
    ready = spec is not None and not problem and bool(project.data)
    with place:
        st.button("Go on from there" if step is not None else "Prune while distilling", type="primary", icon=":material/rocket_launch:", key="run.start",
                  on_click=start, args=(project, how, towards.options, like.id if like else "", step), disabled=not ready or who.looks_on(), width="stretch",
                  shortcut="Ctrl+Enter" if shortcut else None)  # fmt: skip
    with said:
        for line in filter(None, (problem, st.session_state.pop("run.error", ""))):
            st.error(line, icon=":material/error:")
        if not project.data:
            st.caption(":material/info: This project has no data to distil with; make a project with data on the Start screen.")
    if spec is not None and ready and step is None:
        _on_the_command_line(spec, towards.file)


def _on_the_command_line(spec: RunSpec, plan: str) -> None:
    """The same run without the app."""
    with st.popover("The same on the command line", icon=":material/terminal:", key="run.command"):
        row = spec.options.get("plan")
        shown = Path(plan).name if who.looks_on() else plan
        st.code(command_line(spec, plan=(shown or "plan.json") if row else "", out=f"runs/{spec.project}", public=who.looks_on()), language="bash", wrap_lines=True)
        if row and not plan:
            st.download_button("Download plan.json", json.dumps(row, indent=1), "plan.json", "application/json", icon=":material/download:", key="run.command.plan", on_click="ignore")
        st.caption("With every setting of the form. It goes on where it was interrupted when it is called again.")


def _banner(like: Run, step: int | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if step is None:
            st.markdown(f":material/content_copy: A clone of **{like.id}**: its settings, until you change them.")
        else:
            saved = next((place for place in engine.checkpoints(like.id) if place.step == step), None)
            st.markdown(f":material/history: Goes on from **{like.id}**, {told(saved) if saved else f'step {step:,}'}.")
        if like.spec.options.get("teacher"):
            st.caption(f"Its teacher: `{str(like.spec.options['teacher']).replace('`', '')}`")
        st.button("Start afresh instead", key="run.afresh", type="tertiary", on_click=lambda: st.session_state.pop(ORIGIN, None))


def start(project: Project, how: Chosen, goal: dict[str, Any], like: str, step: int | None) -> None:
    options = how.options | goal
    try:
        if step is not None:
            run = engine.roll_back(like, step, options, how.device)
        elif like:
            run = engine.clone(like, options, how.seed, how.device)
        else:
            run = engine.distil(project, options, how.seed, how.device)
    except CpdError as error:
        st.session_state["run.error"] = str(error)
        return
    st.session_state.pop(ORIGIN, None)
    choose(run)


def choose(run_id: str) -> None:
    """Show this run, also to whoever gets the address."""
    st.query_params[state.RUN] = run_id
