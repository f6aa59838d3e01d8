"""Go anywhere by typing, and the words and keys of the app: two dialogs behind two buttons of the sidebar."""

from __future__ import annotations

import streamlit as st

from app import desk, engine, finding, state, steps
from app import projects as made
from app.finding import Target
from app.widgets import chrome
from app.widgets.scripts import focus
from app.widgets.steering import summary
from cpd.access import may_change
from cpd.errors import CpdError
from cpd.runs.project import list_projects
from cpd.tasks.demos import DEMOS

SEARCH, HELP, NEXT = "Ctrl+K", "F1", chrome.NEXT
KEYS = (
    (SEARCH, "Search", "groups, layers, runs, plans, projects and screens"),
    ("Ctrl+Z", "Undo", "the last edit of the plan, on the Plan screen"),
    ("Ctrl+Y", "Redo", "what was undone"),
    ("Ctrl+Enter", "Run", "start the run that is set up, on the Run screen while no other is shown"),
    (NEXT, "Next", "the next step of the job, on every screen that has one"),
    (HELP, "Help", "this list"),
)  # fmt: skip
OPENED = "search.opened"
SHOWN = "dialog.shown"  # session key: which dialog is open on which screen; a rerun of the whole page would close it


def search_and_help(here: str) -> None:
    """The two buttons.

    Args:
        here: the screen that is shown.
    """
    with st.container(horizontal=True, gap="small"):
        if st.button("Search", icon=":material/search:", shortcut=SEARCH, key="search.open", width="stretch", help="Go to a group, layer, run, plan or screen by its name."):
            st.session_state[OPENED] = st.session_state.get(OPENED, 0) + 1
            st.session_state[SHOWN] = ("search", here)
        if st.button("Help", icon=":material/help:", shortcut=HELP, key="help.open", width="stretch", help="Keys, and the words of this app."):
            st.session_state[SHOWN] = ("help", here)
    shown = st.session_state.get(SHOWN)
    if shown == ("search", here):
        search(here)
    elif shown == ("help", here):
        explain()
    else:  # gone to another screen by the address
        closed()


def closed() -> None:
    """No dialog is open any more."""
    st.session_state.pop(SHOWN, None)


@st.dialog("Search", width="medium", icon=":material/search:", on_dismiss=closed)
def search(here: str) -> None:
    """Type, choose, go."""
    found = st.selectbox("Where to?", targets(here), index=None, key=f"search.{st.session_state[OPENED]}", format_func=lambda target: target.label,
                         placeholder="Type part of a name", filter_mode="fuzzy", label_visibility="collapsed")  # fmt: skip
    st.caption("Groups, layers and plans of the open project; runs and projects of the workspace; screens and demos. Enter goes there.")
    focus()
    if found is not None:
        go(found)


def go(target: Target) -> None:
    """Show it, with an address that can be sent on."""
    query = dict(target.query)
    try:
        if target.demo:
            query = {state.PROJECT: made.open_demo(next(demo for demo in DEMOS if demo.id == target.demo)).id}
    except CpdError as error:
        st.error(str(error), icon=":material/error:")
        return
    if query.get(state.PROJECT, "") != st.session_state.get(state.PROJECT, ""):
        state.choose_project(query.get(state.PROJECT, ""))
    if state.GROUP in query:
        st.session_state[state.GROUP] = query[state.GROUP]
    closed()
    st.switch_page(chrome.page_path(target.page), query_params=query)


def targets(here: str) -> list[Target]:
    """All of them, what is nearest first; what cannot be read is left out, and said where it is shown."""
    address = chrome.address()
    rows = finding.screens(address)
    try:
        known = list_projects(state.workspace())
    except CpdError:
        known = []
    try:
        every = engine.store().list_runs(None, ("distill",))
        rows += finding.runs(every, {each.id: each.name for each in known}, {run.id: summary(run) for run in every})
    except CpdError:
        pass
    open_ = next((each for each in known if each.id == address.get(state.PROJECT)), None)
    try:
        comb = state.combed(open_) if open_ else None
        if open_ and comb:
            rows += finding.plans(desk.Desk(open_, comb).branches(), address)
            rows += finding.groups(comb.record, address, here)
            rows += finding.layers(comb.layers, [group.name for group in comb.record.groups if group.prunable], address, here)
    except CpdError:
        pass
    rows += finding.projects(known, address.get(state.PROJECT, ""))
    return rows + (finding.demos(DEMOS) if may_change() else [])


@st.dialog("Help", width="medium", icon=":material/help:", on_dismiss=closed)
def explain() -> None:
    """The way through the app, the keys, and every word that is explained at its first mention."""
    st.markdown("**The job in six steps, and two ways to look back**")
    st.markdown("\n".join(f"- **{steps.TITLES[page]}**: {steps.PURPOSE[page]}" for page in steps.PAGES))
    st.markdown("**Keys**, beside the buttons that do the same")
    st.markdown("| Key | |\n|---|---|\n" + "\n".join(f"| `{key}` | **{name}**: {what} |" for key, name, what in KEYS))
    st.markdown("**Words**")
    st.markdown("\n".join(f"- **{word}**: {text}" for word, text in sorted(chrome.TERMS.items())))
