"""Background work on a page: progress that follows the worker, and what to say when it fails."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import engine
from app.numbers import duration
from cpd.runs.project import Project
from cpd.runs.store import Run

TICK_S = 1.0
WAITING = {"queued": "waiting for its turn", "pausing": "pausing", "stopping": "stopping", "paused": "paused"}
DOING = {
    "comb": "Combing: tracing the model, finding groups, proving them",
    "doctor": "Doctor: trial cuts of every group, forward, backward, saved and opened again",
    "measure": "Measuring the dense model: accuracy and latency",
    "score": "Scoring every unit",
    "trial": "Measuring the plan: cut for real, not trained",
    "profile": "Profiling latency: timing every operator at several widths",
    "sense": "Cutting every group alone and measuring what is left",
    "share": "Helping with a scan",
    "attribute": "Explaining images",
    "distill": "Pruning while distilling",
    "export": "Handing over: writing every form, opening it again, comparing and timing it",
    "train": "Training",
}


def job_panel(project: Project, kinds: Sequence[str], key: str) -> None:
    """Progress of the unfinished runs of these kinds, polled while there are any; the page reruns when one ends."""
    waiting = [run.id for run in engine.active(project, kinds)]
    if not waiting:
        return

    @st.fragment(run_every=TICK_S, key=f"jobs.{key}")
    def panel() -> None:
        now = engine.active(project, kinds)
        for run in now:
            progress_line(run)
        if [run.id for run in now] != waiting:
            st.rerun()

    panel()


def progress_line(run: Run) -> None:
    """One bar: what is done, how far, and how long it will take."""
    share = min(1.0, run.step / run.total) if run.total else 0.0
    st.progress(share, text=f"{DOING.get(run.kind, run.kind)} · {how_far(run)}")


def how_far(run: Run) -> str:
    """State of a run in a few words, with the time left once there is a pace to tell it from."""
    if run.state in WAITING:
        return WAITING[run.state]
    if not run.total or not run.step or not run.started:
        return "starting"
    left = f", about {duration(run.pace_s * (run.total - run.step))} left" if run.pace_s else ""
    return f"{100 * run.step / run.total:.0f} %{left}"


def last_failure(project: Project, kinds: Sequence[str]) -> None:
    """Say in place why the newest run of each kind failed; a reason that two of them share is said once."""
    said: set[str] = set()
    for kind in kinds:
        run = engine.latest(project, kind)
        if run is not None and run.state == "failed" and run.error not in said:
            said.add(run.error)
            st.error(run.error or "It ended without saying why; its log is in the run's folder.", icon=":material/error:",
                     title=f"{DOING.get(kind, kind).partition(':')[0]} failed")  # fmt: skip
