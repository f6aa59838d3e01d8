"""The doctor on the Comb screen: a button, its progress, what it found, and the report to paste into an issue."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from app import engine, who
from app.numbers import plural
from app.widgets.chrome import TERMS
from app.widgets.jobs import job_panel, last_failure
from cpd.comb.findings import Findings
from cpd.runs.project import Project

KIND = ("doctor",)


def doctor_button(project: Project, found: Findings | None) -> None:
    busy = bool(engine.active(project, (*KIND, "comb")))
    st.button("Run the doctor again" if found else "Run the doctor", icon=":material/stethoscope:", key="doctor.go", disabled=busy or who.looks_on(),
              help=TERMS["doctor"], on_click=engine.submit_again, args=(project, "doctor", engine.DOCTOR))  # fmt: skip


def doctors_words(found: Findings) -> dict[str, str]:
    """Per group its verdict; nothing of groups that were not examined: the table says why they are locked."""
    return {row.group: row.verdict if row.certified is not None else "" for row in found.rows}


def doctor_panel(project: Project, found: Findings | None, choose: Callable[[str], None]) -> None:
    """Progress while it works; then its verdict in a sentence, the groups that failed, and the report."""
    if engine.active(project, KIND):
        job_panel(project, KIND, "doctor")
        return
    last_failure(project, KIND)
    if found is None:
        return
    if not found.well:
        st.error(f"The doctor found something wrong: {found.summary}", icon=":material/medical_information:")
        for fault in found.faults:
            st.markdown(f"- {fault}")
        with st.container(horizontal=True, gap="small"):
            for name in found.failed[:6]:
                st.button(name, key=f"doctor.look.{name}", icon=":material/lock:", type="tertiary", on_click=choose, args=(name,))
    title = f"**The doctor found nothing wrong:** {found.summary}" if found.well else "The doctor's report"
    with st.expander(title, icon=":material/verified:" if found.well else ":material/description:"):
        st.caption("A table to paste into an issue: machine, versions, and what was tried of every group.")
        table = found.table()
        st.code(table, language="markdown", height=320)
        st.download_button("Download as Markdown", table, "doctor.md", "text/markdown", icon=":material/download:", key="doctor.download", on_click="ignore")
        if found.unread:
            st.caption(f"{plural(len(found.unread), 'tensor')} of the model {'is' if len(found.unread) == 1 else 'are'} never read by its forward pass.")
