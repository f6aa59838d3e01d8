"""Run: prune while the dense model teaches, watch it live, and compare before and after."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from app import engine, guards, state
from app.numbers import duration, percent, plural, when
from app.widgets import chrome
from app.widgets.budget import budget
from app.widgets.jobs import how_far
from app.widgets.live import run_panel, summary
from cpd.errors import CpdError
from cpd.runs.store import Run

KINDS = ("distill",)
PLAN, TARGET = "The current plan", "A target"
TARGETS = {"macs": "MACs", "params": "Parameters"}

project = guards.project()
chrome.head("Run", "Prune while distilling: the dense model teaches the network that is left after each cut. The run goes on in the "
            "background, whatever happens to this page.", help=chrome.TERMS["distill"])  # fmt: skip
comb = guards.comb(project)
plan = state.plan(project, comb)


def start(options: dict[str, Any], seed: int) -> None:
    try:
        choose(engine.submit(project, "distill", options, seed))
    except CpdError as error:
        st.session_state["run.error"] = str(error)


def choose(run_id: str) -> None:
    st.query_params[state.RUN] = run_id


def launch_card() -> None:
    """What to prune down to, the budget, and one button."""
    share = comb.cost.price(plan.keep).share_of(comb.cost.dense) if plan else {"macs": 1.0, "params": 1.0}
    useful = plan is not None and share["params"] < 1
    left, right = st.columns([3, 2], gap="medium", vertical_alignment="bottom")
    with left:
        st.session_state.setdefault("run.what", PLAN if useful else TARGET)
        what = st.segmented_control("Prune down to", [PLAN, TARGET], key="run.what", required=True, persist_state="session",
                                    help="The plan says what every group keeps. With a target the run decides on its way, by scores "
                                    "of the student as it learns.")  # fmt: skip
        if what == PLAN:
            if useful:
                st.caption(f"The plan leaves {percent(share['macs'])} of the MACs and {percent(share['params'])} of the parameters.")
            else:
                st.caption(":material/info: The plan cuts nothing yet. Choose ratios on the Plan screen, or prune down to a target.")
        else:
            a, b = st.columns(2)
            name = a.selectbox("Of", list(TARGETS), key="run.target.name", format_func=TARGETS.__getitem__, persist_state="session")
            stays = b.number_input("Share that stays, %", 1, 99, 25, key="run.target.share", persist_state="session")
    settings, seed, problem = budget(project)
    options: dict[str, Any] = {**settings, "plan": None, "target": None}
    if what == PLAN and plan is not None:
        options["plan"] = json.loads(plan.to_json())
    elif what == TARGET:
        options["target"] = {name: stays / 100}
    ready = not problem and bool(project.data) and (what == TARGET or useful)
    with right:
        st.button("Prune while distilling", type="primary", icon=":material/rocket_launch:", key="run.start", on_click=start, args=(options, seed),
                  disabled=not ready, width="stretch")  # fmt: skip
    if problem:
        st.error(problem, icon=":material/error:")
    if not project.data:
        st.caption(":material/info: This project has no data to distil with; make a project with data on the Start screen.")
    if st.session_state.get("run.error"):
        st.error(st.session_state.pop("run.error"), icon=":material/error:")


def run_table(runs: list[Run], shown: str) -> None:
    """All runs of the project, newest first; a click shows one."""
    key = f"run.table.{len(runs)}.{shown}"

    def pick() -> None:
        rows = st.session_state[key].selection.rows
        if rows:
            choose(runs[rows[0]].id)

    st.dataframe(
        {
            "Run": [run.id for run in runs],
            "State": [run.state if run.is_over else f"{run.state}: {how_far(run)}" for run in runs],
            "Aim": [summary(run) for run in runs],
            "Started": [when(run.created) for run in runs],
            "Took": [duration(run.finished - run.started) if run.started and run.finished else "" for run in runs],
        },
        key=key, on_select=pick, selection_mode="single-row", hide_index=True, height=chrome.table_height(len(runs), 6),
        selection_default={"selection": {"rows": [i for i, run in enumerate(runs) if run.id == shown], "columns": []}},
        alt="Runs of this project, newest first",
    )  # fmt: skip


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
        launch_card()
    chrome.note("No run yet", "Its curves, its progress and its outcome appear here, and stay when you leave.", "rocket_launch")
else:
    with st.expander("Start another run", icon=":material/add:", expanded=False):
        launch_card()
    if len(runs) > 1:
        waiting = sum(run.state == "queued" for run in runs)
        with st.expander(f"{plural(len(runs), 'run')} of this project" + (f", {waiting} waiting" if waiting else ""), icon=":material/list:"):
            run_table(runs, shown.id)
    run_panel(project, comb, shown.id)
