"""What somebody wrote about a run: read wherever the run is, written on the Run screen."""

from __future__ import annotations

import streamlit as st

from app import state, who
from app.plain import plain
from cpd.errors import CpdError
from cpd.runs.control import MOST_NOTE, annotate
from cpd.runs.store import Run

ERROR = "run.note.error"


def note_line(note: str) -> None:
    """The note in a quiet line, nothing where there is none."""
    if note:
        st.caption(f":material/sticky_note_2: {plain(note)}")


def run_note(run: Run) -> None:
    """The note beside the way to write one. Drawn outside of the live panel, which would send it again every second."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        with st.popover("Edit note" if run.note else "Add a note", icon=":material/sticky_note_2:", type="tertiary", key=f"note.open.{run.id}",
                        disabled=who.looks_on(), help="What this run is about: shown in the list, on Compare, in Search and in the report."):  # fmt: skip
            key = f"note.{run.id}.{hash(run.note)}"  # a new note is a new field; one that is being typed stays
            st.text_area("Note on this run", run.note, key=key, max_chars=MOST_NOTE, height=120, on_change=_keep, args=(run.id, key), placeholder="e.g. gentle on the last stage, twice the data")
            st.caption("Saved when you leave the field, or with Ctrl+Enter.")
        if run.note:
            st.caption(plain(run.note))
    if ERROR in st.session_state:
        st.error(st.session_state.pop(ERROR), icon=":material/error:")


def _keep(run: str, key: str) -> None:
    try:
        annotate(state.workspace(), run, st.session_state[key])
    except CpdError as error:
        st.session_state[ERROR] = str(error)
