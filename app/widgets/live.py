"""The panel of one run: what it does now, its outcome, its curves. Drawn again every second while the run is active."""

from __future__ import annotations

from collections.abc import Hashable

import streamlit as st

from app import engine, state
from app.widgets.curves import curves
from app.widgets.jobs import TICK_S
from app.widgets.outcome import outcome
from app.widgets.steering import REDRAW, header, story
from cpd.errors import CpdError
from cpd.measure.measurement import Measurement
from cpd.runs.project import Project


def run_panel(project: Project, comb: state.Combed, run_id: str) -> None:
    """Live while the run is unfinished; one full rerun when it ends, so that the outcome and the buttons follow.

    A fragment of its own: what is being typed elsewhere on the page is not touched by it.
    """
    polling = not engine.run(run_id).is_over

    @st.fragment(run_every=TICK_S if polling else None, key=f"live.{run_id}.{polling}")
    def panel() -> None:
        if st.session_state.pop(REDRAW, False):  # a button here only draws the panel again; the form and the list follow
            st.rerun()
        run = engine.run(run_id)
        header(run)
        if run.state == "finished":
            outcome(project, run)
            missing(run_id)
        shown = engine.recorded(run)
        dense = state.baseline(project)
        drawn((shown.mark, run.state, project.id, comb.record.model, state.stamp(state.folder(project) / "baseline.json")), state.is_dark(), shown, dense, comb)
        if polling and run.is_over:
            st.rerun()

    panel()


@st.cache_resource(max_entries=8, show_spinner=False)
def drawn(mark: Hashable, dark: bool, _shown: engine.Recorded, _dense: Measurement | None, _comb: state.Combed) -> None:
    """All plots and the story of a run. Drawn once for everybody who looks at the same moment of it: whoever comes second
    is sent the same elements again."""
    curves(_shown.run, _shown.metrics, _shown.events, _dense, _comb, dark=dark)
    story(_shown.events)


def missing(run_id: str) -> None:
    """What the run was asked for and did not do, in its own words."""
    try:
        plan = (engine.result(run_id) or {}).get("plan") or {}
    except CpdError:  # said above
        return
    if plan.get("shortfall"):
        st.warning(str(plan["shortfall"]), icon=":material/flag:", title="Not all that was asked for")
