"""Plan: how much of every group to cut, with the consequences in view while editing."""

from __future__ import annotations

import streamlit as st

from app import desk as desks
from app import guards
from app.draft import rows
from app.outlook import knowledge
from app.widgets import chrome
from app.widgets.jobs import job_panel, last_failure
from app.widgets.plan_compare import compare
from app.widgets.plan_files import files
from app.widgets.plan_history import steps
from app.widgets.plan_makers import makers, shortfall
from app.widgets.plan_selection import selecting
from app.widgets.plan_table import table
from app.widgets.plan_tiles import KINDS, tiles
from app.widgets.plan_toolbar import toolbar
from app.widgets.scripts import undo_in_order

VIEWS = ("Groups", "Compare", "History", "Files")

chrome.head("Plan", "Choose how much of every group to cut. Every figure follows each edit; the plan and its history are saved as you go.",
            help=chrome.TERMS["ratio"])  # fmt: skip
project = guards.project()
comb = guards.comb(project)
desk = desks.Desk(project, comb)
job_panel(project, KINDS, "plan")
last_failure(project, KINDS)


@st.fragment(key="plan")
def editor() -> None:
    desks.follow_link(desk)
    known, problems = knowledge(project, comb)
    if said := desks.said():
        st.error(said, icon=":material/error:")
    for text in problems:
        st.warning(f"{text[:1].upper()}{text[1:]}", icon=":material/sync_problem:")
    plan = desk.plan()
    lines = rows(comb.record, plan)
    toolbar(desk)
    look = known.of(plan)
    tiles(desk, known, look, lines)
    shortfall(desk, known, look)
    with st.container(border=True):
        makers(desk, known)
    selecting(desk, lines)
    view = st.segmented_control("View", VIEWS, default=VIEWS[0], key="view", required=True, bind="query-params", label_visibility="collapsed")
    if view == "Compare":
        compare(desk, known)
    elif view == "History":
        steps(desk)
    elif view == "Files":
        files(desk)
    else:
        table(desk, known, lines)
    chrome.onward("run", ready=any(line.kept < line.width for line in lines))


editor()
undo_in_order()
