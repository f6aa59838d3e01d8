"""Which criteria to score, on how much data."""

from __future__ import annotations

import streamlit as st

from app import engine, who
from cpd.errors import CpdError
from cpd.importance.registry import CRITERIA
from cpd.runs.project import Project

DEFAULT = ("l2", "taylor", "fisher")
ERROR = "score.error"


def submit(project: Project) -> None:
    try:
        engine.submit(project, "score", {"criteria": st.session_state["score.criteria"], "batches": st.session_state["score.batches"]})
    except CpdError as error:
        st.session_state[ERROR] = str(error)


def chooser(project: Project, first: bool) -> None:
    """Criteria from the registry, batches, and the button."""
    left, middle, right = st.columns([6, 2, 2], gap="small", vertical_alignment="bottom")
    st.session_state.setdefault("score.criteria", list(DEFAULT))
    st.session_state.setdefault("score.batches", 8)
    told = "\n".join(f"- **{entry.title}**: {getattr(entry, 'help', '')}" for entry in CRITERIA.values())
    left.multiselect("Criteria", list(CRITERIA), key="score.criteria", format_func=lambda name: CRITERIA[name].title, persist_state="session", help=told)
    middle.number_input("Batches of data", 1, 256, key="score.batches", persist_state="session",
                        help="For criteria that look at data. More batches make the order steadier; the view on agreement says whether they are needed.")  # fmt: skip
    chosen = st.session_state["score.criteria"]
    no_data = not project.data and any(CRITERIA[name].needs_data for name in chosen if name in CRITERIA)
    busy = bool(engine.active(project, ("score",)))
    right.button("Score" if first else "Score again", type="primary" if first else "secondary", icon=":material/leaderboard:", on_click=submit, args=(project,),
                 disabled=busy or not chosen or no_data or who.looks_on(), key="score.go", width="stretch")  # fmt: skip
    if no_data:
        st.caption(":material/info: This project has no data; only the criteria that look at weights alone can be scored.")
    if ERROR in st.session_state:
        st.error(st.session_state.pop(ERROR), icon=":material/error:")
