"""Under the menu: which project is open, and whether anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from app import engine, state, steps, who
from app.plain import plain
from app.widgets import chrome
from app.widgets.search import search_and_help
from app.widgets.steps import progress_of
from cpd import access
from cpd.access import Role
from cpd.errors import CpdError
from cpd.runs.project import Project
from cpd.runs.store import Run

KINDS = ("distill", "train")  # what one waits for


def sidebar(here: str) -> None:
    """Search and help; the open project with a link to a run that is under way; and, where the app is shared, who is in view."""
    with st.sidebar:
        search_and_help(here)
        open_project(here)
        if access.is_shared():
            signed_in()


def open_project(here: str) -> None:
    """Name, model and data, the run in view, what comes next, and a link to a run that is under way."""
    project = state.current_project()
    if project is None:
        st.caption("No project is open.")
        return
    with st.container(border=True):
        st.markdown(f"**{project.name}**")
        st.caption(f"{project.model}  \n{project.data or 'no data'} · {project.device}")
        try:
            runs = engine.runs(project, KINDS)
            busy = engine.active(project, KINDS) if any(not run.is_over for run in runs) else []
        except CpdError:
            runs = busy = []
        if shown := in_view(here, runs):
            st.caption(f":material/rocket_launch: {plain(shown)}")
        whats_next(project, here, runs)
        for run in busy[:1]:
            st.page_link(chrome.page_path("run"), label="A run is under way", icon=":material/progress_activity:",
                         query_params=chrome.address() | {state.RUN: run.id})  # fmt: skip


def whats_next(project: Project, here: str, runs: Sequence[Run]) -> None:
    """How far the job is, and a way back to where it goes on; the step after this screen is at its foot."""
    progress = progress_of(project, runs)
    ready, ahead = steps.done(progress), steps.following(progress)
    many = sum(ready.values())
    if ready.get(ahead):  # combed, and the baseline is missing
        ahead = "start"
    st.caption("All steps done" if many == len(ready) else f"{many} of {len(ready)} steps done" + (" · this is the next" if ahead == here else ""))
    if many < len(ready) and ahead != here:
        st.page_link(chrome.page_path(ahead), label=f"Go on with {steps.TITLES[ahead]}", icon=":material/arrow_circle_right:", query_params=chrome.address(),
                     help=steps.PURPOSE[ahead])  # fmt: skip


def in_view(here: str, runs: Sequence[Run]) -> str:
    """Id of the run that the screen shows: as the address says, else as the screen will choose; "" for none."""
    asked = st.query_params.get(state.RUN, "")
    known = [run for run in runs if run.kind == "distill"]
    if asked or here not in ("run", "compare", "present"):
        return asked
    active = [run.id for run in reversed(known) if not run.is_over] if here == "run" else []
    over = [run.id for run in known if here == "run" or run.state == "finished"]
    return next(iter([*active, *over]), "")


ROLES = {
    Role.VIEWER: ("visibility", "You look on: everything can be seen, and nothing that changes anything can be pressed."),
    Role.EDITOR: ("edit", "Editor: may start, steer and stop runs, edit plans and make projects of what the program brings."),
    Role.OWNER: ("key", "Owner: may do everything."),
}


def signed_in() -> None:
    """Who is in view, what that person may do, and the way out."""
    person = access.person()
    if person.role not in ROLES:
        return
    icon, text = ROLES[person.role]
    with st.container(border=True):
        st.html(f'<strong style="overflow-wrap: anywhere">{escape(person.name)}</strong>')  # markdown would make an address a link
        st.caption(f":material/{icon}: {text}")
        shared = who.sharing()
        if shared is not None and shared.mode == "oidc":
            st.button("Sign out", icon=":material/logout:", key="sign.out", on_click=st.logout, type="tertiary")
        elif shared is not None and shared.sign_out:
            st.link_button("Sign out", shared.public + shared.sign_out, icon=":material/logout:", type="tertiary")
