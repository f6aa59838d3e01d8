"""Start: open the demo, a project, or a model of one's own; then its baseline and what comes next."""

from __future__ import annotations

import streamlit as st

from app import engine, projects, state, steps, who
from app.numbers import plural, when
from app.widgets import chrome, project_form
from app.widgets.jobs import job_panel, last_failure
from app.widgets.measured import baseline_card
from app.widgets.steps import progress_of, step_strip
from cpd.errors import CpdError
from cpd.runs.project import Project, list_projects
from cpd.tasks.demos import DEMOS, Demo

FAILED = "start.failed"
FIRST = ("comb", "measure")
ICONS = {"classification": ":material/label:", "segmentation": ":material/texture:"}
WORDS = {"comb": "Comb", "measure": "Measure"}
AGAIN = {"comb": engine.COMB, "measure": engine.MEASURE}


def open_demo(demo: Demo) -> None:
    try:
        state.choose_project(projects.open_demo(demo).id)
    except CpdError as error:
        st.session_state[FAILED] = str(error)


def demo_cards() -> None:
    """One click each: weights, data and everything else come with the app."""
    st.subheader("Try it now", anchor=False, help="Real models with trained weights and real data, ready on this machine.")
    with st.grid(4, gap="small", min_column_width=220):
        for number, demo in enumerate(DEMOS):
            with st.container(border=True, height="stretch", vertical_alignment="distribute"):
                with st.container(gap="small"):
                    st.badge(demo.task, icon=ICONS[demo.task], color="gray")
                    st.markdown(f"**{demo.title}**")
                    st.caption(demo.text)
                st.button("Open this demo", type="secondary" if number else "primary", icon=":material/play_arrow:", key=f"demo.{demo.id}", on_click=open_demo, args=(demo,),
                          width="stretch")  # fmt: skip


def project_table(all_projects: list[Project], key: str) -> None:
    """Existing projects; a click on a row opens it."""

    def choose() -> None:
        rows = st.session_state[key].selection.rows
        if rows:
            state.choose_project(all_projects[rows[0]].id)

    st.dataframe(
        {
            "Project": [p.name for p in all_projects],
            "Model": [p.model for p in all_projects],
            "Data": [p.data or "none" for p in all_projects],
            "Device": [p.device for p in all_projects],
            "Created": [when(p.created) for p in all_projects],
        },
        key=key, on_select=choose, selection_mode="single-row", hide_index=True,
        height=chrome.table_height(len(all_projects), 8), alt="Projects in the workspace",
    )  # fmt: skip
    st.caption("Select a row to open the project.")


def other_ways(expanded: bool) -> None:
    """Existing projects and the form, below everything else once a project is open."""
    try:
        known = list_projects(state.workspace())
    except CpdError as error:
        st.error(str(error), icon=":material/error:")
        known = []
    if expanded:
        st.subheader("Open a project", anchor=False)
        if known:
            project_table(known, "start.projects")
        else:
            chrome.note("No project yet", "Open a demo above, or describe your own model below.", "folder_open")
        st.subheader("New project", anchor=False)
        with st.container(border=True):
            project_form.project_form()
        return
    with st.expander(f"Open another project ({plural(len(known), 'project')})", icon=":material/folder_open:"):
        project_table(known, "start.others")
    with st.expander("New project from your own model", icon=":material/add:", expanded=any(st.session_state.get(key) for key in (project_form.ERROR, project_form.HINT))):
        project_form.project_form()
    with st.expander("Demos", icon=":material/play_arrow:"):
        demo_cards()


def opened(project: Project) -> None:
    """The open project: what it has, what runs, its baseline, and the way onward."""
    chrome.head(project.name, f"{project.model} · data: {project.data or 'none'} · device: {project.device} · created {when(project.created)}")
    project_form.recognised(project)
    progress = progress_of(project)
    step_strip(progress)
    baseline = state.baseline(project)
    busy = engine.active(project, FIRST)
    if busy:
        with st.container(border=True):
            st.subheader("Getting to know the model", anchor=False)
            job_panel(project, FIRST, "start")
            st.caption("This goes on in the background; you may leave the page or close the tab.")
    if baseline is not None:
        baseline_card(baseline)
    if not busy:
        missing = [kind for kind, have in (("comb", progress.combed), ("measure", progress.measured)) if not have]
        if missing:
            last_failure(project, missing)
            with st.container(horizontal=True):
                for kind in missing:
                    tried = engine.latest(project, kind) is not None
                    st.button(WORDS[kind] + (" again" if tried else " the model"), key=f"start.{kind}", icon=":material/refresh:" if tried else steps.ICONS["comb" if kind == "comb" else "start"],
                              type="primary" if kind == missing[0] else "secondary", on_click=engine.submit_again, args=(project, kind, AGAIN[kind]), disabled=who.looks_on())  # fmt: skip
                st.button("Correct the project's details", icon=":material/edit:", key="start.correct", on_click=correct, args=(project,), disabled=who.looks_on())
    if progress.combed:
        ahead = steps.following(progress)
        chrome.onward("comb" if ahead == "start" else ahead, ready=not busy and progress.measured)


def correct(project: Project) -> None:
    """Fill the form with what was given, so that nothing has to be typed twice."""
    project_form.fill(project)
    st.session_state[project_form.HINT] = "Correct what did not fit and create the project again; the old one stays as it is."


if st.session_state.get(FAILED):
    st.error(st.session_state.pop(FAILED), icon=":material/error:")
project = state.current_project()
if project is None:
    chrome.head("Make a vision model smaller and faster", "CPD Studio removes whole channels, attention heads and hidden units "
                "from a network while the original teaches what is left, and measures what it gains.")  # fmt: skip
    step_strip(None)
    demo_cards()
    other_ways(expanded=True)
else:
    opened(project)
    other_ways(expanded=False)
