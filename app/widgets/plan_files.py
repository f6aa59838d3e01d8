"""Take the plan along as a file, or bring one; what does not fit is refused group by group."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import desk as desks
from app import who
from app.desk import Desk
from app.draft import Draft
from app.numbers import plural
from app.widgets import chrome
from cpd.errors import PlanError
from cpd.prune.compare import Misfit, changes, misfits
from cpd.prune.plan import Plan

REFUSED, NOTICE = "plan.refused", "plan.notice"


def files(desk: Desk) -> None:
    save, load = st.columns(2, gap="medium")
    with save.container(border=True, height="stretch"):
        st.markdown("**Take the plan along**")
        st.caption(f"Names and numbers as JSON: {plural(len(desk.comb.names), 'group')}, what was asked for, what was granted and why.")
        st.download_button("Download plan.json", desk.plan().to_json(), f"{desk.project.id}-{desk.branch.file}-plan.json", "application/json",
                           icon=":material/download:", key="plan.download", on_click="ignore")  # fmt: skip
    with load.container(border=True, height="stretch"):
        st.file_uploader("Use a plan from a file", type=["json"], key="plan.upload", on_change=lambda: desks.attempt(desk, bring, desk), max_upload_size=5, disabled=who.looks_on(),
                         help="Refused, with the differences, when it was made for another model; the plan here stays as it is.")  # fmt: skip
        if st.session_state.get(NOTICE):
            st.caption(f":material/info: {st.session_state[NOTICE]}")
    refused: list[Misfit] = st.session_state.get(REFUSED, [])
    if refused:
        st.markdown(f"**What differs from this model** · {plural(len(refused), 'group')}")
        frame = pd.DataFrame({"Group": [row.group for row in refused], "Units in the file": [row.in_plan for row in refused],
                              "Units in the model": [row.in_model for row in refused], "Difference": [row.what for row in refused]})  # fmt: skip
        st.dataframe(frame.astype({"Units in the file": "Int64", "Units in the model": "Int64"}), hide_index=True,
                     height=chrome.table_height(len(frame), 12), alt="Groups in which the file and the model differ")  # fmt: skip


def bring(desk: Desk) -> None:
    """The uploaded plan becomes the next step of the open branch.

    Raises:
        PlanError: it is no plan, was made for another model, or its units were chosen by scores that are not here.
    """
    file = st.session_state["plan.upload"]
    st.session_state[REFUSED], st.session_state[NOTICE] = [], ""
    if file is None:
        return
    plan = Plan.from_json(file.getvalue().decode("utf-8", errors="replace"), file.name)
    st.session_state[REFUSED] = misfits(plan, desk.comb.record)
    plan.check(desk.comb.record)
    if plan.criterion and desk.scores(plan.criterion) is None:
        raise PlanError(f"{file.name}: its units were chosen by {plan.criterion!r}, which has not been scored here; "
                        "score it on the Importance screen, then upload the plan again.")  # fmt: skip
    draft = Draft.of(plan)
    other = changes(plan, desk.plan(draft))
    if other:
        st.session_state[NOTICE] = (f"{plural(len(other), 'group')} of {file.name}: the ratios are the file's, the units are chosen anew by this project's scores "
                                    f"and locks, and differ from the file's ({other[0].group} for one).")  # fmt: skip
    desk.apply(draft, f"taken from {file.name[:60]}")
