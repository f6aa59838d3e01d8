"""Importance: how much the model needs each unit, by several criteria, how far they agree, and what the model looks at."""

from __future__ import annotations

import streamlit as st

from app import engine, guards, state
from app.widgets import chrome
from app.widgets.agreement import agreement_view
from app.widgets.explained import explained_view
from app.widgets.jobs import job_panel, last_failure
from app.widgets.scored import scores_view
from app.widgets.scoring import chooser
from cpd.importance.registry import CRITERIA

VIEWS = {"scores": "Scores", "agreement": "Do the criteria agree?", "images": "What the model looks at"}

chrome.head("Importance", "One score for every unit, from all the tensors that leave with it. Low scores are what a plan cuts first.",
            help=chrome.TERMS["criterion"])  # fmt: skip
project = guards.project()
comb = guards.comb(project)
st.session_state.setdefault("importance.view", "scores")
view = st.segmented_control("View", list(VIEWS), key="importance.view", required=True, persist_state="session", label_visibility="collapsed",
                            format_func=VIEWS.__getitem__) or "scores"  # fmt: skip
if view == "images":
    explained_view(project, comb)
    chrome.onward("sensitivity", ready=bool(state.scores(project, comb)))
    st.stop()

tables = state.scores(project, comb)
others, damaged = state.scores_left_out(project, comb)
with st.container(border=True):
    chooser(project, first=not tables)
    job_panel(project, ("score",), "score")
busy = bool(engine.active(project, ("score",)))
for text in damaged:
    st.error(text, icon=":material/error:")
if not busy:
    last_failure(project, ("score",))
if not tables:
    if not busy and others:
        chrome.note("The scores were made of another comb", "The model has been combed anew since, so its groups are no longer the ones that were "
                    "scored. Score again; the old tables are replaced.", "sync_problem")  # fmt: skip
    elif not busy:
        chrome.note("Nothing has been scored", "Choose criteria above and press Score: seconds for the built-in demos.", "leaderboard")
    chrome.onward("sensitivity", ready=False)
    st.stop()

if view == "agreement":
    agreement_view(comb, tables)
else:
    names = list(tables)
    if st.session_state.get(state.CRITERION) not in names:
        st.session_state[state.CRITERION] = next((name for name in ("fisher", "taylor", "l2") if name in names), names[0])
    criterion = st.segmented_control("Criterion", names, key=state.CRITERION, required=True, persist_state="session",
                                     format_func=lambda name: CRITERIA[name].title if name in CRITERIA else name) or names[0]  # fmt: skip
    scores_view(project, comb, tables[criterion])
chrome.onward("sensitivity")
