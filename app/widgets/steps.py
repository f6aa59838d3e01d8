"""The steps as a strip: which are done, which is next, and a way to each."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import engine, state
from app.steps import ICONS, JOB, PURPOSE, TITLES, Progress, done, following
from app.widgets import chrome
from cpd.errors import CpdError
from cpd.runs.project import Project
from cpd.runs.store import Run


def progress_of(project: Project, runs: Sequence[Run] | None = None) -> Progress:
    """What the project's folder and runs show; `runs` where they have been read already."""
    home = state.folder(project)
    try:
        known = engine.runs(project, ("distill",)) if runs is None else runs
        finished = any(run.state == "finished" and run.kind == "distill" for run in known)
    except CpdError:
        finished = False
    return Progress((home / "baseline.json").exists(), (home / "comb.json").exists(), *_of_this_comb(project), finished)


def _of_this_comb(project: Project) -> tuple[bool, bool, bool]:
    """Whether there are scores, a scan and a plan that can be read and are of the comb as it is now."""
    try:
        comb = state.combed(project)
    except CpdError:
        comb = None
    if comb is None:
        return False, False, False
    try:
        scan = state.sensitivity(project)
    except CpdError:
        scan = None
    return bool(state.scores(project, comb)), scan is not None and scan.model == comb.record.model, state.plan(project, comb) is not None


def step_strip(progress: Progress | None) -> None:
    """`progress` None: no project yet, the strip only tells the story."""
    ready = done(progress) if progress else {}
    ahead = following(progress) if progress else ""
    with st.container(key="steps"):
        columns = st.columns(len(JOB), gap="small")
    for column, (number, page) in zip(columns, enumerate(JOB, 1), strict=True):
        with column.container(border=True, height="stretch", gap="xsmall", vertical_alignment="distribute"):
            sign = ICONS[page]
            if progress is not None and (ready[page] or page == ahead):
                sign = ":green[:material/check_circle:]" if ready[page] else ":primary[:material/arrow_circle_right:]"
            with st.container(gap="xsmall"):
                st.markdown(f"{sign} **{number} {TITLES[page]}**")
                st.caption(PURPOSE[page])
            if progress is not None and page != "start":
                st.page_link(chrome.page_path(page), label="Go on here" if page == ahead else "Open", query_params=chrome.address(),
                             icon=":material/arrow_forward:", icon_position="right")  # fmt: skip
