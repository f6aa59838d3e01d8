"""All runs of a project, the queue among them, and how many go on at one time."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import engine
from app.numbers import duration, when
from app.widgets import chrome
from app.widgets.jobs import how_far
from app.widgets.launch import choose
from app.widgets.steering import summary
from cpd import access
from cpd.access import Role
from cpd.errors import CpdError
from cpd.runs.policy import MOST_PARALLEL
from cpd.runs.store import Run


def run_list(runs: Sequence[Run], shown: str) -> None:
    """Newest first; a click shows one."""
    key = f"run.table.{len(runs)}.{shown}"

    def pick() -> None:
        rows = st.session_state[key].selection.rows
        if rows:
            choose(runs[rows[0]].id)

    places = {run.id: place[0] for run in runs if (place := engine.place(run))}
    notes = {"Note": [run.note for run in runs]} if any(run.note for run in runs) else {}
    st.dataframe(
        {
            "Run": [run.id for run in runs],
            "State": [run.state if run.is_over else f"{run.state}: {how_far(run)}" for run in runs],
            "In the queue": [str(places.get(run.id, "")) for run in runs],
            "Aim": [summary(run) for run in runs],
            "Started": [when(run.created) for run in runs],
            "Took": [duration(max(0.0, run.finished - run.started)) if run.started and run.finished else "" for run in runs],
            **notes,
        },
        key=key, on_select=pick, selection_mode="single-row", hide_index=True, height=chrome.table_height(len(runs), 6),
        selection_default={"selection": {"rows": [i for i, run in enumerate(runs) if run.id == shown], "columns": []}},
        alt="Runs of this project, newest first",
    )  # fmt: skip
    at_one_time()


def at_one_time() -> None:
    """How many heavy runs of the workspace go on together."""
    st.session_state["run.parallel"] = engine.parallel()
    left, right = st.columns([1, 3], gap="medium", vertical_alignment="bottom")
    left.number_input("Heavy runs at one time", 0, MOST_PARALLEL, key="run.parallel", on_change=_set_parallel, disabled=access.person().role < Role.OWNER,
                      help="Trainings and prunings, of all projects. What is light goes on beside them; what times the machine waits until it is quiet.")  # fmt: skip
    right.caption("0 lets what is going on end and starts nothing further." if engine.parallel() else ":material/pause: Nothing further starts until this is 1 or more.")
    if "run.parallel.error" in st.session_state:
        st.error(st.session_state.pop("run.parallel.error"), icon=":material/error:")


def _set_parallel() -> None:
    try:
        engine.set_parallel(int(st.session_state["run.parallel"]))
    except CpdError as error:
        st.session_state["run.parallel.error"] = str(error)
