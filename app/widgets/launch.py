"""The form for a new run: what to prune down to, the budget, and one button. It may begin like another run."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from app import engine, state, who
from app.numbers import percent
from app.widgets.budget import budget, demo_of
from app.widgets.steering import ORIGIN, told
from cpd.errors import CpdError
from cpd.prune.plan import Plan
from cpd.runs.project import Project
from cpd.runs.rows import Run

PLAN, TARGET, SAME = "The current plan", "A target", "The same plan"
TARGETS = {"macs": "MACs", "params": "Parameters"}


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
    share = comb.cost.price(plan.keep).share_of(comb.cost.dense) if plan else {"macs": 1.0, "params": 1.0}
    useful = plan is not None and share["params"] < 1
    old_plan = like is not None and bool(like.spec.options.get("plan"))
    choices = [*([SAME] if old_plan and step is None else []), PLAN, TARGET]
    left, right = st.columns([3, 2], gap="medium", vertical_alignment="bottom")
    with left:
        st.session_state.setdefault(f"{key}.what", choices[0] if old_plan or (like is None and useful) else TARGET)
        what = st.segmented_control("Prune down to", choices, key=f"{key}.what", required=True, persist_state="session",
                                    help="The plan says what every group keeps. With a target the run decides on its way, by scores "
                                    "of the student as it learns.")  # fmt: skip
        if what == PLAN:
            if useful:
                st.caption(f"The plan leaves {percent(share['macs'])} of the MACs and {percent(share['params'])} of the parameters."
                           + (" Widths are made of the units that the checkpoint still has." if step else ""))  # fmt: skip
            else:
                st.caption(":material/info: The plan cuts nothing yet. Choose ratios on the Plan screen, or prune down to a target.")
        elif what == TARGET:
            demo = demo_of(project)
            before = dict((like.spec.options.get("target") or {}) if like else demo.target if demo else {})
            name, stays = next(iter(before.items()), ("macs", 0.25))
            a, b = st.columns(2)
            name = a.selectbox("Of", list(TARGETS), list(TARGETS).index(name) if name in TARGETS else 0, key=f"{key}.target.name",
                               format_func=TARGETS.__getitem__, persist_state="session")  # fmt: skip
            stays = b.number_input("Share that stays, %", 1, 99, max(1, min(99, round(100 * stays))), key=f"{key}.target.share", persist_state="session")
    settings, seed, problem = budget(project, like)
    options: dict[str, Any] = {**settings, "plan": None, "target": None}
    if what == PLAN and plan is not None:
        options["plan"] = json.loads(plan.to_json())
    elif what == SAME and like is not None:
        options["plan"] = like.spec.options["plan"]
    elif what == TARGET:
        options["target"] = {name: stays / 100}
    ready = not problem and bool(project.data) and (what != PLAN or useful)
    with right:
        st.button("Go on from there" if step is not None else "Prune while distilling", type="primary", icon=":material/rocket_launch:", key="run.start",
                  on_click=start, args=(project, options, seed, like.id if like else "", step), disabled=not ready or who.looks_on(), width="stretch",
                  shortcut="Ctrl+Enter" if shortcut else None)  # fmt: skip
    if problem:
        st.error(problem, icon=":material/error:")
    if not project.data:
        st.caption(":material/info: This project has no data to distil with; make a project with data on the Start screen.")
    if st.session_state.get("run.error"):
        st.error(st.session_state.pop("run.error"), icon=":material/error:")


def _banner(like: Run, step: int | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if step is None:
            st.markdown(f":material/content_copy: A clone of **{like.id}**: its settings, until you change them.")
        else:
            saved = next((place for place in engine.checkpoints(like.id) if place.step == step), None)
            st.markdown(f":material/history: Goes on from **{like.id}**, {told(saved) if saved else f'step {step:,}'}.")
        if like.spec.options.get("teacher"):
            st.caption(f"Its teacher stays {like.spec.options['teacher']}.")
        st.button("Start afresh instead", key="run.afresh", type="tertiary", on_click=lambda: st.session_state.pop(ORIGIN, None))


def start(project: Project, options: dict[str, Any], seed: int, like: str, step: int | None) -> None:
    try:
        if step is not None:
            run = engine.roll_back(like, step, options)
        elif like:
            run = engine.clone(like, options, seed)
        else:
            run = engine.submit(project, "distill", options, seed)
    except CpdError as error:
        st.session_state["run.error"] = str(error)
        return
    st.session_state.pop(ORIGIN, None)
    choose(run)


def choose(run_id: str) -> None:
    """Show this run, also to whoever gets the address."""
    st.query_params[state.RUN] = run_id
